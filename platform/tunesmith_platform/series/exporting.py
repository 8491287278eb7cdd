"""Every measurement of a task as a file: long rows of name, attempt, segment, step, value and time.

Redone steps are all there. Reads chunk by chunk, each in a transaction of its own, so that a long download holds
nothing up and needs no memory; what is measured after the export began is not in it.
"""

import csv
import datetime as dt
import io
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO, Any

from tunesmith_platform.db.engine import Database
from tunesmith_platform.scope import Scope
from tunesmith_platform.series import repository
from tunesmith_platform.series.codec import Points
from tunesmith_platform.series.reading import Piece

COLUMNS = ("name", "attempt", "segment", "step", "value", "time")
_IN_MEMORY = 16 * 2**20
_BLOCK = 2**18


def csv_parts(
    scope: Scope, database: Database, task_id: str, found: dict[str, list[Piece]]
) -> Iterator[bytes]:
    """A CSV file (UTF-8, a header line) in parts. Values read back as the very numbers; times are UTC."""
    yield (",".join(COLUMNS) + "\r\n").encode()
    for name, piece, points in _bodies(scope, database, task_id, found):
        text = io.StringIO()
        rows = csv.writer(text)
        for step, value, time in points.tolist():
            moment = dt.datetime.fromtimestamp(time // 1_000_000, dt.UTC).replace(
                microsecond=time % 1_000_000
            )
            rows.writerow((name, piece.attempt, piece.segment, step, repr(value), moment.isoformat()))
        yield text.getvalue().encode()


def parquet_parts(
    scope: Scope, database: Database, task_id: str, found: dict[str, list[Piece]]
) -> Iterator[bytes]:
    """A Parquet file in parts: a row group a chunk, written into a temporary file first."""
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        _write_parquet(file, _bodies(scope, database, task_id, found))
        file.seek(0)
        while block := file.read(_BLOCK):
            yield block


def _write_parquet(file: IO[bytes], bodies: Iterator[tuple[str, Piece, Points]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("name", pa.dictionary(pa.int32(), pa.string())),
            ("attempt", pa.int32()),
            ("segment", pa.int32()),
            ("step", pa.int64()),
            ("value", pa.float64()),
            ("time", pa.timestamp("us", tz="UTC")),
        ]
    )
    with pq.ParquetWriter(file, schema) as writer:
        for name, piece, points in bodies:
            count = len(points)
            columns: Sequence[Any] = [
                pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), [name]),
                pa.array([piece.attempt] * count, pa.int32()),
                pa.array([piece.segment] * count, pa.int32()),
                pa.array(points["step"]),
                pa.array(points["value"]),
                pa.array(points["time"]).cast(schema.field("time").type),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _bodies(
    scope: Scope, database: Database, task_id: str, found: dict[str, list[Piece]]
) -> Iterator[tuple[str, Piece, Points]]:
    for name, parts in found.items():
        for piece in parts:
            points = piece.points
            if points is None:
                assert piece.number is not None, "a piece is a chunk or has its points"
                with database.read() as session:
                    held = repository.data(session, scope, task_id, name, [piece.number])
                if piece.number not in held:  # the task was deleted meanwhile
                    return
                points = held[piece.number][: piece.count]
            yield name, piece, points
