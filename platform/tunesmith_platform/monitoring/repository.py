"""The queries of monitoring: counts of the whole platform, a task's log, what an autopsy looks at."""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import RowMapping, Select, delete, func, select
from sqlalchemy.orm import Session

from tunesmith.lifecycle import ENDS, Desired, State
from tunesmith_platform.db.scoping import within
from tunesmith_platform.db.tables import (
    AttemptRow,
    CheckpointRow,
    EventRow,
    MirrorRow,
    TaskRow,
)
from tunesmith_platform.scope import Scope

_LISTED = (
    TaskRow.id, TaskRow.kind, TaskRow.name, TaskRow.project, TaskRow.state, TaskRow.reason, TaskRow.message,
    TaskRow.waits_for, TaskRow.priority, TaskRow.tags, TaskRow.attempt, TaskRow.events, TaskRow.progress,
    TaskRow.heartbeat_at, TaskRow.created_at, TaskRow.started_at, TaskRow.ended_at,
)  # fmt: skip
_LIVE = [state.value for state in State if not state.is_terminal]
_ENDED = [state.value for state in ENDS]


class Counts(NamedTuple):
    """What the platform holds, and how far behind it is."""

    queue: int
    queued_since: dt.datetime | None
    heard_least: dt.datetime | None
    events: int
    checkpoints: int
    checkpoint_bytes: int
    mirror_behind: int


@dataclass(frozen=True)
class LogQuery:
    """Which lines of a task's log are wanted."""

    text: str | None = None
    levels: Sequence[str] = ()
    sources: Sequence[str] = ()
    since: dt.datetime | None = None
    until: dt.datetime | None = None


def counts(session: Session, scope: Scope) -> Counts:
    """What there is to measure, as it stands."""
    waiting = select(func.count(), func.min(TaskRow.created_at)).where(
        TaskRow.state == State.PENDING, TaskRow.is_attempt_open.is_(False), TaskRow.desired == Desired.RUN
    )
    queue, since = session.execute(within(waiting, scope, TaskRow)).one()
    beats = select(func.min(TaskRow.heartbeat_at)).where(TaskRow.state.in_([State.RUNNING, State.STOPPING]))
    saved = select(func.count(), func.sum(CheckpointRow.bytes))
    checkpoints, size = session.execute(within(saved, scope, CheckpointRow)).one()
    behind = (
        select(func.sum(TaskRow.events - func.coalesce(MirrorRow.n, 0)))
        .join(MirrorRow, MirrorRow.task_id == TaskRow.id, isouter=True)
        .where(TaskRow.attempt > 0)
    )
    events = select(func.sum(TaskRow.events))
    return Counts(
        queue=queue,
        queued_since=since,
        heard_least=session.scalar(within(beats, scope, TaskRow)),
        events=int(session.scalar(within(events, scope, TaskRow)) or 0),
        checkpoints=checkpoints,
        checkpoint_bytes=int(size or 0),
        mirror_behind=int(session.scalar(within(behind, scope, TaskRow)) or 0),
    )


def log(
    session: Session, scope: Scope, task_id: str, wanted: LogQuery, after: int, limit: int
) -> Sequence[EventRow]:
    """The lines of a task's log after a number, oldest first."""
    query = within(_lines(task_id, wanted).where(EventRow.n > after), scope, EventRow)
    return session.scalars(query.order_by(EventRow.n).limit(limit)).all()


def _lines(task_id: str, wanted: LogQuery) -> Select[EventRow]:
    query = select(EventRow).where(EventRow.task_id == task_id, EventRow.kind == "log")
    if wanted.text:
        query = query.where(EventRow.payload["message"].as_string().icontains(wanted.text, autoescape=True))
    if wanted.levels:
        query = query.where(EventRow.payload["level"].as_string().in_(list(wanted.levels)))
    if wanted.sources:
        query = query.where(EventRow.payload["source"].as_string().in_(list(wanted.sources)))
    if wanted.since is not None:
        query = query.where(EventRow.time >= wanted.since)
    if wanted.until is not None:
        query = query.where(EventRow.time < wanted.until)
    return query


def last_lines(
    session: Session, scope: Scope, task_id: str, each: int, most: int
) -> Iterator[tuple[str, list[EventRow]]]:
    """Who spoke in a task's log, and the last lines of each, oldest first."""
    source = EventRow.payload["source"].as_string()
    found = select(source).where(EventRow.task_id == task_id, EventRow.kind == "log").distinct()
    found = within(found.limit(most), scope, EventRow)
    for name in sorted(filter(None, session.scalars(found).all())):
        query = _lines(task_id, LogQuery(sources=(name,))).order_by(EventRow.n.desc()).limit(each)
        yield name, list(reversed(session.scalars(within(query, scope, EventRow)).all()))


def attempts(session: Session, scope: Scope, task_id: str) -> Sequence[AttemptRow]:
    """A task's starts, oldest first."""
    query = select(AttemptRow).where(AttemptRow.task_id == task_id).order_by(AttemptRow.number)
    return session.scalars(within(query, scope, AttemptRow)).all()


def running(session: Session, scope: Scope) -> Sequence[tuple[str, int]]:
    """The tasks that train now, with the number of their newest event."""
    query = select(TaskRow.id, TaskRow.events).where(TaskRow.state == State.RUNNING)
    query = within(query.order_by(TaskRow.id), scope, TaskRow)
    return [(task_id, n) for task_id, n in session.execute(query).all()]


def listed(session: Session, scope: Scope, newest: int) -> Sequence[RowMapping]:
    """What the list shows of the tasks that are not over, and of so many of the newest."""
    recent = within(select(TaskRow.id).order_by(TaskRow.id.desc()).limit(newest), scope, TaskRow).subquery()
    query = select(*_LISTED).where(TaskRow.state.in_(_LIVE) | TaskRow.id.in_(select(recent.c.id)))
    return session.execute(within(query.order_by(TaskRow.id), scope, TaskRow)).mappings().all()


def there(session: Session, scope: Scope, task_ids: Sequence[str]) -> set[str]:
    """Those of some tasks that were not deleted."""
    query = select(TaskRow.id).where(TaskRow.id.in_(task_ids))
    return set(session.scalars(within(query, scope, TaskRow)))


def newest_samples(session: Session, scope: Scope) -> Sequence[EventRow]:
    """The newest sample of the machines of each task that trains now."""
    newest = (
        select(EventRow.task_id, func.max(EventRow.n).label("n"))
        .join(TaskRow, TaskRow.id == EventRow.task_id)
        .where(TaskRow.state == State.RUNNING, EventRow.kind == "system")
        .group_by(EventRow.task_id)
        .subquery()
    )
    query = select(EventRow).join(newest, (EventRow.task_id == newest.c.task_id) & (EventRow.n == newest.c.n))
    return session.scalars(within(query.order_by(EventRow.task_id), scope, EventRow)).all()


def newest_before(session: Session, scope: Scope, task_id: str, kinds: Iterable[str], count: int) -> int:
    """The number of the event before the newest so many of some kinds; 0 where there are fewer."""
    query = (
        select(EventRow.n)
        .where(EventRow.task_id == task_id, EventRow.kind.in_(list(kinds)))
        .order_by(EventRow.n.desc())
        .offset(count)
        .limit(1)
    )
    return session.scalar(within(query, scope, EventRow)) or 0


def is_warned(session: Session, scope: Scope, task_id: str, code: str, after: int) -> bool:
    """Whether a task was warned with a code after an event."""
    query = select(EventRow.n).where(
        EventRow.task_id == task_id,
        EventRow.kind == "warning",
        EventRow.n > after,
        EventRow.payload["code"].as_string() == code,
    )
    return session.scalar(within(query.limit(1), scope, EventRow)) is not None


def old_log(
    session: Session, scope: Scope, ended_before: dt.datetime, limit: int
) -> Sequence[tuple[str, int]]:
    """Log entries of tasks that ended before a moment.

    A task's newest event is never among them: streams and mirrors know by it that they have read everything.
    """
    query = (
        select(EventRow.task_id, EventRow.n)
        .join(TaskRow, TaskRow.id == EventRow.task_id)
        .where(
            TaskRow.state.in_(_ENDED),
            TaskRow.ended_at < ended_before,
            EventRow.kind == "log",
            EventRow.n < TaskRow.events,
        )
        .limit(limit)
    )
    return [(task_id, n) for task_id, n in session.execute(within(query, scope, TaskRow)).all()]


def remove(session: Session, scope: Scope, task_id: str, numbers: Sequence[int]) -> None:
    """Delete log entries of a task."""
    entries = delete(EventRow).where(
        EventRow.task_id == task_id, EventRow.kind == "log", EventRow.n.in_(numbers)
    )
    session.execute(within(entries, scope, EventRow))
