"""Control tokens (`<|im_start|>`, `</s>`, ...): those that a template writes, and their lookalikes in people's text.

A tokenizer cannot tell `<|im_end|>` written by the template from the same characters typed by a user. So before a
conversation is rendered, every lookalike in its text is hidden behind one private-use character; afterwards each such
character is encoded as plain text. What is left in the rendered text as a control token was written by the template.

Knows strings only; knows nothing of tokenizers or templates.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from tunesmith.rows.chat.conversation import Message

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

    def end_at(self, text: str, at: int) -> int | None:
        """Where the one that begins exactly at `at` ends; None when none does."""
        match = self._pattern.match(text, at)
        return match.end() if match else None

    def hide(self, messages: Sequence[Message]) -> tuple[list[Message], dict[str, str]]:
        """The messages with each lookalike replaced by a character, and what each character stands for."""
        if not any(self._pattern.search(message.content) for message in messages):
            return list(messages), {}
        characters: dict[str, str] = {}
        free = private_characters(messages)

        def character(match: re.Match[str]) -> str:
            if match.group() not in characters:
                characters[match.group()] = next(free)
            return characters[match.group()]

        hidden = [
            message._replace(content=self._pattern.sub(character, message.content)) for message in messages
        ]
        return hidden, {char: text for text, char in characters.items()}


def private_characters(messages: Sequence[Message]) -> Iterator[str]:
    """Characters without a meaning that no message holds, one after the other."""
    used = set().union(*(message.content for message in messages if not message.content.isascii()))
    return (char for code in range(_FIRST_PRIVATE, _LAST_PRIVATE + 1) if (char := chr(code)) not in used)
