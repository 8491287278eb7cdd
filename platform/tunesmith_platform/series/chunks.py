"""Folds metric events into chunks. The event log is where a measurement is stored; this makes it quick to draw.

Runs in the transaction that stored the events, and moves the task's own mark (`folded`) in it: every event is folded
once, whatever fails in between. What came after the mark is read from the log itself.

A segment is what one attempt measured of a metric while its steps rose: a restart, which does steps again, begins
another. Where a step is measured twice in a row (an evaluation at the last step), the second counts.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from tunesmith.events import JobEvent, Metrics, SystemMeasured
from tunesmith_platform.db.tables import ChunkRow
from tunesmith_platform.scope import Scope
from tunesmith_platform.series import repository
from tunesmith_platform.series.codec import CHUNK_POINTS, POINT, Points, pack, roll_up, unpack
from tunesmith_platform.series.query import MAX_STEP
from tunesmith_platform.series.repository import Measured

FOLD_EVENTS = 1000
"""Events since the last fold that make it worth its writes, and the most that a chart reads from the log."""
MAX_NAME = 200
"""Characters of a metric's name; one that is longer stays in the log alone."""
_BATCH = 5000


@dataclass(frozen=True)
class Stretch:
    """Points of one attempt whose steps rise."""

    attempt: int
    points: Points


class Logged(Protocol):
    """A task as far as its log is concerned: its events, and those that lie in chunks too."""

    id: str
    attempt: int
    events: int
    folded: int


def fold(session: Session, scope: Scope, task: Logged, before: int, fresh: Sequence[JobEvent]) -> None:
    """Fold what was measured since the last time, once that is enough. The caller holds the task's row.

    Args:
        session: The transaction that stored `fresh`.
        task: Whose.
        before: The number of its last event before these.
        fresh: Events that were just stored, so that they need not be read again.
    """
    if task.events - task.folded < FOLD_EVENTS:
        return
    chunks = repository.last_chunks(session, scope, task.id)
    while task.folded < before:
        batch = repository.measured(session, scope, task.id, task.folded, before, _BATCH)
        _append_all(session, task.id, chunks, batch)
        task.folded = batch[-1].n if len(batch) == _BATCH else before
    batch = [
        Measured(before + i, task.attempt, event.time, event.payload.step, event.payload.values)
        for i, event in enumerate(fresh, start=1)
        if isinstance(event.payload, Metrics | SystemMeasured)
    ]
    _append_all(session, task.id, chunks, batch)
    task.folded = task.events


def stretches(events: Iterable[Measured], names: set[str] | None = None) -> dict[str, list[Stretch]]:
    """Metric events as the rising stretches of each metric, in the order they were measured.

    Args:
        events: Oldest first.
        names: Only these metrics.
    """
    usable = [event for event in events if event.step <= MAX_STEP]
    attempts = np.array([event.attempt for event in usable], np.int64)
    moments = np.zeros(len(usable), POINT)
    moments["step"] = [event.step for event in usable]
    moments["time"] = [round(event.time.timestamp() * 1e6) for event in usable]
    found = {}
    for name, (places, values) in _columns(usable).items():
        if len(name) <= MAX_NAME and (names is None or name in names):
            points = moments[places]
            points["value"] = values
            found[name] = list(_rising(attempts[places], points))
    return found


def _columns(events: Sequence[Measured]) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """For each metric the places of the events that measured it, and the values."""
    # Nearly all events of a task measure the same: those become one table at a stroke.
    alike: dict[tuple[str, ...], list[int]] = {}
    for place, event in enumerate(events):
        alike.setdefault(tuple(event.values), []).append(place)
    parts: dict[str, list[tuple[NDArray[np.int64], NDArray[np.float64]]]] = {}
    for names, places in alike.items():
        table = np.array([tuple(events[place].values.values()) for place in places], np.float64)
        for column, name in enumerate(names):
            parts.setdefault(name, []).append((np.array(places), table[:, column]))
    columns = {}
    for name, found in parts.items():
        places_of, values_of = (np.concatenate(column) for column in zip(*found, strict=True))
        order = np.argsort(places_of)
        columns[name] = places_of[order], values_of[order]
    return columns


def _rising(attempts: NDArray[np.int64], points: Points) -> Iterator[Stretch]:
    same = attempts[1:] == attempts[:-1]
    # A step that was measured twice in a row: the second counts.
    kept = np.append(~(same & (points["step"][1:] == points["step"][:-1])), True)
    attempts, points = attempts[kept], points[kept]
    breaks = (attempts[1:] != attempts[:-1]) | (points["step"][1:] < points["step"][:-1])
    for part in np.split(np.arange(len(points)), np.flatnonzero(breaks) + 1):
        yield Stretch(int(attempts[part[0]]), points[part])


def _append_all(
    session: Session, task_id: str, chunks: dict[str, ChunkRow], batch: Sequence[Measured]
) -> None:
    for name, parts in stretches(batch).items():
        for part in parts:
            chunks[name] = _append(session, task_id, name, chunks.get(name), part)


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
