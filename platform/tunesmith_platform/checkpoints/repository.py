"""The checkpoints' queries."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from sqlalchemy import BindParameter, Select, Table, bindparam, func, select, union, update
from sqlalchemy.orm import Session

from tunesmith.errors import NotFound
from tunesmith.lifecycle import ENDS
from tunesmith_platform.db.scoping import OutOfScope, get, seen, within
from tunesmith_platform.db.tables import (
    Base,
    CheckpointRow,
    CheckpointScoreRow,
    CheckpointUseRow,
    TaskRow,
)
from tunesmith_platform.scope import Scope

_ROWS = cast(Table, CheckpointRow.__table__)
_USES, _SCORES = cast(Table, CheckpointUseRow.__table__), cast(Table, CheckpointScoreRow.__table__)
_USERS = cast(Table, TaskRow.__table__)
_OF: BindParameter[Any] = bindparam("tasks", expanding=True)
_SPARED: tuple[tuple[Select[tuple[str, int]], type[Base]], ...] = (
    (select(_ROWS.c.task_id, _ROWS.c.step).where(_ROWS.c.task_id.in_(_OF), _ROWS.c.is_pinned), CheckpointRow),
    # Who uses it may be another's: whose the checkpoint is counts.
    (
        select(_ROWS.c.task_id, _ROWS.c.step)
        .join(_USES, (_USES.c.of_task_id == _ROWS.c.task_id) & (_USES.c.step == _ROWS.c.step))
        .join(_USERS, _USERS.c.id == _USES.c.task_id)
        .where(_USES.c.of_task_id.in_(_OF), _USERS.c.state.not_in([state.value for state in ENDS])),
        CheckpointRow,
    ),
    (
        select(_SCORES.c.task_id, _SCORES.c.step).where(_SCORES.c.task_id.in_(_OF), _SCORES.c.is_spared),
        CheckpointScoreRow,
    ),
)
"""Which checkpoints are spared, each with the table whose rows a scope limits: pinned, in use, of the scores."""
_SPARED_OF_ALL = union(*(query for query, _ in _SPARED))


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


def mark_best(session: Session, scope: Scope, task_id: str, step: int | None) -> None:
    """Mark the checkpoint that scores best, and no other of its task; None: none."""
    changed = update(CheckpointRow).where(CheckpointRow.task_id == task_id)
    changed = changed.values(is_best=CheckpointRow.step == (-1 if step is None else step))
    session.execute(within(changed, scope, CheckpointRow), execution_options={"synchronize_session": False})


def recommend(session: Session, scope: Scope, task_id: str, step: int | None) -> None:
    """Mark the checkpoint that an evaluation recommends, and no other of its task; None: none."""
    changed = update(CheckpointRow).where(CheckpointRow.task_id == task_id)
    changed = changed.values(is_recommended=CheckpointRow.step == (-1 if step is None else step))
    session.execute(within(changed, scope, CheckpointRow), execution_options={"synchronize_session": False})


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


def steps(session: Session, scope: Scope, task_id: str) -> list[int]:
    """The steps of a task's checkpoints."""
    query = select(CheckpointRow.step).where(CheckpointRow.task_id == task_id).order_by(CheckpointRow.step)
    return list(session.scalars(within(query, scope, CheckpointRow)))


def spared_steps(session: Session, scope: Scope, task_ids: Sequence[str]) -> dict[str, list[int]]:
    """By tasks, the steps of the checkpoints that their jobs do not remove: pinned, in use, or wanted for scores."""
    # By the table: every report asks this, and the session's own way costs three times as much.
    query = _SPARED_OF_ALL if scope.is_whole else union(*(within(one, scope, row) for one, row in _SPARED))
    rows = cast("Iterable[tuple[str, int]]", session.connection().execute(query, {"tasks": list(task_ids)}))
    found: dict[str, list[int]] = {}
    for task_id, step in rows:
        found.setdefault(task_id, []).append(step)
    return {task_id: sorted(steps) for task_id, steps in found.items()}
