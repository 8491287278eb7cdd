"""Folds metric events into chunks. The event log is where a measurement is stored; this makes it quick to draw.

Runs in the transaction that stored the events, and moves the task's own mark (`folded`) in it: every event is folded
once, whatever fails in between. What came after the mark is read from the log itself.

A segment is what one attempt measured of a metric while its steps rose: a restart, which does steps again, begins
another. Where a step is measured twice in a row (an evaluation at the last step), the second counts.
"""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from tunesmith_platform.db.tables import ChunkRow, TaskRow
from tunesmith_platform.series import repository
from tunesmith_platform.series.packing import CHUNK_POINTS, POINT, Points, pack, roll_up, unpack
from tunesmith_platform.series.repository import Measured

FOLD_EVENTS = 1000
"""Events since the last fold that make it worth its writes, and the most that a chart reads from the log."""
MAX_NAME = 200
"""Characters of a metric's name; one that is longer stays in the log alone."""
MAX_STEP = 2**62
_BATCH = 5000
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


@dataclass(frozen=True)
class Stretch:
    """Points of one attempt whose steps rise."""

    attempt: int
    points: Points


@dataclass
class _Column:
    attempts: list[int] = field(default_factory=list)
    rows: list[tuple[int, float, int]] = field(default_factory=list)


def fold(session: Session, task: TaskRow) -> None:
    """Fold what was measured since the last time, once that is enough. The caller holds the task's row."""
    if task.events - task.folded < FOLD_EVENTS:
        return
    chunks = repository.last_chunks(session, task.id)
    while task.folded < task.events:
        batch = repository.measured(session, task.id, task.folded, task.events, _BATCH)
        for name, parts in stretches(batch).items():
            for part in parts:
                chunks[name] = _append(session, task.id, name, chunks.get(name), part)
        task.folded = batch[-1].n if len(batch) == _BATCH else task.events


def stretches(events: Iterable[Measured], names: set[str] | None = None) -> dict[str, list[Stretch]]:
    """Metric events as the rising stretches of each metric, in the order they were measured.

    Args:
        events: Oldest first.
        names: Only these metrics.
    """
    columns: dict[str, _Column] = {}
    for event in events:
        if event.step > MAX_STEP:
            continue
        time = (event.time - _EPOCH) // _MICROSECOND
        for name, value in event.values.items():
            if len(name) > MAX_NAME or (names is not None and name not in names):
                continue
            column = columns.get(name)
            if column is None:
                column = columns[name] = _Column()
            column.attempts.append(event.attempt)
            column.rows.append((event.step, value, time))
    return {
        name: list(_rising(np.array(column.attempts, np.int64), np.array(column.rows, POINT)))
        for name, column in columns.items()
    }


def _rising(attempts: NDArray[np.int64], points: Points) -> Iterator[Stretch]:
    same = attempts[1:] == attempts[:-1]
    # A step that was measured twice in a row: the second counts.
    kept = np.append(~(same & (points["step"][1:] == points["step"][:-1])), True)
    attempts, points = attempts[kept], points[kept]
    breaks = (attempts[1:] != attempts[:-1]) | (points["step"][1:] < points["step"][:-1])
    for part in np.split(np.arange(len(points)), np.flatnonzero(breaks) + 1):
        yield Stretch(int(attempts[part[0]]), points[part])


def _append(session: Session, task_id: str, name: str, last: ChunkRow | None, part: Stretch) -> ChunkRow:
    """Write a stretch behind a metric's last chunk, and answer what is its last chunk then."""
    points = part.points
    first = int(points["step"][0])
    goes_on = last is not None and last.attempt == part.attempt and first >= last.last_step
    room = 0
    if last is not None and goes_on:
        again = first == last.last_step
        room = CHUNK_POINTS - last.points + again
        if room:
            held = unpack(last.data)[: last.points - again]
            _fill(last, np.concatenate([held, points[:room]]))
    for start in range(room, len(points), CHUNK_POINTS):
        made = ChunkRow(
            task_id=task_id,
            name=name,
            number=last.number + 1 if last is not None else 0,
            segment=0 if last is None else last.segment if goes_on else last.segment + 1,
            attempt=part.attempt,
            start=last.start + last.points if last is not None and goes_on else 0,
        )
        _fill(made, points[start : start + CHUNK_POINTS])
        session.add(made)
        last, goes_on = made, True
    assert last is not None, "a stretch has points"
    return last


def _fill(chunk: ChunkRow, points: Points) -> None:
    chunk.points = len(points)
    chunk.first_step, chunk.last_step = int(points["step"][0]), int(points["step"][-1])
    chunk.rollup, chunk.data = pack(roll_up(points)), pack(points)
