"""The series' queries: chunks, their headers, and the metric events that are not folded yet."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from tunesmith.metrics import system_values
from tunesmith_platform.db.engine import BINARY
from tunesmith_platform.db.scoping import within
from tunesmith_platform.db.tables import ChunkRow, EventRow
from tunesmith_platform.scope import Scope
from tunesmith_platform.series.codec import Points, unpack

_MANY = 100
"""Ranges of chunks asked for in one query."""


@dataclass(frozen=True)
class Header:
    """A chunk without its points. `start` is the place of its first point within its segment."""

    number: int
    segment: int
    attempt: int
    start: int
    points: int
    first_step: int
    last_step: int


class Measured(NamedTuple):
    """A metric event."""

    n: int
    attempt: int
    time: dt.datetime
    step: int
    values: dict[str, float]


_HEADER = (
    ChunkRow.number,
    ChunkRow.segment,
    ChunkRow.attempt,
    ChunkRow.start,
    ChunkRow.points,
    ChunkRow.first_step,
    ChunkRow.last_step,
)


def headers(
    session: Session, scope: Scope, task_id: str, names: Iterable[str] | None = None
) -> dict[str, list[Header]]:
    """The chunks of a task's metrics, by name, each in the order they were measured."""
    query = select(ChunkRow.name, *_HEADER).where(ChunkRow.task_id == task_id)
    if names is not None:
        query = query.where(ChunkRow.name.in_(list(names)))
    found: dict[str, list[Header]] = {}
    query = within(query.order_by(ChunkRow.name, ChunkRow.number), scope, ChunkRow)
    for name, *values in session.execute(query):
        found.setdefault(name, []).append(Header(*values))
    return found


def last_chunks(session: Session, scope: Scope, task_id: str) -> dict[str, ChunkRow]:
    """The newest chunk of each metric."""
    newest = (
        select(ChunkRow.name, func.max(ChunkRow.number).label("number"))
        .where(ChunkRow.task_id == task_id)
        .group_by(ChunkRow.name)
        .subquery()
    )
    query = select(ChunkRow).where(ChunkRow.task_id == task_id)
    query = query.join(newest, (ChunkRow.name == newest.c.name) & (ChunkRow.number == newest.c.number))
    return {chunk.name: chunk for chunk in session.scalars(within(query, scope, ChunkRow))}


def data(
    session: Session, scope: Scope, task_id: str, name: str, numbers: Sequence[int]
) -> dict[int, Points]:
    """The points of chunks, by number."""
    return _blobs(session, scope, task_id, name, numbers, ChunkRow.data)


def roll_ups(
    session: Session, scope: Scope, task_id: str, name: str, numbers: Sequence[int]
) -> dict[int, Points]:
    """The roll-ups of chunks, by number."""
    return _blobs(session, scope, task_id, name, numbers, ChunkRow.rollup)


def _blobs(
    session: Session, scope: Scope, task_id: str, name: str, numbers: Sequence[int], column: Any
) -> dict[int, Points]:
    found: dict[int, Points] = {}
    runs = _runs(numbers)
    for start in range(0, len(runs), _MANY):
        asked = [ChunkRow.number.between(first, last) for first, last in runs[start : start + _MANY]]
        query = select(ChunkRow.number, column).where(
            ChunkRow.task_id == task_id, ChunkRow.name == name, or_(*asked)
        )
        rows = session.execute(within(query, scope, ChunkRow), execution_options=BINARY)
        found |= {number: unpack(blob) for number, blob in rows}
    return found


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Rising numbers as ranges. A database takes a few of them in much less time than hundreds of numbers."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] + 1 == number:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return runs


def measured(
    session: Session, scope: Scope, task_id: str, after: int, up_to: int, limit: int | None = None
) -> list[Measured]:
    """The metric events with numbers above `after`, oldest first."""
    query = (
        select(EventRow.n, EventRow.attempt, EventRow.time, EventRow.payload)
        .where(
            EventRow.task_id == task_id,
            EventRow.kind.in_(["metrics", "system"]),
            EventRow.n > after,
            EventRow.n <= up_to,
        )
        .order_by(EventRow.n)
        .limit(limit)
    )
    return [
        Measured(n, attempt, time, payload["step"], _values(payload))
        for n, attempt, time, payload in session.execute(within(query, scope, EventRow))
    ]


def _values(payload: dict[str, Any]) -> dict[str, float]:
    if payload["kind"] == "system":
        return system_values(payload["workers"])
    values: dict[str, float] = payload["values"]
    return values
