"""Rows out of a data file: JSONL (one JSON object a line), one JSON array of objects, a table, or plain text.

Tables are Parquet and CSV (`tunesmith.rows.tabular`). Plain text is a file called `*.txt` that does not begin as JSON:
every line that is not blank is a document of its own, the row `{"text": line}`. All but Parquet may be packed with gzip
or zstd. Knows bytes, encodings, lines and JSON, and bounds what it reads. Knows nothing of what a row means.
"""

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn

from tunesmith.errors import InvalidData
from tunesmith.rows.problems import RowProblem, bad_file
from tunesmith.rows.tabular import CSV_ENDINGS, PARQUET_MAGIC, ParquetTable, read_csv
from tunesmith.rows.unpacking import bare_name, open_plain, packing_of

Format = Literal["jsonl", "json", "text", "csv", "parquet"]
Row = dict[str, Any]

MAX_LINE_BYTES = 32 * 1024**2
MAX_ARRAY_BYTES = 512 * 1024**2
_UTF8_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"
_EXCERPT = 24
_BEGINNING = 160

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
    (b"PK\x03\x04", "is a zip archive or a spreadsheet", "Unpack it, or export the rows as JSONL."),
)
_ONLY_PLAIN: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "is packed twice", "Pack it once."),
    (b"\x28\xb5\x2f\xfd", "is packed twice", "Pack it once."),
    (PARQUET_MAGIC, "is a packed Parquet file", "Unpack it: Parquet packs its columns itself."),
)
"""What must not be found inside a packed file."""


class RowFile:
    """A data file, recognised by its content.

    Raises:
        InvalidData: It is missing, a folder, unreadable, empty, no UTF-8 text, broken, or an array over 512 MB.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = self.path.name
        head = self._read_head()
        self.packing = packing_of(head)
        self.bytes = self.path.stat().st_size
        self.format: Format = "parquet" if head == PARQUET_MAGIC else self._recognise(head)
        if self.format == "parquet":
            ParquetTable(self.path)
        if self.format == "json" and self.packing is None and self.bytes > MAX_ARRAY_BYTES:
            raise self._large_array()

    def _recognise(self, head: bytes) -> Format:
        """The format of what is no Parquet."""
        never = _NOT_TEXT
        if self.packing:
            with self._open() as file:
                head, never = file.read(4), _NOT_TEXT + _ONLY_PLAIN
        for magic, words, cure in never:
            if head.startswith(magic):
                raise bad_file(self.name, f"`{self.path}` {words}, not UTF-8 JSON.", cure)
        first, name = self._first_bytes(), bare_name(self.path)
        # A table or a text may begin with a bracket: only what is plainly JSON is read as JSON.
        if not _looks_like_json(first):
            if name.endswith(CSV_ENDINGS):
                return "csv"
            if name.endswith(".txt"):
                return "text"
        return "json" if first[:1] == b"[" else "jsonl"

    def _open(self) -> BinaryIO:
        return open_plain(self.path, self.packing)

    def _large_array(self) -> InvalidData:
        return bad_file(
            self.name,
            f"`{self.path}` is one JSON array of more than {MAX_ARRAY_BYTES // 1024**2} MB, which are not read.",
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

    def _first_bytes(self) -> bytes:
        with self._open() as file:
            chunk = file.read(1 << 16).removeprefix(_UTF8_BOM)
            while chunk:
                if kept := chunk.lstrip(_BLANK):
                    return kept[:64]
                chunk = file.read(1 << 16)
        raise bad_file(self.name, f"`{self.path}` is empty.", "It must hold at least one row.")

    def place(self, number: int) -> str:
        """Where a row is: `train.jsonl:17` is line 17, `train.json:row 17` the 17th element of the array."""
        in_rows = self.format in ("json", "parquet")
        return f"{self.name}:row {number}" if in_rows else f"{self.name}:{number}"

    def scan(self) -> Iterator[tuple[int, Row | RowProblem]]:
        """Every row with its number from 1 (the line, or the element of an array or table); a bad row as its problem.

        Raises:
            InvalidData: The file as a whole cannot be read on.
        """
        found = False
        readers = {"json": self._elements, "csv": self._csv, "parquet": self._parquet}
        for numbered in readers.get(self.format, self._lines)():
            found = True
            yield numbered
        if not found:
            raise bad_file(self.name, f"`{self.path}` holds no row.", "It must hold at least one row.")

    def _parquet(self) -> Iterator[tuple[int, Row | RowProblem]]:
        for number, row in ParquetTable(self.path).scan():
            yield number, row if isinstance(row, RowProblem) else _unusable_text(row) or row

    def _csv(self) -> Iterator[tuple[int, Row | RowProblem]]:
        with self._open() as file:
            offset = len(_UTF8_BOM) if _begins_with_mark(file) else 0
            file.read(offset)
            for number, row in read_csv(self.name, file, offset, MAX_LINE_BYTES):
                yield number, row if isinstance(row, RowProblem) else _unusable_text(row) or row

    def _lines(self) -> Iterator[tuple[int, Row | RowProblem]]:
        with self._open() as file:
            offset = len(_UTF8_BOM) if _begins_with_mark(file) else 0
            file.read(offset)
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                length = len(line)
                if length > MAX_LINE_BYTES:
                    while line and not line.endswith(b"\n"):
                        line = file.readline(1 << 20)
                        length += len(line)
                    yield (
                        number,
                        RowProblem(
                            f"The line is longer than {MAX_LINE_BYTES // 1024**2} MB.",
                            "Split the row, or check that each row ends with a newline.",
                        ),
                    )
                elif self.format == "text":
                    if line.strip():
                        yield number, _parse_text(line.rstrip(b"\r\n"), offset)
                elif not line.isspace():
                    if number == 1 and line.strip(_BLANK) == b"{":
                        raise bad_file(
                            f"{self.name}:1",
                            f"`{self.path}` begins with a JSON object that is spread over several lines.",
                            "Write each row on one line, or put all rows into one JSON array: `[{...}, {...}]`.",
                        )
                    row = _parse_line(line, offset)
                    if isinstance(row, RowProblem):
                        row.excerpt = line[:_BEGINNING].decode(errors="replace").strip()
                    yield number, row
                offset += length

    def _elements(self) -> Iterator[tuple[int, Row | RowProblem]]:
        with self._open() as file:
            raw = file.read(MAX_ARRAY_BYTES + 1)
        if len(raw) > MAX_ARRAY_BYTES:
            raise self._large_array()
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
            except _Twice as error:
                raise _twice(error).at(self.place(number)) from None
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
    """Stream a file's rows: (line number from 1, row), or (element number from 1, row) for a JSON array.

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


class _Twice(ValueError):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return found


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_once)
_SCAN: Any = _DECODER.scan_once  # type: ignore[attr-defined]


def _parse_line(line: bytes, offset: int) -> Row | RowProblem:
    """One line's row; `offset` is where the line begins in the file, in bytes."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return _not_utf8(offset + error.start)
    try:
        # What nearly every line is, at twice the speed of what can say what is wrong.
        value, end = _SCAN(text, 0)
    except (StopIteration, ValueError, RecursionError):
        return _parse_with_care(line, text.rstrip("\r\n"))
    rest = text[end:]
    if rest and rest != "\n" and rest.strip(" \t\r\n"):
        return _parse_with_care(line, text.rstrip("\r\n"))
    return _as_row(value, _may_smuggle(line))


def _parse_with_care(line: bytes, text: str) -> Row | RowProblem:
    """As `_parse_line`, for a line that is wrong, or begins with white space."""
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
    except _Twice as error:
        return _twice(error)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets a thousand deep
        return _unreadable(error)
    return _as_row(value, _may_smuggle(line))


def _parse_text(line: bytes, offset: int) -> Row | RowProblem:
    """One line of a plain text file as a row; `offset` is where the line begins in the file, in bytes."""
    try:
        row = {"text": line.decode()}
    except UnicodeDecodeError as error:
        return _not_utf8(offset + error.start)
    return _unusable_text(row) or row


def _begins_with_mark(file: BinaryIO) -> bool:
    """Whether a byte order mark comes next; nothing is taken."""
    assert isinstance(file, io.BufferedReader)
    head = file.peek(len(_UTF8_BOM))
    return head.startswith(_UTF8_BOM)


def _looks_like_json(head: bytes) -> bool:
    return head.startswith(b"{") or (head.startswith(b"[") and head[1:].lstrip(_BLANK).startswith(b"{"))


def _may_smuggle(line: bytes) -> bool:
    # One byte is found ten times as fast as two.
    return b"\\" in line and b"\\u" in line


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


def _twice(error: ValueError) -> RowProblem:
    return RowProblem(
        f"The name `{str(error)[:40]}` stands twice in one object, so one of the two values would be lost.",
        "Keep one of them.",
    )


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
