"""Rows out of a table: CSV (also with `;` or tabs), told by the name's ending, and Parquet, told by its content.

A table's first line names its columns, and one without a name is passed over; every value of a CSV file is text. Rows
are streamed, and what one of them may take of memory is bounded. Knows CSV and Parquet; knows nothing of what a row
means.
"""

import csv
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from tunesmith.row_problem import RowProblem
from tunesmith.rows.files.arrow_values import python_rows
from tunesmith.rows.files.decompress import MAX_RATIO
from tunesmith.rows.problems import bad_file

PARQUET_MAGIC = b"PAR1"
CSV_ENDINGS = (".csv", ".tsv")
MAX_COLUMNS = 1000
MAX_GROUP_BYTES = 4 * 1024**3
_BATCH_BYTES = 256 * 1024**2
_BATCH_ROWS = 256
_BUFFER = 1 << 20
_DELIMITERS = ",;\t"
_SURELY_FINE = 256 * 1024**2
"""Below this the ratio does not matter: so little does no harm."""


def read_csv(
    name: str, file: BinaryIO, offset: int, max_row_bytes: int
) -> Iterator[tuple[int, dict[str, Any] | RowProblem]]:
    """Every row with the number of its first line; a row without the right number of fields as its problem.

    Args:
        name: The file's name, for messages.
        file: Its plain bytes, behind a byte order mark.
        offset: Where it stands.
        max_row_bytes: How long one row may be.

    Raises:
        InvalidData: It has no usable line of names, is no UTF-8, or a quote in it never ends.
    """
    csv.field_size_limit(max_row_bytes)  # the library's own limit, for all: 128 KB without this
    lines = _Lines(name, file, offset, max_row_bytes)
    first = next(lines, "")
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        begin = lines.number + (header is not None)
        lines.taken = 0
        try:
            values = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            raise bad_file(
                f"{name}:{begin}",
                f"{name}:{begin}: the table cannot be read: {error}.",
                'A quote that is opened must be closed, and a quote inside is doubled: `"say ""hi"""`.',
            ) from None
        if not values:
            continue  # a blank line
        if header is None:
            header = _header(name, values)
        elif len(values) != len(header):
            yield (
                begin,
                RowProblem(
                    f"The row has {len(values)} fields, the first line names {len(header)} columns.",
                    f"Put a field that holds `{delimiter if delimiter != chr(9) else 'a tab'}` or a newline in quotes.",
                ),
            )
        else:
            row = dict(zip(header, values, strict=True))
            row.pop("", None)
            yield begin, row


class _Lines:
    """A file's lines as text, counted; `taken` is how much was read since it was last set to 0."""

    def __init__(self, name: str, file: BinaryIO, offset: int, max_row_bytes: int) -> None:
        self._name, self._file, self._max = name, file, max_row_bytes
        self._offset = offset
        self.number = 0
        self.taken = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline(self._max + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.taken += len(line)
        place = f"{self._name}:{self.number}"
        if self.taken > self._max:
            raise bad_file(
                place,
                f"{place}: the row is longer than {self._max // 1024**2} MB.",
                "Is a quote never closed? Else split the row.",
            )
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise bad_file(
                place,
                f"{place}: The text is not UTF-8: byte {self._offset + error.start} of the file does not fit.",
                "Save the file as UTF-8; a spreadsheet calls it `CSV UTF-8`.",
            ) from None
        self._offset += len(line)
        return text


def _header(file_name: str, names: list[str]) -> list[str]:
    names = [column.strip() for column in names]
    is_wide = len(names) > MAX_COLUMNS  # first: counting millions of names would never end
    # Columns without a name hold row numbers, as pandas and R write them, or nothing, as spreadsheets do.
    named = [name for name in names if name]
    twice = None if is_wide else next((name for name in named if named.count(name) > 1), None)
    if twice is not None or is_wide or not named:
        what = f"names more than {MAX_COLUMNS} columns" if is_wide else ""
        what = what or (f"names `{twice[:40]}` twice" if twice else "names no column")
        raise bad_file(
            f"{file_name}:1",
            f"The first line of `{file_name}` {what}.",
            "Its first line must name the columns, each differently.",
        )
    return names


class ParquetTable:
    """A Parquet file.

    Raises:
        InvalidData: It is broken, has a part that is too large to be read, or pyarrow is not installed.
    """

    def __init__(self, path: Path) -> None:
        self._name = path.name
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise bad_file(
                path.name, "Parquet is read by `pyarrow`, which is not installed.", "`pip install pyarrow`."
            ) from error
        self._errors: tuple[type[Exception], ...] = (pa.ArrowException, OSError, ValueError, OverflowError)
        try:
            self._file = pq.ParquetFile(
                path, buffer_size=_BUFFER, pre_buffer=False, thrift_string_size_limit=64 * 1024**2
            )
            self.rows = int(self._file.metadata.num_rows)
            self.columns = list(self._file.schema_arrow.names)
        except self._errors as error:
            raise self._broken(error) from error
        if len(set(self.columns)) < len(self.columns) or len(self.columns) > MAX_COLUMNS:
            raise bad_file(
                path.name,
                f"`{path.name}` names a column twice, or has more than {MAX_COLUMNS}.",
                "Give every column a name of its own.",
            )
        self._batch = self._batch_rows()

    def scan(self) -> Iterator[tuple[int, dict[str, Any] | RowProblem]]:
        """Every row with its number from 1.

        Raises:
            InvalidData: The file cannot be read on.
        """
        number = 0
        try:
            for batch in self._file.iter_batches(self._batch, use_threads=False):
                for row in _values(batch):
                    number += 1
                    yield number, row
        except self._errors as error:
            raise self._broken(error) from error

    def _batch_rows(self) -> int:
        """How many rows are unpacked at once.

        A value that is stored once may stand in every row: so many at once that each may be as large as all that is
        stored of its column.
        """
        metadata = self._file.metadata
        largest = 1
        for group in range(metadata.num_row_groups):
            parts = [metadata.row_group(group).column(i) for i in range(metadata.num_columns)]
            size = sum(part.total_uncompressed_size for part in parts)
            packed = sum(part.total_compressed_size for part in parts)
            if size > max(_SURELY_FINE, packed * MAX_RATIO):
                raise bad_file(
                    self._name,
                    f"`{self._name}` has a row group of {packed} bytes that unpacks to {size / 1e6:.0f} MB: nothing is "
                    "read that grows so much.",
                    "If that is what you want, write its rows as JSONL.",
                )
            if size > MAX_GROUP_BYTES:
                raise bad_file(
                    self._name,
                    f"`{self._name}` has a row group of {size / 1e6:.0f} MB; at most {MAX_GROUP_BYTES // 1024**2} MB "
                    "are unpacked at once.",
                    "Write it with smaller row groups, e.g. `row_group_size=10000`, or as JSONL.",
                )
            shared = [part.total_uncompressed_size for part in parts if part.has_dictionary_page]
            largest = max(largest, *shared) if shared else largest
        return max(1, min(_BATCH_ROWS, _BATCH_BYTES // largest))

    def _broken(self, error: Exception) -> Exception:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        return bad_file(
            self._name,
            f"`{self._name}` cannot be read as Parquet: {reason}.",
            "Was it copied whole? Write it again, or export its rows as JSONL.",
        )


def _values(batch: Any) -> Iterable[dict[str, Any] | RowProblem]:
    try:
        found: list[dict[str, Any] | RowProblem] = [*python_rows(batch)]
    except UnicodeDecodeError:
        return _one_by_one(batch)
    return found


def _one_by_one(batch: Any) -> Iterator[dict[str, Any] | RowProblem]:
    for i in range(batch.num_rows):
        try:
            yield python_rows(batch.slice(i, 1))[0]
        except UnicodeDecodeError:
            yield RowProblem("A text of the row is not UTF-8.", "Write the column again from proper text.")
