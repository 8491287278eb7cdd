"""Rows of a data set in a file, as a stream and by their place; and the file that an operation writes.

Whatever the file's format, its rows are read by `tunesmith.rows.files.reading`, whose bounds hold here too. What is
needed by its place is copied to a scratch file of one JSON object a line first, of which only the places are kept in
memory.
"""

import datetime as dt
import hashlib
import json
import math
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tunesmith.data_step import DataOutput
from tunesmith.errors import InvalidData
from tunesmith.row_problem import RowProblem
from tunesmith.rows.files.decoding import Row
from tunesmith.rows.files.reading import RowFile, read_rows

_MAX_COLUMNS = 1000
"""Names that are remembered: every row of a hostile file may have others."""


class Table:
    """Rows in a file, read anew at each pass."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = self.path.name

    def __iter__(self) -> Iterator[Row]:
        for _, row in read_rows(self.path):
            yield row

    def numbered(self) -> Iterator[tuple[str, Row]]:
        """Each row with its place (`train.jsonl:17`), for what may go wrong with it."""
        file = RowFile(self.path)
        for number, row in read_rows(self.path):
            yield file.place(number), row


class Places:
    """A data set's rows by their place. Holds eight bytes a row in memory.

    Args:
        rows: The rows.
        scratch: The file that they are copied to.
    """

    def __init__(self, rows: Iterable[Row], scratch: Path) -> None:
        self._starts = array("Q")
        self._file = scratch
        at = 0
        with scratch.open("wb") as file:
            for row in rows:
                line = line_of(row)
                self._starts.append(at)
                at += file.write(line)

    def __len__(self) -> int:
        return len(self._starts)

    def take(self, places: Iterable[int]) -> Iterator[Row]:
        """The rows at these places, in this order."""
        with self._file.open("rb") as file:
            for place in places:
                file.seek(self._starts[place])
                row: Row = json.loads(file.readline())
                yield row


class Writer:
    """Writes rows to a file, one JSON object a line, and counts what it wrote. Use it as a context."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = 0
        self._bytes = 0
        self._columns: dict[str, None] = {}
        self._sum = hashlib.sha256()
        self._file: BinaryIO = path.open("wb")

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, row: Row) -> None:
        """Append a row.

        Raises:
            RowProblem: It holds something that is no JSON.
        """
        line = line_of(row)
        self._file.write(line)
        self._sum.update(line)
        self._rows += 1
        self._bytes += len(line)
        if len(self._columns) < _MAX_COLUMNS:
            self._columns.update(dict.fromkeys(row))

    def output(self, folder: Path) -> DataOutput:
        """What was written, as it will lie in a folder.

        Raises:
            InvalidData: No row was.
        """
        if not self._rows:
            raise InvalidData(
                "No row is left.", hint="Look at the condition, the fraction, or the rows that were given."
            )
        return DataOutput(
            path=str(folder / self._path.name),
            rows=self._rows,
            columns=list(self._columns)[:_MAX_COLUMNS],
            bytes=self._bytes,
            sha256=self._sum.hexdigest(),
        )


def line_of(row: Row) -> bytes:
    """A row as its line.

    Raises:
        RowProblem: It holds something that is no JSON.
    """
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        text = json.dumps(_finite(row), ensure_ascii=False, default=_plain)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        raise RowProblem("The row holds half of a surrogate pair, which is no character.") from None


def _plain(value: Any) -> str:
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    raise RowProblem(
        f"The row holds a value of the kind `{type(value).__name__}`, which is neither text nor number.",
        "Select the columns that are text, or convert the data set first.",
    )


def _finite(value: Any) -> Any:
    """Tables know NaN where JSON knows null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list) else value
