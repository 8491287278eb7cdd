"""The event log's queries. Appends run in the caller's transaction, which holds the task's row."""

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

from sqlalchemy import Table, select, update
from sqlalchemy.orm import Session

from tunesmith.events import (
    CheckpointRemoved,
    CheckpointSaved,
    DatasetMade,
    Finished,
    JobEvent,
    StateChanged,
    TrainingStarted,
)
from tunesmith.events import Metrics as MetricsPayload
from tunesmith.events import Progress as ProgressPayload
from tunesmith_platform.clock import now
from tunesmith_platform.datasets.lineage import enter_made
from tunesmith_platform.db.tables import AttemptRow, CheckpointRow, EventRow, TaskRow

_EVENTS = cast(Table, EventRow.__table__)
_TASKS = cast(Table, TaskRow.__table__)
_SQLITE_INSERT = (
    "INSERT INTO events (task_id, n, attempt, seq, kind, time, payload) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_POSTGRES_INSERT = """
INSERT INTO events (task_id, n, attempt, seq, kind, time, payload)
SELECT %s, e.n, e.attempt, e.seq, e.kind, e.time, e.payload FROM json_to_recordset(%s::json)
AS e(n bigint, attempt integer, seq bigint, kind text, time timestamptz, payload jsonb)
"""
_SHOWN_METRICS = ("loss", "tokens_per_second")
_STORED = (_EVENTS.c.n, _EVENTS.c.attempt, _EVENTS.c.time, _EVENTS.c.payload)


class Mark(NamedTuple):
    """How far a task's log goes."""

    id: str
    events: int
    state: str


class Stored(NamedTuple):
    """An event as it lies in the log."""

    n: int
    attempt: int
    time: dt.datetime
    payload: dict[str, Any]


class _Entry(NamedTuple):
    n: int
    attempt: int
    seq: int | None
    kind: str
    time: dt.datetime
    payload: str


def append(session: Session, task: TaskRow, attempt: AttemptRow, events: Sequence[JobEvent]) -> None:
    """Append a job's events, which follow the attempt's last one without a gap, and bring up what derives from them."""
    if not events:
        return
    entries = []
    progress = dict(task.progress)
    for n, event in enumerate(events, start=task.events + 1):
        payload = event.payload
        entries.append(
            _Entry(n, attempt.number, event.seq, payload.kind, event.time, payload.model_dump_json())
        )
        _project(session, task, attempt, event, progress)
    _store(session, task.id, entries)
    task.progress = progress
    task.events += len(events)
    attempt.last_seq = events[-1].seq


def _store(session: Session, task_id: str, entries: Sequence[_Entry]) -> None:
    # The payloads are JSON already: SQLAlchemy's types would parse and write them again, and psycopg would send
    # each row by itself. That is two thirds of a full batch's time.
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        rows = [(task_id, e.n, e.attempt, e.seq, e.kind, _sqlite_time(e.time), e.payload) for e in entries]
        connection.exec_driver_sql(_SQLITE_INSERT, rows)
    else:
        rows_as_json = ",".join(
            f'{{"n":{e.n},"attempt":{e.attempt},"seq":{"null" if e.seq is None else e.seq},"kind":"{e.kind}",'
            f'"time":"{e.time.isoformat()}","payload":{e.payload}}}'
            for e in entries
        )
        connection.exec_driver_sql(_POSTGRES_INSERT, (task_id, f"[{rows_as_json}]"))


def _sqlite_time(time: dt.datetime) -> str:
    assert time.tzinfo is not None, "a time without a zone"
    return time.astimezone(dt.UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def append_own(session: Session, task: TaskRow, payload: dict[str, Any]) -> None:
    """Append something that the control plane itself says."""
    task.events += 1
    session.flush()  # a new task's row comes before its first event
    _append_own(session, task, payload)


def append_first(session: Session, task: TaskRow, payload: StateChanged) -> None:
    """Append the first event of a task whose row counts it already."""
    _append_own(session, task, payload.model_dump(mode="json"))


def _append_own(session: Session, task: TaskRow, payload: dict[str, Any]) -> None:
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    _store(session, task.id, [_Entry(task.events, task.attempt, None, payload["kind"], now(), text)])


def append_state(session: Session, task: TaskRow, payload: StateChanged) -> None:
    """Append a move to another state."""
    append_own(session, task, payload.model_dump(mode="json"))


def _project(
    session: Session, task: TaskRow, attempt: AttemptRow, event: JobEvent, progress: dict[str, Any]
) -> None:
    payload = event.payload
    match payload:
        case TrainingStarted():
            attempt.training_started_at = attempt.training_started_at or event.time
            progress |= {"step": payload.step, "total_steps": payload.total_steps}
        case ProgressPayload():
            progress |= payload.model_dump(exclude={"kind"})
        case MetricsPayload():
            for name in _SHOWN_METRICS:
                if name in payload.values:
                    progress[name] = payload.values[name]
        case CheckpointSaved():
            if payload.best:
                progress |= {"best_step": payload.step}
                session.execute(
                    update(CheckpointRow).where(CheckpointRow.task_id == task.id).values(is_best=False)
                )
            session.merge(
                CheckpointRow(
                    task_id=task.id,
                    step=payload.step,
                    attempt=attempt.number,
                    uri=payload.uri,
                    bytes=payload.bytes,
                    files=payload.files,
                    manifest_sha256=payload.manifest_sha256,
                    metrics=payload.metrics,
                    is_best=payload.best,
                    created_at=event.time,
                )
            )
        case CheckpointRemoved():
            gone = session.get(CheckpointRow, (task.id, payload.step))
            if gone is not None:
                session.delete(gone)
        case DatasetMade():
            version, made = enter_made(session, task, payload), progress.get("datasets", [])
            progress |= {"datasets": [*made, version] if version and version not in made else made}
        case Finished():
            attempt.finished = payload.model_dump(mode="json")
            attempt.finished_at = now()
            task.model_uri = payload.model_uri or task.model_uri


def after(
    session: Session, task_id: str, n: int, limit: int, kinds: Iterable[str] | None = None
) -> Sequence[EventRow]:
    """Events with a number above `n`, oldest first."""
    query = (
        select(EventRow).where(EventRow.task_id == task_id, EventRow.n > n).order_by(EventRow.n).limit(limit)
    )
    if kinds:
        query = query.where(EventRow.kind.in_(list(kinds)))
    return session.scalars(query).all()


def marks(session: Session, task_ids: Sequence[str]) -> list[Mark]:
    """How far the logs of tasks go; those that are not there are left out."""
    query = select(_TASKS.c.id, _TASKS.c.events, _TASKS.c.state).where(_TASKS.c.id.in_(task_ids))
    return [Mark(*row) for row in session.connection().execute(query)]


def stored_after(
    session: Session, task_id: str, n: int, limit: int, up_to: int | None = None
) -> Iterator[Stored]:
    """Events with a number above `n` (and none above `up_to`), oldest first, read as they are asked for."""
    query = select(*_STORED).where(_EVENTS.c.task_id == task_id, _EVENTS.c.n > n)
    if up_to is not None:
        query = query.where(_EVENTS.c.n <= up_to)
    query = query.order_by(_EVENTS.c.n).limit(limit)
    for row in session.connection().execute(query, execution_options={"yield_per": 64}):
        yield Stored(*row)


def last_of_kind(
    session: Session,
    task_id: str,
    kind: str,
    limit: int,
    *,
    level: Iterable[str] | None = None,
    before: int | None = None,
) -> list[EventRow]:
    """The newest events of one kind (before a number), oldest first."""
    query = (
        select(EventRow)
        .where(EventRow.task_id == task_id, EventRow.kind == kind)
        .order_by(EventRow.n.desc())
        .limit(limit)
    )
    if level:
        query = query.where(EventRow.payload["level"].as_string().in_(list(level)))
    if before is not None:
        query = query.where(EventRow.n < before)
    return list(reversed(session.scalars(query).all()))
