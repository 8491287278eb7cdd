"""What reports change: the log, where their tasks stand, and what follows from events that say more than a number.

Knows the rows of tasks and attempts; hands events to those that registered for them. Runs in the caller's transaction,
which holds the tasks' rows.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from tunesmith.activity import Activity
from tunesmith.errors import NotFound, SequenceGap, StaleAttempt, TunesmithError
from tunesmith.events import (
    CheckpointSaved,
    Finished,
    JobEvent,
    JobPayload,
    Metrics,
    Progress,
    Report,
    ReportReceipt,
    Serving,
    SilentWorker,
    TrainingStarted,
    Warned,
)
from tunesmith.lifecycle import Desired, State
from tunesmith_platform.checkpoints import repository as checkpoints
from tunesmith_platform.clock import now
from tunesmith_platform.event_log import repository
from tunesmith_platform.event_log.listeners import Listeners
from tunesmith_platform.event_log.repository import Entry, Standing
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks import repository as tasks
from tunesmith_platform.tasks.view import DRIVER_HEARD, SILENT

_SHOWN_METRICS = ("loss", "tokens_per_second")
Addressed = tuple[str, Report]
"""A report, and the id of its task."""

Fold = Callable[[Session, Scope, Standing, int, Sequence[JobEvent]], None]


def take(
    session: Session, scope: Scope, reports: Sequence[Addressed], fold: Fold, listeners: Listeners
) -> list[ReportReceipt | TunesmithError]:
    """Store reports, and answer each in its place; one that is refused changes nothing and harms no other.

    Args:
        session: The transaction.
        scope: Of those who took the reports: their tokens were looked at.
        reports: They.
        fold: Folds what was measured into chunks.
        listeners: Who hears of events that say more than a number.
    """
    standings = repository.standings(session, scope, [task_id for task_id, _ in reports])
    last_seqs = repository.last_seqs(
        session, scope, [(task_id, report.attempt) for task_id, report in reports]
    )
    refused: dict[int, TunesmithError] = {}
    fresh: dict[str, list[JobEvent]] = {}
    silent: dict[str, list[SilentWorker]] = {}
    advanced: set[str] = set()
    for place, (task_id, report) in enumerate(reports):
        key = (task_id, report.attempt)
        try:
            events = _fresh(standings.get(task_id), task_id, report, last_seqs.get(key))
        except TunesmithError as error:
            refused[place] = error
            continue
        if report.silent is not None:
            silent[task_id] = report.silent
            continue  # it is the driver that speaks, and no sign of life of those who train
        fresh.setdefault(task_id, []).extend(events)
        if events:
            last_seqs[key] = events[-1].seq
        if _note_activity(standings[task_id].progress, report.activity):
            advanced.add(task_id)
    told = [entry for task_id, workers in silent.items() for entry in _silent(standings[task_id], workers)]
    if told:
        repository.store(session, scope, told)
    repository.move_unheard(
        session, scope, [standings[task_id] for task_id in silent if task_id not in fresh]
    )
    if fresh:
        written = [(standings[task_id], events) for task_id, events in fresh.items()]
        _write(session, scope, written, last_seqs, advanced, fold)
        for standing, events in written:
            if listeners.concern(events):
                _follow(session, scope, standing, events, listeners)
    pinned = checkpoints.spared_steps(session, scope, list(fresh))
    return [
        refused.get(place)
        or ReportReceipt(
            last_seq=last_seqs[task_id, report.attempt],
            desired=Desired(standings[task_id].desired),
            save_now=standings[task_id].save_requests,
            early_stop=standings[task_id].early_stop,
            pinned=pinned.get(task_id, []),
        )
        for place, (task_id, report) in enumerate(reports)
    ]


def _fresh(task: Standing | None, task_id: str, report: Report, last_seq: int | None) -> Sequence[JobEvent]:
    """A report's events that are not stored yet."""
    if task is None:
        raise tasks.missing(task_id)
    if last_seq is None:
        raise NotFound(f"Task `{task_id}` has no attempt {report.attempt}.")
    if report.attempt != task.attempt or not task.is_attempt_open or State(task.state).is_terminal:
        raise StaleAttempt(
            f"Attempt {report.attempt} of `{task_id}` is over.", details={"last_seq": last_seq}
        )
    fresh = [event for event in report.events if event.seq > last_seq]
    for expected, event in enumerate(fresh, start=last_seq + 1):
        if event.seq != expected:
            raise SequenceGap(f"Event {expected} has not arrived yet.", details={"expected_seq": expected})
    return fresh


def _note_activity(progress: dict[str, Any], activity: Activity | None) -> bool:
    """Note what a job says that it is busy with; whether it got on since it last said so."""
    said = activity.model_dump(mode="json") if activity else None
    if progress.get(tasks.ACTIVITY) == said:
        return False
    if said is None:
        del progress[tasks.ACTIVITY]
    else:
        progress[tasks.ACTIVITY] = said
    return True


def _write(
    session: Session,
    scope: Scope,
    fresh: Sequence[tuple[Standing, Sequence[JobEvent]]],
    last_seqs: Mapping[tuple[str, int], int],
    advanced: Collection[str],
    fold: Fold,
) -> None:
    entries: list[Entry] = []
    for task, events in fresh:
        for n, event in enumerate(events, start=task.events + 1):
            payload = event.payload
            text = payload.model_dump_json()
            entries.append(Entry(task.id, n, task.attempt, event.seq, payload.kind, event.time, text))
            _show(task.progress, payload)
    if entries:
        repository.store(session, scope, entries)
    for task, events in fresh:
        before = task.events
        task.events += len(events)
        fold(session, scope, task, before, events)
    spoken = {
        (task.id, task.attempt): last_seqs[task.id, task.attempt]
        for task, events in fresh
        if events or task.id in advanced
    }
    repository.move(session, scope, [task for task, _ in fresh], spoken, now(), advanced)


def _silent(task: Standing, workers: Sequence[SilentWorker]) -> list[Entry]:
    """Note which workers give no sign of life; what the platform itself says of those that are new among them."""
    before = task.progress.get(SILENT, [])
    task.progress |= {SILENT: [one.worker for one in workers], DRIVER_HEARD: now().isoformat()}
    entries = []
    for one in workers:
        if one.worker not in before:
            task.events += 1
            said = Warned(
                code="worker_silent",
                message=one.message,
                hint="If it takes no processor time either it is ended after a while, and another takes its place.",
            )
            text = said.model_dump_json()
            entries.append(Entry(task.id, task.events, task.attempt, None, said.kind, now(), text))
    return entries


def _show(progress: dict[str, Any], payload: JobPayload) -> None:
    """Bring up what is shown of a task at a glance."""
    match payload:
        case TrainingStarted():
            progress |= {"step": payload.step, "total_steps": payload.total_steps}
        case Progress():
            progress |= payload.model_dump(exclude={"kind"})
        case Metrics():
            progress |= {name: payload.values[name] for name in _SHOWN_METRICS if name in payload.values}
        case CheckpointSaved(best=True):
            progress |= {"best_step": payload.step}
        case Serving():
            progress[tasks.SERVING] = _serves(progress.get(tasks.SERVING) or {}, payload)


def _serves(before: Mapping[str, Any], said: Serving) -> dict[str, Any]:
    """How a served model is, and the names that it has loaded."""
    names = [name for name in before.get("names", ()) if name != said.model]
    if said.model is None:
        return {"state": said.state, "names": [] if said.state in ("deploying", "idle") else names}
    if said.state == "loaded":
        names.append(said.model)
    return {**before, "names": names}


def _follow(
    session: Session,
    scope: Scope,
    standing: Standing,
    events: Sequence[JobEvent],
    listeners: Listeners,
) -> None:
    """Do what follows from events beyond the log."""
    task = tasks.require(session, scope, standing.id)
    attempt = tasks.attempt_of(session, scope, task.id, standing.attempt)
    assert attempt is not None, "it was heard"
    for event in events:
        match event.payload:
            case TrainingStarted():
                attempt.training_started_at = attempt.training_started_at or event.time
            case Finished() as finished:
                attempt.finished = finished.model_dump(mode="json")
                attempt.finished_at = now()
                task.model_uri = finished.model_uri or task.model_uri
    listeners.tell(session, scope, task, attempt, events)
    standing.desired = task.desired
    session.flush()
