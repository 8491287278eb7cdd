"""The checkpoints' queries."""

from collections.abc import Sequence
from typing import cast

from sqlalchemy import Table, bindparam, select, update
from sqlalchemy.orm import Session

from tunesmith.errors import NotFound
from tunesmith_platform.db.tables import CheckpointRow

_ROWS = cast(Table, CheckpointRow.__table__)
_PINNED = (
    select(_ROWS.c.task_id, _ROWS.c.step)
    .where(_ROWS.c.task_id.in_(bindparam("tasks", expanding=True)), _ROWS.c.is_pinned)
    .order_by(_ROWS.c.step)
)


def newest(session: Session, task_id: str, before: int | None, limit: int) -> Sequence[CheckpointRow]:
    """A task's checkpoints (before a step), newest first."""
    query = select(CheckpointRow).where(CheckpointRow.task_id == task_id)
    if before is not None:
        query = query.where(CheckpointRow.step < before)
    return session.scalars(query.order_by(CheckpointRow.step.desc()).limit(limit)).all()


def no_best(session: Session, task_id: str) -> None:
    """Take from all of a task's checkpoints that they are the best."""
    session.execute(update(CheckpointRow).where(CheckpointRow.task_id == task_id).values(is_best=False))


def require(session: Session, task_id: str, step: int) -> CheckpointRow:
    """A checkpoint.

    Raises:
        NotFound: The task has none at that step.
    """
    row = session.get(CheckpointRow, (task_id, step))
    if row is None:
        raise NotFound(
            f"Task `{task_id}` has no checkpoint of step {step}.",
            hint=f"`tunesmith tasks checkpoints {task_id}` lists them.",
        )
    return row


def pinned_steps(session: Session, task_ids: Sequence[str]) -> dict[str, list[int]]:
    """By tasks, the steps of the checkpoints that their jobs never remove."""
    # By the table: every report asks this, and the session's own way costs three times as much.
    found: dict[str, list[int]] = {}
    for task_id, step in session.connection().execute(_PINNED, {"tasks": list(task_ids)}):
        found.setdefault(task_id, []).append(step)
    return found
