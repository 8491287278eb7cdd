"""At which token of an encoded text a character stands. Knows offsets; knows nothing of what the text means."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from tunesmith.rows.chat.control_tokens import Span


def edge_among(offsets: Sequence[Span], char: int) -> Span:
    """The first token that starts at or behind a character, and where the token before it ends."""
    first = bisect_left(offsets, char, key=_start)
    return first, offsets[first - 1][1] if first else 0


def edge_of(encoding: Any, char: int) -> Span:
    """As `edge_among`, asked of the library for the one place where that is plain: a list of all places is slow."""
    token = encoding.char_to_token(char)
    if token is None or encoding.token_to_chars(token)[0] != char:
        return edge_among(encoding.offsets, char)
    if not token:
        return 0, 0
    start, end = encoding.token_to_chars(token - 1)
    return (token, end) if start < char else edge_among(encoding.offsets, char)


def _start(offset: Span) -> int:
    return offset[0]
