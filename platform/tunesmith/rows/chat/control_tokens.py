"""Control tokens (`<|im_start|>`, `</s>`, ...): those that a template writes, and their lookalikes in people's text.

A tokenizer cannot tell `<|im_end|>` written by the template from the same characters typed by a user. So before a
conversation is rendered, every lookalike in its text is hidden behind one private-use character; afterwards each such
character is encoded as plain text. What is left in the rendered text as a control token was written by the template.

Knows strings only; knows nothing of tokenizers or templates.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from tunesmith.rows.chat.turns import Conversation, Message, tools_of

_FIRST_PRIVATE = 0xF0000
_LAST_PRIVATE = 0xFFFFD

Span = tuple[int, int]


class ControlTokens:
    """The control tokens of one tokenizer, by their text."""

    def __init__(self, texts: Iterable[str]) -> None:
        longest_first = sorted({text for text in texts if text}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    def count(self, text: str) -> int:
        """How many stand in a text."""
        return len(self._pattern.findall(text))

    def first(self, text: str) -> Span | None:
        """Where the first one in a text begins and ends; None when there is none."""
        match = self._pattern.search(text)
        return match.span() if match else None

    def last(self, text: str, at: int) -> Span | None:
        """Where the last one behind a place begins and ends; None when there is none."""
        found = [match.span() for match in self._pattern.finditer(text, at)]
        return found[-1] if found else None

    def end_at(self, text: str, at: int) -> int | None:
        """Where the one that begins exactly at `at` ends; None when none does."""
        match = self._pattern.match(text, at)
        return match.end() if match else None

    def hide(self, messages: Sequence[Message]) -> tuple[list[Message], dict[str, str]]:
        """The messages with each lookalike replaced by a character, and what each character stands for."""
        tools = tools_of(messages)
        if not any(self._pattern.search(text) for text in (*_texts(messages), tools)):
            return Conversation(messages, tools) if tools else list(messages), {}
        characters: dict[str, str] = {}
        free = private_characters(messages)

        def character(match: re.Match[str]) -> str:
            if match.group() not in characters:
                characters[match.group()] = next(free)
            return characters[match.group()]

        hidden = [
            message._replace(
                content=self._pattern.sub(character, message.content),
                reasoning=self._pattern.sub(character, message.reasoning),
                calls=self._pattern.sub(character, message.calls),
            )
            for message in messages
        ]
        if tools:
            hidden = Conversation(hidden, self._pattern.sub(character, tools))
        return hidden, {char: text for text, char in characters.items()}


def private_characters(messages: Sequence[Message]) -> Iterator[str]:
    """Characters without a meaning that no message holds, one after the other."""
    used = set().union(*(text for text in (*_texts(messages), tools_of(messages)) if not text.isascii()))
    return (char for code in range(_FIRST_PRIVATE, _LAST_PRIVATE + 1) if (char := chr(code)) not in used)


def _texts(messages: Sequence[Message]) -> Iterator[str]:
    return (text for message in messages for text in message.texts)
