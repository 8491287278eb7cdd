"""Tells what a model thinks from what it answers, piece by piece, wherever the pieces are cut.

Models that think write `<think>`, their thoughts, `</think>`, and then the answer. Thoughts are told only at the very
beginning: the same words later are part of an answer. Knows texts alone.
"""

from typing import NamedTuple

_OPEN, _CLOSE = "<think>", "</think>"


class Told(NamedTuple):
    """What a piece holds of either."""

    thought: str = ""
    answer: str = ""


class Thinking:
    """One answer's.

    Args:
        is_open: Whether the prompt has opened a thought, in which the answer begins.
    """

    def __init__(self, *, is_open: bool = False) -> None:
        self._held = ""
        self._is_open: bool | None = is_open or None
        """Whether it thinks; None while that is not known."""
        self._is_over = False
        self._is_blank = True
        """Whether nothing of the part that it is in was told: empty lines before it are left out."""

    def take(self, text: str) -> Told:
        """Take a piece; what may be the beginning of a mark waits for the next one."""
        if self._is_over:
            return Told("", self._trimmed(text))
        self._held += text
        if self._is_open is None:
            begin = self._held.lstrip()
            if begin.startswith(_OPEN):
                self._is_open, self._held = True, begin[len(_OPEN) :]
            elif _OPEN.startswith(begin):
                return Told()  # nothing yet, or the mark's beginning
            else:
                self._is_over, self._is_blank = True, False
                return Told("", self._release())
        thought, mark, rest = self._held.partition(_CLOSE)
        if mark:
            self._is_over, self._held = True, ""
            thought, self._is_blank = self._trimmed(thought), True
            return Told(thought, self._trimmed(rest))
        kept = next(n for n in range(len(_CLOSE) - 1, -1, -1) if self._held.endswith(_CLOSE[:n]))
        cut = len(self._held) - kept
        told, self._held = self._held[:cut], self._held[cut:]
        return Told(self._trimmed(told), "")

    def end(self) -> Told:
        """What waited, now that nothing comes any more."""
        if self._is_open and not self._is_over:
            return Told(self._trimmed(self._release()), "")
        return Told("", self._release())

    def _release(self) -> str:
        held, self._held = self._held, ""
        return held

    def _trimmed(self, text: str) -> str:
        """A part without the empty lines before it."""
        if self._is_blank:
            text = text.lstrip("\n")
            self._is_blank = not text
        return text
