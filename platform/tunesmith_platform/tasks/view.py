"""A task's row as the API shows it."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith import views
from tunesmith.activity import ACTIVITIES, ActivityKind
from tunesmith.lifecycle import REASONS, Desired, Reason, ReasonFacts, State, WaitsFor
from tunesmith.spec.base import Notice
from tunesmith.spec.kinds import kinds
from tunesmith_platform.clock import now
from tunesmith_platform.db.tables import MirrorRow, TaskRow
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks import repository

STARTING = "Starting."
"""What is said of a task whose job has begun; once it says what it does, that is shown instead."""
_NAMED = 4
"""How many of the names that a served model has loaded are said."""
SILENT = "silent_workers"
"""In a task's progress: the workers that give no sign of life."""
DRIVER_HEARD = "driver_heard_at"
"""In a task's progress: when its driver last spoke of them."""


def task_view(task: TaskRow, mirror: MirrorRow | None, settings: Settings) -> views.TaskView:
    """What users see of a task."""
    facts = REASONS[Reason(task.reason)] if task.reason else None
    run_id = mirror.run_id if mirror else None
    progress = views.ProgressView.model_validate(task.progress or {})
    if progress.total_steps:
        progress.percent = round(100 * progress.step / progress.total_steps, 2)
    return views.TaskView(
        id=task.id,
        kind=task.kind,
        name=task.name,
        project=task.project,
        state=State(task.state),
        desired=Desired(task.desired),
        reason=Reason(task.reason) if task.reason else None,
        message=message_of(State(task.state), task.message, task.progress or {}),
        next_step=_next_step(task, facts) if facts else None,
        fault=facts.fault if facts else None,
        waits_for=WaitsFor(task.waits_for) if task.waits_for else None,
        health=health(State(task.state), task.heartbeat_at, task.progress or {}, settings),
        priority=task.priority,
        tags=task.tags,
        notes=task.notes,
        attempt=task.attempt,
        progress=progress,
        activity=_activity(task),
        spec=task.spec,
        notices=[Notice.model_validate(notice) for notice in task.notices],
        events=task.events,
        template=task.template,
        parent_id=task.parent_id,
        parent_step=task.parent_step,
        artifact_uri=task.artifact_uri,
        model_uri=task.model_uri,
        datasets=(task.progress or {}).get("datasets", []),
        mlflow_run_id=run_id,
        mlflow_url=(
            f"{settings.mlflow_public_url.rstrip('/')}/#/experiments/{mirror.experiment_id}/runs/{run_id}"
            if mirror and run_id
            else None
        ),
        created_at=task.created_at,
        started_at=task.started_at,
        ended_at=task.ended_at,
        heartbeat_at=task.heartbeat_at,
    )


def message_of(state: State, message: str | None, progress: Mapping[str, Any]) -> str | None:
    """What was said of a task last; of one that runs and of which that is its start, what it does."""
    if state is not State.RUNNING or message != STARTING:
        return message
    if said := progress.get(repository.ACTIVITY):
        return f"{ACTIVITIES[ActivityKind(said['kind'])].words_en}."
    if said := progress.get(repository.SERVING):
        return _serving(said.get("state", ""), said.get("names", ()))
    return "Under way." if progress.get("step") else message


def _serving(state: str, names: Sequence[str]) -> str:
    """What a served model does."""
    match state:
        case "ready" if names:
            more = f" (+{len(names) - _NAMED})" if len(names) > _NAMED else ""
            return f"Answers for {', '.join(f'`{name}`' for name in names[:_NAMED])}{more}."
        case "ready":
            return "Ready for questions."
        case "idle":
            return "It is in no memory; the next question starts it."
        case "failed":
            return "The model does not answer."
    return "It is starting."


def _activity(task: TaskRow) -> views.ActivityView | None:
    """What a task that runs is busy with; its steps are its progress."""
    activity = repository.activity_of(task)
    if task.state not in (State.RUNNING, State.STOPPING) or activity is None:
        return None
    if activity.kind is ActivityKind.TRAINING:
        return None
    return views.ActivityView(**activity.model_dump(), text_en=activity.text_en, text_zh=activity.text_zh)


def _next_step(task: TaskRow, facts: ReasonFacts) -> str:
    if facts.end is State.COMPLETED:
        kind = kinds().get(task.kind)
        return (kind.next_step if kind else None) or facts.next_step
    return facts.next_step


def health(
    state: State, heard: dt.datetime | None, progress: Mapping[str, Any], settings: Settings
) -> views.Health | None:
    """Of a task that should be running: whether it was heard of lately, from all its workers (I4)."""
    if state not in (State.RUNNING, State.STOPPING):
        return None
    is_live = heard is not None and (now() - heard).total_seconds() < settings.heartbeat_timeout_seconds
    is_live = is_live and not progress.get(SILENT)
    return views.Health.LIVE if is_live else views.Health.RECOVERING
