"""The event log's queries. Appends run in the caller's transaction, which holds the task's row."""

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any, cast

from sqlalchemy import Table, insert, select, update
from sqlalchemy.orm import Session

from tunesmith.events import (
    CheckpointRemoved,
    CheckpointSaved,
    Finished,
    JobEvent,
    StateChanged,
    TrainingStarted,
)
from tunesmith.events import Metrics as MetricsPayload
from tunesmith.events import Progress as ProgressPayload
from tunesmith_platform.clock import now
from tunesmith_platform.db.tables import AttemptRow, CheckpointRow, EventRow, TaskRow

_EVENTS = cast(Table, EventRow.__table__)


def _entry(
    task: TaskRow, attempt: int, seq: int | None, time: dt.datetime, payload: dict[str, Any]
) -> dict[str, Any]:
    task.events += 1
    return {
        "task_id": task.id,
        "n": task.events,
        "attempt": attempt,
        "seq": seq,
        "kind": payload["kind"],
        "time": time,
        "payload": payload,
    }


def append(session: Session, task: TaskRow, attempt: AttemptRow, events: Sequence[JobEvent]) -> None:
    """Append a job's events, which follow the attempt's last one without a gap, and bring up what derives from them."""
    if not events:
        return
    entries = []
    progress = dict(task.progress)
    for event in events:
        entries.append(
            _entry(task, attempt.number, event.seq, event.time, event.payload.model_dump(mode="json"))
        )
        _project(session, task, attempt, event, progress)
    task.progress = progress
    # The table itself: by way of the mapped class a full batch takes half as long again.
    session.connection().execute(insert(_EVENTS), entries)
    attempt.last_seq = events[-1].seq


def append_own(session: Session, task: TaskRow, payload: dict[str, Any]) -> None:
    """Append something that the control plane itself says."""
    session.execute(insert(EventRow), [_entry(task, task.attempt, None, now(), payload)])


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
            progress |= {
                name: payload.values[name] for name in ("loss", "tokens_per_second") if name in payload.values
            }
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
