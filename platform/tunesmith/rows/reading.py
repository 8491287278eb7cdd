"""Rows out of a data file: JSONL (one JSON object a line), or one JSON array of objects.

Knows bytes, encodings, lines and JSON, and bounds what it reads. Knows nothing of what a row means.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NoReturn

from tunesmith.errors import InvalidData
from tunesmith.rows.problems import RowProblem, bad_file

Format = Literal["jsonl", "json"]
Row = dict[str, Any]

MAX_LINE_BYTES = 32 * 1024**2
MAX_ARRAY_BYTES = 512 * 1024**2
_UTF8_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"
_EXCERPT = 24

# What people give by mistake, told by the file's first bytes. UTF-32 before UTF-16: its mark begins with the other's.
_NOT_TEXT: tuple[tuple[bytes, str, str], ...] = (
    (b"\xff\xfe\x00\x00", "is UTF-32 text", "Save it as UTF-8."),
    (
        b"\xff\xfe",
        "is UTF-16 text",
        "Save it as UTF-8, e.g. `iconv -f UTF-16 -t UTF-8 in.jsonl > out.jsonl`.",
    ),
    (
        b"\xfe\xff",
        "is UTF-16 text",
        "Save it as UTF-8, e.g. `iconv -f UTF-16 -t UTF-8 in.jsonl > out.jsonl`.",
    ),
    (b"{\x00", "is UTF-16 text", "Save it as UTF-8, e.g. `iconv -f UTF-16LE -t UTF-8 in.jsonl > out.jsonl`."),
    (b"[\x00", "is UTF-16 text", "Save it as UTF-8, e.g. `iconv -f UTF-16LE -t UTF-8 in.jsonl > out.jsonl`."),
    (b"\x1f\x8b", "is compressed with gzip", "Unpack it with `gunzip` first."),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd", "Unpack it with `unzstd` first."),
    (b"PK\x03\x04", "is a zip archive or a spreadsheet", "Unpack it, or export the rows as JSONL."),
    (
        b"PAR1",
        "is a Parquet file",
        "Export its rows as JSONL, e.g. `Dataset.to_json(path)` of the `datasets` library.",
    ),
)


class RowFile:
    """A data file, recognised by its content.

    Raises:
        InvalidData: It is missing, a folder, unreadable, empty, no UTF-8 text, or an array over 512 MB.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = self.path.name
        head = self._read_head()
        for magic, words, cure in _NOT_TEXT:
            if head.startswith(magic):
                raise bad_file(self.name, f"`{self.path}` {words}, not UTF-8 JSON.", cure)
        self.bytes = self.path.stat().st_size
        self.format: Format = "json" if self._first_byte() == b"[" else "jsonl"
        if self.format == "json" and self.bytes > MAX_ARRAY_BYTES:
            raise bad_file(
                self.name,
                f"`{self.path}` is one JSON array of {self.bytes / 1e6:.0f} MB; arrays are read up to "
                f"{MAX_ARRAY_BYTES // 1024**2} MB.",
                "Write it as JSONL, one object a line: JSONL has no limit.",
            )

    def _read_head(self) -> bytes:
        try:
            if self.path.is_dir():
                raise bad_file(self.name, f"`{self.path}` is a folder.", "Give the data file inside it.")
            if self.path.exists() and not self.path.is_file():
                raise bad_file(
                    self.name, f"`{self.path}` is not a regular file.", "Give a JSONL or JSON file."
                )
            with self.path.open("rb") as file:
                return file.read(4)
        except FileNotFoundError:
            raise bad_file(
                self.name, f"`{self.path}` does not exist.", "Check the path, as the server sees it."
            ) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise bad_file(
                self.name, f"`{self.path}` cannot be read: {reason}.", "Check the path and its permissions."
            ) from error

    def _first_byte(self) -> bytes:
        with self.path.open("rb") as file:
            if file.read(3) != _UTF8_BOM:
                file.seek(0)
            while chunk := file.read(1 << 16):
                if kept := chunk.lstrip(_BLANK):
                    return kept[:1]
        raise bad_file(self.name, f"`{self.path}` is empty.", "It must hold at least one row.")

    def place(self, number: int) -> str:
        """Where a row is: `train.jsonl:17` is line 17, `train.json:row 17` the 17th element of the array."""
        return f"{self.name}:{number}" if self.format == "jsonl" else f"{self.name}:row {number}"

    def scan(self) -> Iterator[tuple[int, Row | RowProblem]]:
        """Every row with its number from 1 (the line in JSONL, the element in an array); a bad row as its problem.

        Raises:
            InvalidData: The file as a whole cannot be read on.
        """
        found = False
        for numbered in self._lines() if self.format == "jsonl" else self._elements():
            found = True
            yield numbered
        if not found:
            raise bad_file(self.name, f"`{self.path}` holds no row.", "It must hold at least one row.")

    def _lines(self) -> Iterator[tuple[int, Row | RowProblem]]:
        with self.path.open("rb") as file:
            offset = len(_UTF8_BOM) if file.read(3) == _UTF8_BOM else 0
            file.seek(offset)
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    while line and not line.endswith(b"\n"):
                        line = file.readline(1 << 20)
                    yield (
                        number,
                        RowProblem(
                            f"The line is longer than {MAX_LINE_BYTES // 1024**2} MB.",
                            "Split the conversation, or check that each row ends with a newline.",
                        ),
                    )
                elif body := line.strip(_BLANK):
                    if number == 1 and body == b"{":
                        raise bad_file(
                            f"{self.name}:1",
                            f"`{self.path}` begins with a JSON object that is spread over several lines.",
                            "Write each row on one line, or put all rows into one JSON array: `[{...}, {...}]`.",
                        )
                    yield number, _parse_line(line.rstrip(b"\r\n"), offset)
                offset = file.tell()

    def _elements(self) -> Iterator[tuple[int, Row | RowProblem]]:
        raw = self.path.read_bytes()
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            problem = _not_utf8(error.start)
            raise problem.at(f"{self.name}:{line}") from None
        suspicious = b"\\u" in raw
        del raw
        number, at = 0, _skip(text, text.index("[") + 1)
        while text[at : at + 1] != "]":
            number += 1
            try:
                value, at = _DECODER.raw_decode(text, at)
                at = _skip(text, at)
                if text[at : at + 1] not in {",", "]"}:
                    raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
                if text[at] == ",":
                    at = _skip(text, at + 1)
                    if text[at : at + 1] == "]":
                        raise json.JSONDecodeError("Illegal trailing comma before end of array", text, at)
            except json.JSONDecodeError as error:
                raise self._broken_array(error, number) from None
            except _NotFinite as error:
                raise _not_finite(error).at(self.place(number)) from None
            except (ValueError, RecursionError) as error:
                raise _unreadable(error).at(self.place(number)) from None
            yield number, _as_row(value, suspicious)
        rest = _skip(text, at + 1)
        if rest < len(text):
            raise self._broken_array(json.JSONDecodeError("Extra data after the array", text, rest), number)

    def _broken_array(self, error: json.JSONDecodeError, number: int) -> InvalidData:
        return bad_file(
            f"{self.name}:{error.lineno}",
            f"{self.name}:{error.lineno}: Broken JSON in row {number}: {error.msg} at column {error.colno}, near "
            f"`{_excerpt(error.doc, error.pos)}`.",
            "Mend the row. A file that begins with `[` is read as one JSON array; JSONL has no brackets around it.",
        )


def read_rows(path: str | Path) -> Iterator[tuple[int, Row]]:
    """Stream a file's rows: (line number from 1, row) for JSONL, (element number from 1, row) for a JSON array.

    Blank lines are passed over. A row is any JSON object; `tunesmith.rows.conversation` says what it means.

    Raises:
        InvalidData: At the first thing that is wrong, with its place.
    """
    file = RowFile(path)
    for number, row in file.scan():
        if isinstance(row, RowProblem):
            raise row.at(file.place(number))
        yield number, row


class _NotFinite(ValueError):
    pass


def _refuse_constant(word: str) -> NoReturn:
    raise _NotFinite(word)


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _NotFinite(digits[:_EXCERPT])
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def _parse_line(line: bytes, offset: int) -> Row | RowProblem:
    """One line's row; `offset` is where the line begins in the file, in bytes."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return _not_utf8(offset + error.start)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        hint = "Each line must be one JSON object."
        if error.msg == "Extra data":
            rest = text[error.pos :].strip()
            hint = (
                "Remove the comma after the object." if rest == "," else "Put each row on a line of its own."
            )
        return RowProblem(
            f"Broken JSON: {error.msg} at column {error.pos + 1}, near `{_excerpt(text, error.pos)}`.", hint
        )
    except _NotFinite as error:
        return _not_finite(error)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets a thousand deep
        return _unreadable(error)
    return _as_row(value, b"\\u" in line)


def _as_row(value: Any, suspicious: bool) -> Row | RowProblem:
    if not isinstance(value, dict):
        names = {list: "an array", str: "a string", type(None): "`null`", bool: "a boolean"}
        return RowProblem(
            f"The row is {names.get(type(value), 'a number')}, not a JSON object.",
            'Write it as `{"messages": [...]}`.',
        )
    # Only an escape can smuggle these in: the decoders refuse them raw.
    problem = _unusable_text(value) if suspicious else None
    return problem or value


def _unusable_text(row: Row) -> RowProblem | None:
    waiting: list[Any] = [row]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.keys()
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str):
            if "\x00" in value:
                return RowProblem("The row holds the character `\\u0000`.", "Remove it: no text needs it.")
            if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
                return RowProblem(
                    "The row holds half of a surrogate pair (`\\ud800` to `\\udfff` alone), which is no character.",
                    "The text was cut inside a character, often an emoji: write it whole or remove it.",
                )
    return None


def _not_utf8(offset: int) -> RowProblem:
    return RowProblem(
        f"The text is not UTF-8: byte {offset} of the file does not fit.",
        "Save the file as UTF-8, e.g. `iconv -f GB18030 -t UTF-8 in.jsonl > out.jsonl` for older Chinese files.",
    )


def _not_finite(error: ValueError) -> RowProblem:
    return RowProblem(f"`{error}` is no JSON number that can be kept.", "Use `null` or leave the field out.")


def _unreadable(error: Exception) -> RowProblem:
    why = "brackets nested too deep" if isinstance(error, RecursionError) else str(error)
    return RowProblem(f"The JSON cannot be read: {why}.", "Mend or remove the row.")


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in {" ", "\t", "\r", "\n"}:
        at += 1
    return at


def _excerpt(text: str, at: int) -> str:
    part = text[max(0, at - _EXCERPT) : at + _EXCERPT]
    return " ".join(part.split()).replace("`", "'")
