"""The checkpoints' queries."""

from collections.abc import Sequence
from typing import cast

from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from tunesmith.errors import NotFound
from tunesmith_platform.db.tables import CheckpointRow

_ROWS = cast(Table, CheckpointRow.__table__)


def newest(session: Session, task_id: str, before: int | None, limit: int) -> Sequence[CheckpointRow]:
    """A task's checkpoints (before a step), newest first."""
    query = select(CheckpointRow).where(CheckpointRow.task_id == task_id)
    if before is not None:
        query = query.where(CheckpointRow.step < before)
    return session.scalars(query.order_by(CheckpointRow.step.desc()).limit(limit)).all()


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


def pinned_steps(session: Session, task_id: str) -> list[int]:
    """The steps of the checkpoints that the job never removes."""
    # By the table: every report asks this, and the session's own way costs three times as much.
    query = select(_ROWS.c.step).where(_ROWS.c.task_id == task_id, _ROWS.c.is_pinned).order_by(_ROWS.c.step)
    return list(session.connection().execute(query).scalars())
