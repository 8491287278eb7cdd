"""The elements of one JSON array, read piece by piece: of a file of any size, one element is in memory at a time.

Knows bytes, UTF-8 and JSON; knows nothing of rows.
"""

import codecs
import json
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from tunesmith.errors import InvalidData
from tunesmith.rows.files.decoding import (
    DECODER,
    NotFinite,
    Twice,
    excerpt,
    not_finite,
    not_utf8,
    skip,
    twice,
    unreadable,
)
from tunesmith.rows.problems import bad_file

_PIECE = 1 << 20
_KEPT = 64
"""Characters behind which an error is shown."""


class Element(NamedTuple):
    """One element, and whether its text may hold what its decoder would have refused raw."""

    value: Any
    suspicious: bool


class JsonArray:
    """A JSON array in a file.

    Args:
        name: The file's name, for messages.
        file: Its plain bytes, behind a byte order mark.
        offset: Where it stands.
        max_bytes: How long one element may be.
    """

    def __init__(self, name: str, file: BinaryIO, offset: int, max_bytes: int) -> None:
        self._name, self._file, self._max = name, file, max_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._read = offset
        self._is_end = False
        self._text = ""
        self._at = 0
        self._lines = 0
        self._column = 0
        """Lines, and characters of the last one, that were let go."""

    def elements(self) -> Iterator[Element]:
        """Every element.

        Raises:
            InvalidData: It is broken; says where.
        """
        number = 0
        self._next()
        self._at += 1  # the bracket
        sign = self._next()
        while sign != "]":
            number += 1
            yield self._element(number)
            sign = self._next()
            if sign not in (",", "]"):
                raise self._broken("Expecting ',' delimiter", number)
            if sign == ",":
                self._at += 1
                sign = self._next()
                if sign == "]":
                    raise self._broken("Illegal trailing comma before end of array", number)
        self._at += 1
        if self._next():
            raise self._broken("Extra data after the array", number)

    def _next(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            self._at = skip(self._text, self._at)
            if self._at < len(self._text) or self._is_end:
                return self._text[self._at : self._at + 1]
            self._more(_PIECE)

    def _element(self, number: int) -> Element:
        place = f"{self._name}:row {number}"
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._is_end:
                    raise self._broken(error.msg, number, error.pos) from None
            except NotFinite as error:
                raise not_finite(error).at(place) from None
            except Twice as error:
                raise twice(error).at(place) from None
            except (ValueError, RecursionError) as error:
                raise unreadable(error).at(place) from None
            else:
                if end < len(self._text) or self._is_end:  # else a number may go on
                    suspicious = self._text.find("\\u", self._at, end) >= 0
                    self._at = end
                    return Element(value, suspicious)
            held = len(self._text) - self._at
            if held > self._max:
                raise bad_file(
                    place,
                    f"{place}: the element does not end within {self._max // 1024**2} MB.",
                    "Is a quote or a bracket never closed? Else split the row.",
                )
            self._more(max(_PIECE, held))  # as much again: an element is decoded a few times at most

    def _more(self, size: int) -> None:
        """Let go of what was read, and read on."""
        gone = max(0, self._at - _KEPT)
        self._lines += self._text.count("\n", 0, gone)
        newline = self._text.rfind("\n", 0, gone)
        self._column = gone - newline - 1 if newline >= 0 else self._column + gone
        data = self._file.read(size)
        self._is_end = not data
        pending = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(data, self._is_end)
        except UnicodeDecodeError as error:
            whole = self._text[gone:] + error.object[: error.start].decode()
            place = f"{self._name}:{self._lines + whole.count(chr(10)) + 1}"
            raise not_utf8(self._read - pending + error.start).at(place) from None
        self._read += len(data)
        self._text = self._text[gone:] + text
        self._at -= gone

    def _broken(self, message: str, number: int, at: int | None = None) -> InvalidData:
        at = self._at if at is None else at
        before = self._text.rfind("\n", 0, at)
        line = self._lines + self._text.count("\n", 0, at) + 1
        column = at - before if before >= 0 else self._column + at + 1
        place = f"{self._name}:{line}"
        return bad_file(
            place,
            f"{place}: Broken JSON in row {number}: {message} at column {column}, near "
            f"`{excerpt(self._text, at)}`.",
            "Fix the row. A file that begins with `[` is read as one JSON array; JSONL has no brackets around it.",
        )
