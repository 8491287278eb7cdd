"""From an answer's tokens to its text, as they are drawn: whole characters, and stop texts cut exactly.

A token may be a part of a character, and a stop text may begin in one token and end in another: what is not sure yet
waits. What is given out adds up to what the training's tokenizer makes of all the tokens. Knows the `tokenizers`
library; knows no engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.chat.wire import TokenLogprob, TopToken
from tunesmith_serve.engine import Drawn

_BROKEN = "\ufffd"
_CHARACTER_TOKENS = 4
"""A character of UTF-8 is four bytes at most: what is still broken after so many tokens stays so."""


@dataclass
class _Token:
    """A token that was drawn, and the text by which the answer grew with it."""

    drawn: Drawn
    text: str = ""


@dataclass(frozen=True)
class Out:
    """What may be given out of an answer.

    Attributes:
        text: Whole tokens' texts; the last one is cut where a stop text begins inside of it.
        tokens: How many tokens it is made of.
        logprobs: One for each of them, whose texts add up to `text`; empty where none was asked for.
    """

    text: str
    tokens: int
    logprobs: list[TokenLogprob]


class Decoding:
    """The text of tokens, one after the other.

    Only a window of the newest is decoded: some tokenizers (SentencePiece) write a token otherwise at the beginning.

    Args:
        tokenizer: Of the `tokenizers` library.
        shown: Control tokens that are written as their names, others are left out.
    """

    def __init__(self, tokenizer: Any, shown: frozenset[int] = frozenset()) -> None:
        self._tokenizer, self._shown = tokenizer, shown
        self._ids: list[int] = []
        self._begin = self._read = self._context = 0
        """The window; what stands before `_read` was given out. The newest token follows on what is from `_context`."""
        self._broken = 0
        """How many tokens ago a character began that is not whole."""

    def add(self, token: int) -> str:
        """The characters that became whole with a token; empty where it ends inside of one."""
        self._ids.append(token)
        self._context = self._begin
        grown = self._grown()
        self._broken = self._broken + 1 if grown.endswith(_BROKEN) else 0
        if not grown or 0 < self._broken < _CHARACTER_TOKENS:
            return ""
        return self.rest()

    def rest(self) -> str:
        """What was not given out yet; of an unfinished character what the tokenizer writes for it alone."""
        grown = self._grown()
        if grown.endswith(_BROKEN):
            # Some (byte fallback of SentencePiece) write all bytes before it as broken too.
            grown = self._text(self._ids[self._read :])
        self._begin, self._read, self._broken = self._read, len(self._ids), 0
        return grown

    def other(self, token: int) -> str:
        """What a token would say in the place of the newest; a control token its own name."""
        before = self._ids[self._context : -1]
        found = self._text([*before, token])[len(self._text(before)) :]
        return found or str(self._tokenizer.decode([token], skip_special_tokens=False))

    def _grown(self) -> str:
        before = self._text(self._ids[self._begin : self._read])
        return self._text(self._ids[self._begin :])[len(before) :]

    def _text(self, ids: Sequence[int]) -> str:
        if not ids:
            return ""
        at = next((place for place, token in enumerate(ids) if token in self._shown), None)
        if at is None:
            return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))
        return self._text(ids[:at]) + str(self._tokenizer.id_to_token(ids[at])) + self._text(ids[at + 1 :])


class AnswerText:
    """The text of an answer up to the first stop text.

    The stop text that is complete first ends it, of several the one that begins first, and the cut is before it:
    whatever the borders of tokens are.

    Args:
        tokenizer: Of the `tokenizers` library.
        stops: Texts before which the answer ends.
        top: How many of the likeliest tokens are said at each place; None: no logprobs.
        shown: See `Decoding`.
    """

    def __init__(
        self,
        tokenizer: Any,
        stops: Sequence[str] = (),
        top: int | None = None,
        shown: frozenset[int] = frozenset(),
    ) -> None:
        self._decoding = Decoding(tokenizer, shown)
        self._stops = [stop for stop in stops if stop]
        self._top = top
        self._held: list[tuple[_Token, list[TopToken]]] = []
        self._longest = max(map(len, self._stops), default=0)
        self.is_stopped = False
        """Whether a stop text was found: what is drawn afterwards is none of the answer's."""

    def add(self, drawn: Drawn) -> Out:
        """Take a token that is no end mark; gives what may be given out."""
        token = _Token(drawn, self._decoding.add(drawn.id))
        top = [] if self._top is None else self._others(drawn)
        self._held.append((token, top))
        if not token.text:
            return self._out(0)
        return self._cut() if self._stops else self._out(len(self._held))

    def finish(self) -> Out:
        """What is left when the model itself has ended."""
        rest = self._decoding.rest()
        if rest and self._held:
            self._held[-1][0].text += rest
            if self._stops:
                found = self._cut()
                if self.is_stopped:
                    return found
                last = self._out(len(self._held))
                return Out(
                    found.text + last.text, found.tokens + last.tokens, [*found.logprobs, *last.logprobs]
                )
        return self._out(len(self._held))

    def _cut(self) -> Out:
        text = "".join(token.text for token, _ in self._held)
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.is_stopped = True
            _, at = min(found)
            return self._until(at)
        return self._out(self._whole_before(len(text) - self._waiting(text)))

    def _waiting(self, text: str) -> int:
        """How many characters at the end of a text may be the beginning of a stop text."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            tail = text[-length:]
            if any(stop.startswith(tail) for stop in self._stops):
                return length
        return 0

    def _whole_before(self, characters: int) -> int:
        """How many of the held tokens end within so many characters; one without text goes with the next."""
        count = length = 0
        for number, (token, _) in enumerate(self._held, start=1):
            length += len(token.text)
            if length > characters:
                break
            if token.text:
                count = number
        return count

    def _until(self, characters: int) -> Out:
        """What stands before a place; the rest of the answer is dropped."""
        count = left = 0
        for token, _ in self._held:
            if left >= characters:
                break
            token.text = token.text[: characters - left]
            left += len(token.text)
            count += 1
        out = self._out(count)
        self._held.clear()
        return out

    def _out(self, count: int) -> Out:
        given, self._held = self._held[:count], self._held[count:]
        logprobs = []
        if self._top is not None:
            logprobs = [
                TokenLogprob(
                    text=token.text, id=token.drawn.id, logprob=min(0.0, token.drawn.logprob or 0.0), top=top
                )
                for token, top in given
            ]
        return Out("".join(token.text for token, _ in given), len(given), logprobs)

    def _others(self, drawn: Drawn) -> list[TopToken]:
        return [
            TopToken(text=self._decoding.other(number), id=number, logprob=min(0.0, logprob))
            for number, logprob in drawn.top[: self._top]
        ]
