"""The checkpoints' queries."""

from collections.abc import Sequence
from typing import cast

from sqlalchemy import Table, bindparam, func, select, update
from sqlalchemy.orm import Session

from tunesmith.errors import NotFound
from tunesmith_platform.db.scoping import OutOfScope, get, seen, within
from tunesmith_platform.db.tables import CheckpointRow, TaskRow
from tunesmith_platform.scope import Scope

_ROWS = cast(Table, CheckpointRow.__table__)
_PINNED = (
    select(_ROWS.c.task_id, _ROWS.c.step)
    .where(_ROWS.c.task_id.in_(bindparam("tasks", expanding=True)), _ROWS.c.is_pinned)
    .order_by(_ROWS.c.step)
)


def newest(
    session: Session, scope: Scope, task_id: str, before: int | None, limit: int
) -> Sequence[CheckpointRow]:
    """A task's checkpoints (before a step), newest first."""
    query = select(CheckpointRow).where(CheckpointRow.task_id == task_id)
    if before is not None:
        query = query.where(CheckpointRow.step < before)
    query = within(query, scope, CheckpointRow)
    return session.scalars(query.order_by(CheckpointRow.step.desc()).limit(limit)).all()


def find(session: Session, scope: Scope, task_id: str, step: int) -> CheckpointRow | None:
    """A checkpoint; None where its task has none at that step."""
    return get(session, scope, CheckpointRow, (task_id, step))


def newest_step(session: Session, scope: Scope, task_id: str) -> int:
    """The step of a task's newest checkpoint; 0 where it has none."""
    query = select(func.max(CheckpointRow.step)).where(CheckpointRow.task_id == task_id)
    return session.scalar(within(query, scope, CheckpointRow)) or 0


def put(session: Session, scope: Scope, row: CheckpointRow) -> None:
    """Enter a checkpoint; one of the same step is written over.

    Raises:
        OutOfScope: Its task is another's.
    """
    if not seen(session, scope, TaskRow, [row.task_id]):
        raise OutOfScope
    session.merge(row)


def no_best(session: Session, scope: Scope, task_id: str) -> None:
    """Take from all of a task's checkpoints that they are the best."""
    changed = update(CheckpointRow).where(CheckpointRow.task_id == task_id).values(is_best=False)
    session.execute(within(changed, scope, CheckpointRow))


def require(session: Session, scope: Scope, task_id: str, step: int) -> CheckpointRow:
    """A checkpoint.

    Raises:
        NotFound: The task has none at that step.
    """
    row = find(session, scope, task_id, step)
    if row is None:
        raise NotFound(
            f"Task `{task_id}` has no checkpoint of step {step}.",
            hint=f"`tunesmith tasks checkpoints {task_id}` lists them.",
        )
    return row


def pinned_steps(session: Session, scope: Scope, task_ids: Sequence[str]) -> dict[str, list[int]]:
    """By tasks, the steps of the checkpoints that their jobs never remove."""
    # By the table: every report asks this, and the session's own way costs three times as much.
    found: dict[str, list[int]] = {}
    for task_id, step in session.connection().execute(
        within(_PINNED, scope, CheckpointRow), {"tasks": list(task_ids)}
    ):
        found.setdefault(task_id, []).append(step)
    return found
