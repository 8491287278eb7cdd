"""What becomes of checkpoints that are scored while their training goes on: heard of, spared, scored, judged.

Each function runs in its caller's transaction, which holds the training's row. Knows the rows; submits nothing.
"""

import datetime as dt
from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from tunesmith.artifacts import checkpoint_name
from tunesmith.evaluation.results import METRIC_PREFIX
from tunesmith.events import CheckpointRemoved, CheckpointSaved, JobEvent, LogLine, Metrics, Warned
from tunesmith.lifecycle import Desired, State
from tunesmith.spec.checkpoint_scores import best_by_score
from tunesmith_platform.checkpoints import repository as checkpoints
from tunesmith_platform.clock import now
from tunesmith_platform.db.tables import AttemptRow, CheckpointScoreRow, TaskRow
from tunesmith_platform.evaluations import repository
from tunesmith_platform.evaluations.judging import Verdict, judge
from tunesmith_platform.evaluations.repository import ScoreState
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.event_log.listeners import Listener
from tunesmith_platform.scope import Scope

NOT_SCORED = "checkpoint_not_scored"
"""The warning of a checkpoint that gets no scores."""
_MOST_SPARED = 3
"""Checkpoints that wait to be scored, or are, and are spared meanwhile: evaluations that are slower than a training
must not fill its disk."""
_TRIES = 3
"""Evaluations that fail in a row before no further one is tried."""


def hear(
    session: Session, scope: Scope, task: TaskRow, attempt: AttemptRow, heard: Sequence[JobEvent]
) -> None:
    """Enter the checkpoints that a training saved and wants scored; pass over those that it removed."""
    if not task.spec.get("evaluate_checkpoints"):
        return
    for event in heard:
        match event.payload:
            case CheckpointSaved() as saved:
                _saved(session, scope, task, saved)
            case CheckpointRemoved() as removed:
                _removed(session, scope, task, removed.step)
    spare(session, scope, task)


LISTENER = Listener((CheckpointSaved, CheckpointRemoved), hear)


def _saved(session: Session, scope: Scope, task: TaskRow, saved: CheckpointSaved) -> None:
    row = repository.score(session, scope, task.id, saved.step)
    is_tried = not gave_up(repository.scores(session, scope, task.id))
    if row is None:
        row = CheckpointScoreRow(task_id=task.id, step=saved.step, is_spared=False, means={})
    elif row.manifest_sha256 == saved.manifest_sha256 and row.state != ScoreState.REMOVED:
        return  # it was reported again with what was measured of it since
    row.manifest_sha256, row.created_at = saved.manifest_sha256, now()
    row.state, row.evaluation_id, row.means = ScoreState.WAITING if is_tried else ScoreState.FAILED, None, {}
    repository.put_score(session, scope, row)


def _removed(session: Session, scope: Scope, task: TaskRow, step: int) -> None:
    rows = repository.scores(session, scope, task.id)
    is_first = all(row.state != ScoreState.REMOVED for row in rows)
    for row in rows:
        if row.step == step and row.state == ScoreState.WAITING:
            row.state = ScoreState.REMOVED
            if is_first:
                words = "The training saves faster than its checkpoints can be scored."
                hint = "Raise `save_steps` or `save_total_limit`, or lower `evaluation_max_samples`."
                warn(session, scope, task, step, f"It was removed before. {words}", hint)


def spare(session: Session, scope: Scope, task: TaskRow) -> None:
    """Say anew which checkpoints the training may not remove: the next to be scored, and the best by its scores."""
    rows = repository.scores(session, scope, task.id)
    under_way = [row for row in rows if row.state == ScoreState.OPEN]
    under_way += [row for row in rows if row.state == ScoreState.WAITING]
    kept = {row.step for row in under_way[:_MOST_SPARED]}
    verdict = judged(task, rows)
    if verdict is not None and verdict.best_step is not None:
        kept.add(verdict.best_step)
    for row in rows:
        row.is_spared = row.step in kept
    session.flush()


def judged(task: TaskRow, rows: Sequence[CheckpointScoreRow]) -> Verdict | None:
    """What scores say of a training; None where its best checkpoint is told by something else."""
    name = best_by_score(task.spec)
    if name is None:
        return None
    scored = [(row.step, row.means[name]) for row in rows if name in row.means]
    return judge(scored, float(task.spec.get("early_stopping_threshold", 0.0)))


def warn(session: Session, scope: Scope, task: TaskRow, step: int, why: str, hint: str | None = None) -> None:
    """Warn a training's user that a checkpoint gets no scores."""
    message = f"`{checkpoint_name(step)}` is not scored: {why}"[:2000]
    payload = Warned(code=NOT_SCORED, message=message, hint=hint)
    events.append_own(session, scope, task, payload.model_dump(mode="json"))


def fail(session: Session, scope: Scope, task: TaskRow, step: int, why: str, hint: str | None = None) -> None:
    """Enter that a checkpoint gets no scores; after a few in a row none is tried any more."""
    rows = repository.scores(session, scope, task.id)
    (row,) = [row for row in rows if row.step == step]
    row.state = ScoreState.FAILED
    if gave_up(rows):
        why += f" {_TRIES} evaluations in a row failed: no further one is tried."
        for other in rows:
            if other.state == ScoreState.WAITING:
                other.state = ScoreState.FAILED
    warn(session, scope, task, step, why, hint)
    spare(session, scope, task)


def gave_up(rows: Sequence[CheckpointScoreRow]) -> bool:
    """Whether the last evaluations all failed."""
    tried = [row.state for row in rows if row.state in (ScoreState.SCORED, ScoreState.FAILED)]
    return tried[-_TRIES:] == [ScoreState.FAILED] * _TRIES


def take(
    session: Session,
    scope: Scope,
    task: TaskRow,
    step: int,
    means: Mapping[str, Mapping[str, float]],
    moment: dt.datetime,
) -> None:
    """Enter a checkpoint's scores: points of the training's curves, and perhaps a best one, or the training's end.

    Args:
        session: The transaction.
        scope: Whose.
        task: The training.
        step: The checkpoint's.
        means: Of its evaluation, by candidates; `base` is the model that it started from.
        moment: When they were found.
    """
    rows = repository.scores(session, scope, task.id)
    (row,) = [row for row in rows if row.step == step]
    is_first = all(other.state != ScoreState.SCORED for other in rows)
    row.state, row.means = ScoreState.SCORED, dict(means[f"{task.id}/{checkpoint_name(step)}"])
    starts_there = not (task.spec.get("attach_lora_path") or task.spec.get("resume_from_checkpoint"))
    if is_first and starts_there and means.get("base"):
        _measure(session, scope, task, 0, means["base"], moment)
    _measure(session, scope, task, step, row.means, moment)
    name, verdict = best_by_score(task.spec), judged(task, rows)
    if verdict is not None:
        if name not in row.means:
            warn(session, scope, task, step, f"`{name}`, which tells the best, was not measured.")
        _decide(session, scope, task, str(name), verdict)
    spare(session, scope, task)


def _measure(
    session: Session, scope: Scope, task: TaskRow, step: int, means: Mapping[str, float], moment: dt.datetime
) -> None:
    values = {f"{METRIC_PREFIX}{name}": value for name, value in means.items()}
    events.append_measured(session, scope, task, Metrics(step=step, values=values), moment)


def _decide(session: Session, scope: Scope, task: TaskRow, name: str, verdict: Verdict) -> None:
    checkpoints.mark_best(session, scope, task.id, verdict.best_step)
    if verdict.best_step is not None:
        task.progress = (task.progress or {}) | {"best_step": verdict.best_step}
    goes_on = State(task.state) is State.RUNNING and task.desired == Desired.RUN
    if goes_on and task.early_stop is None and verdict.is_spent(int(task.spec["early_stopping_patience"])):
        task.early_stop = (
            f"Early stopping by {name}: it has not improved since {checkpoint_name(verdict.best_step or 0)}, where it "
            f"was {verdict.best:.4g}; checkpoints scored since then: {verdict.misses}."
        )
        line = LogLine(source="platform", message=f"{task.early_stop} The training ends after its next step.")
        events.append_own(session, scope, task, line.model_dump(mode="json"))
    session.flush()
