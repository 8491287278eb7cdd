"""Rows out of a data file: JSONL (one JSON object a line), one JSON array or table of objects, a table, or plain text.

Tables are Parquet and CSV (`tunesmith.rows.files.tabular`). Plain text is a file called `*.txt` that does not begin
as JSON: every line that is not blank is a document of its own, the row `{"text": line}`. All but Parquet may be
packed with gzip or zstd. Knows bytes, encodings, lines and JSON, and bounds what it reads. Knows nothing of what a
row means.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from tunesmith.row_problem import RowProblem
from tunesmith.rows.files.decoding import Row, as_row, parse_line, parse_text, unusable_text
from tunesmith.rows.files.decompress import bare_name, open_plain, packing_of
from tunesmith.rows.files.json_array import JsonArray
from tunesmith.rows.files.json_table import HEAD, is_one_object, may_be_table, rows_of
from tunesmith.rows.files.tabular import CSV_ENDINGS, PARQUET_MAGIC, ParquetTable, read_csv
from tunesmith.rows.problems import bad_file

Format = Literal["jsonl", "json", "text", "csv", "parquet"]

MAX_LINE_BYTES = 32 * 1024**2
_UTF8_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"
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
        InvalidData: It is missing, a folder, unreadable, empty, no UTF-8 text, or broken.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = self.path.name
        head = self._read_head()
        self.packing = packing_of(head)
        self.bytes = self.path.stat().st_size
        self.is_table_in_json = False
        """Whether its JSON is one object that holds a table (`tunesmith.rows.files.json_table`)."""
        self.format: Format = "parquet" if head == PARQUET_MAGIC else self._recognise(head)
        if self.format == "parquet":
            ParquetTable(self.path)

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
        if first[:1] == b"[":
            return "json"
        if may_be_table(first):
            with self._open() as file:
                self.is_table_in_json = is_one_object(file)
        return "json" if self.is_table_in_json else "jsonl"

    def _open(self) -> BinaryIO:
        return open_plain(self.path, self.packing)

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
                    return kept[:HEAD]
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
            yield number, row if isinstance(row, RowProblem) else unusable_text(row) or row

    def _csv(self) -> Iterator[tuple[int, Row | RowProblem]]:
        with self._open() as file:
            offset = len(_UTF8_BOM) if _begins_with_mark(file) else 0
            file.read(offset)
            for number, row in read_csv(self.name, file, offset, MAX_LINE_BYTES):
                yield number, row if isinstance(row, RowProblem) else unusable_text(row) or row

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
                        yield number, parse_text(line.rstrip(b"\r\n"), offset)
                elif not line.isspace():
                    if number == 1 and line.strip(_BLANK) == b"{":
                        raise bad_file(
                            f"{self.name}:1",
                            f"`{self.path}` begins with a JSON object that is spread over several lines.",
                            "Write each row on one line, or put all rows into one JSON array: `[{...}, {...}]`.",
                        )
                    row = parse_line(line, offset)
                    if isinstance(row, RowProblem):
                        row.excerpt = line[:_BEGINNING].decode(errors="replace").strip()
                    yield number, row
                offset += length

    @property
    def layout(self) -> str:
        """How a table in its JSON is laid out; empty where there is none."""
        return self._table()[0] if self.is_table_in_json else ""

    def _table(self) -> tuple[str, list[Row]]:
        with self._open() as file:
            file.read(len(_UTF8_BOM) if _begins_with_mark(file) else 0)
            return rows_of(self.name, file)

    def _elements(self) -> Iterator[tuple[int, Row | RowProblem]]:
        if self.is_table_in_json:
            for number, row in enumerate(self._table()[1], 1):
                yield number, unusable_text(row) or row
            return
        with self._open() as file:
            offset = len(_UTF8_BOM) if _begins_with_mark(file) else 0
            file.read(offset)
            array = JsonArray(self.name, file, offset, MAX_LINE_BYTES)
            for number, (value, suspicious) in enumerate(array.elements(), 1):
                yield number, as_row(value, suspicious)


def read_rows(path: str | Path) -> Iterator[tuple[int, Row]]:
    """Stream a file's rows: (line number from 1, row), or (element number from 1, row) for a JSON array.

    Blank lines are passed over. A row is any JSON object; `tunesmith.rows.chat.conversation` says what it means.

    Raises:
        InvalidData: At the first thing that is wrong, with its place.
    """
    file = RowFile(path)
    for number, row in file.scan():
        if isinstance(row, RowProblem):
            raise row.at(file.place(number))
        yield number, row


def _begins_with_mark(file: BinaryIO) -> bool:
    """Whether a byte order mark comes next; nothing is taken."""
    assert isinstance(file, io.BufferedReader)
    head = file.peek(len(_UTF8_BOM))
    return head.startswith(_UTF8_BOM)


def _looks_like_json(head: bytes) -> bool:
    return head.startswith(b"{") or (head.startswith(b"[") and head[1:].lstrip(_BLANK).startswith(b"{"))
