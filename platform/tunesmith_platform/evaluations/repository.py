"""The evaluations' queries, and those of the scores of checkpoints whose training goes on."""

import datetime as dt
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from tunesmith.lifecycle import State
from tunesmith_platform.db.scoping import OutOfScope, get, seen, within
from tunesmith_platform.db.tables import CheckpointScoreRow, EvaluatedRow, EvaluationRow, EventRow, TaskRow
from tunesmith_platform.scope import Scope

_JUDGED = 20
"""Evaluations among which one is looked for that had to ask its judge."""


class ScoreState(StrEnum):
    """How far a checkpoint is on its way to its scores."""

    WAITING = "waiting"
    """No evaluation of it has begun, or the training's stop ended it."""
    OPEN = "open"
    """It has a task."""
    SCORED = "scored"
    FAILED = "failed"
    REMOVED = "removed"
    """The training removed it before."""


def find(session: Session, scope: Scope, task_id: str) -> EvaluationRow | None:
    """What a task's evaluation found; None while it has found nothing."""
    return get(session, scope, EvaluationRow, task_id)


def put(session: Session, scope: Scope, row: EvaluationRow, of_tasks: Iterable[str]) -> None:
    """Enter what an evaluation found; what an earlier attempt of it found is written over.

    Raises:
        OutOfScope: Its task is another's.
    """
    if not seen(session, scope, TaskRow, [row.task_id]):
        raise OutOfScope
    session.merge(row)
    session.flush()
    gone = delete(EvaluatedRow).where(EvaluatedRow.task_id == row.task_id)
    session.execute(within(gone, scope, EvaluatedRow))
    session.add_all(EvaluatedRow(task_id=row.task_id, of_task_id=task) for task in sorted(set(of_tasks)))


def newest(
    session: Session, scope: Scope, of_task: str | None, before: str | None, limit: int
) -> Sequence[EvaluationRow]:
    """Evaluations (of a task's checkpoints), newest first.

    Args:
        session: The transaction.
        scope: Whose.
        of_task: Only those that looked at this task.
        before: Only those whose task is older than this one.
        limit: How many at the most.
    """
    query = select(EvaluationRow)
    if of_task is not None:
        query = query.join(EvaluatedRow, EvaluatedRow.task_id == EvaluationRow.task_id)
        query = query.where(EvaluatedRow.of_task_id == of_task)
    if before is not None:
        query = query.where(EvaluationRow.task_id < before)
    query = within(query, scope, EvaluationRow)
    return session.scalars(query.order_by(EvaluationRow.task_id.desc()).limit(limit)).all()


class Speed(NamedTuple):
    """How long an answer took in a past evaluation."""

    seconds: float
    new_tokens: int
    """That an answer could have at the most."""
    name: str
    measured_at: dt.datetime


def newest_speed(session: Session, scope: Scope, folder: str) -> Speed | None:
    """The newest evaluation that computed answers of the model in a folder; None where there is none."""
    query = (
        select(TaskRow.spec, TaskRow.name, EvaluationRow.answer_seconds, EvaluationRow.created_at)
        .join(EvaluationRow, EvaluationRow.task_id == TaskRow.id)
        .where(
            EvaluationRow.answer_seconds.is_not(None), TaskRow.inputs["encoder_path"].as_string() == folder
        )
    )
    query = within(query, scope, TaskRow).order_by(EvaluationRow.task_id.desc()).limit(1)
    row = session.execute(query).first()
    if row is None:
        return None
    spec, name, seconds, created_at = row
    return Speed(seconds, int(spec["max_new_tokens"]), name, created_at)


def newest_judging(session: Session, scope: Scope, base_url: str, model: str) -> tuple[float, str] | None:
    """What passed for a verdict of a judge in the newest evaluation that asked it, and that one's name; or None."""
    query = (
        select(EventRow.payload, TaskRow.name)
        .join(TaskRow, TaskRow.id == EventRow.task_id)
        .where(
            EventRow.kind == "evaluation_made",
            TaskRow.spec["judge_base_url"].as_string() == base_url,
            TaskRow.spec["judge_model"].as_string() == model,
        )
    )
    query = within(query, scope, TaskRow).order_by(TaskRow.id.desc()).limit(_JUDGED)
    for payload, name in session.execute(query):
        if seconds := payload.get("judge_seconds"):
            return float(seconds), str(name)
    return None


def scores(session: Session, scope: Scope, task_id: str) -> Sequence[CheckpointScoreRow]:
    """How far each checkpoint of a training is on its way to its scores, by their steps."""
    query = select(CheckpointScoreRow).where(CheckpointScoreRow.task_id == task_id)
    query = within(query.order_by(CheckpointScoreRow.step), scope, CheckpointScoreRow)
    return session.scalars(query).all()


def score(session: Session, scope: Scope, task_id: str, step: int) -> CheckpointScoreRow | None:
    """How far a checkpoint is on its way to its scores; None where it is on none."""
    return get(session, scope, CheckpointScoreRow, (task_id, step))


def put_score(session: Session, scope: Scope, row: CheckpointScoreRow) -> None:
    """Enter a checkpoint that is to be scored. The caller holds its task's row.

    Raises:
        OutOfScope: Its task is another's.
    """
    if not seen(session, scope, TaskRow, [row.task_id]):
        raise OutOfScope
    session.add(row)
    session.flush()


def to_score(session: Session, scope: Scope) -> Sequence[str]:
    """The trainings whose checkpoints have yet to be scored; of stopped ones, those that are being scored."""
    query = (
        select(CheckpointScoreRow.task_id)
        .join(TaskRow, TaskRow.id == CheckpointScoreRow.task_id)
        .where(CheckpointScoreRow.state.in_([ScoreState.WAITING, ScoreState.OPEN]))
        .where(or_(CheckpointScoreRow.state == ScoreState.OPEN, TaskRow.state != State.STOPPED))
        .distinct()
    )
    return session.scalars(within(query, scope, CheckpointScoreRow)).all()


def is_of_training(session: Session, scope: Scope, evaluation_id: str) -> bool:
    """Whether an evaluation scores a checkpoint for its training, and was asked for by nobody else."""
    query = select(CheckpointScoreRow.step).where(CheckpointScoreRow.evaluation_id == evaluation_id).limit(1)
    return session.scalars(within(query, scope, CheckpointScoreRow)).first() is not None
