"""The rows of every table as lines of JSON, the same from SQLite and PostgreSQL, and back into either.

A column of JSON goes as the text that it is, so that an absent value and `null` stay two things. Points in time and
bytes are objects with one key, which no other value is. Knows tables; knows nothing of what they mean.
"""

import base64
import datetime as dt
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import IO, Any

from sqlalchemy import JSON, Connection, Table, Text, bindparam, cast, func, insert, select, text
from sqlalchemy.dialects.postgresql import JSONB

_AT_A_TIME = 1000
_TIME, _BYTES = "t", "b"


def dump(connection: Connection, table: Table, stream: IO[bytes]) -> int:
    """Write a table's rows, each a line, in the order of its columns; how many there were.

    Args:
        connection: Of a transaction that sees one state of the database from its first statement to its last.
        table: As the connection's database has it.
        stream: Where to.
    """
    columns = [
        cast(column, Text).label(column.name) if isinstance(column.type, JSON) else column
        for column in table.columns
    ]
    count = 0
    for row in connection.execution_options(yield_per=_AT_A_TIME).execute(select(*columns)):
        stream.write(json.dumps([_put(value) for value in row], ensure_ascii=False).encode() + b"\n")
        count += 1
    return count


def load(connection: Connection, table: Table, names: list[str], lines: Iterable[bytes]) -> int:
    """Put rows that `dump` wrote into a table; how many there were.

    Args:
        connection: Of the transaction that they belong to.
        table: As the database has it; columns that `names` lacks get their defaults.
        names: What the values of a line are, in their order.
        lines: The rows.
    """
    statement = insert(table).values({name: _given(connection, table, name) for name in names})
    count = 0
    given = _rows(lines)
    while some := list(islice(given, _AT_A_TIME)):
        connection.execute(statement, [dict(zip(names, row, strict=True)) for row in some])
        count += len(some)
    _go_on_counting(connection, table)
    return count


def _given(connection: Connection, table: Table, name: str) -> Any:
    column = table.columns[name]
    if not isinstance(column.type, JSON):
        return bindparam(name, type_=column.type)
    given = bindparam(name, type_=Text)
    return cast(given, JSONB) if connection.dialect.name == "postgresql" else given


def _go_on_counting(connection: Connection, table: Table) -> None:
    """Let a number that PostgreSQL counts by itself go on behind those that were put in."""
    if connection.dialect.name != "postgresql":
        return
    for column in table.primary_key:
        name = connection.scalar(
            text("SELECT pg_get_serial_sequence(:table, :column)"),
            {"table": table.name, "column": column.name},
        )
        highest = connection.scalar(select(func.max(column))) if name else None
        if highest is not None:
            connection.execute(text("SELECT setval(:name, :to)"), {"name": name, "to": highest})


def _rows(lines: Iterable[bytes]) -> Iterator[list[Any]]:
    for line in lines:
        yield [_get(value) for value in json.loads(line)]


def _put(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return {_TIME: value.astimezone(dt.UTC).isoformat()}
    if isinstance(value, bytes | memoryview):
        return {_BYTES: base64.b64encode(value).decode()}
    return value


def _get(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return dt.datetime.fromisoformat(value[_TIME]) if _TIME in value else base64.b64decode(value[_BYTES])
