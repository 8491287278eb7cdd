"""The queue's queries: who holds a room's places, who waits for one, who looks after which task.

Knows tasks' states, rooms and leases; knows nothing of what a task does.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from tunesmith.lifecycle import Desired, State
from tunesmith.spec.kinds import Room, in_room
from tunesmith_platform.db.scoping import within
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks.repository import LIVE


def count_open(session: Session, scope: Scope, room: Room) -> int:
    """How many attempts that share a room are on Ray, or on their way there."""
    query = (
        select(func.count())
        .select_from(TaskRow)
        .where(TaskRow.is_attempt_open, TaskRow.kind.in_(in_room(room)))
    )
    return session.scalar(within(query, scope, TaskRow)) or 0


def open_names(session: Session, scope: Scope, room: Room, limit: int) -> Sequence[str]:
    """What the tasks are called that hold a room's places."""
    query = select(TaskRow.name).where(TaskRow.is_attempt_open, TaskRow.kind.in_(in_room(room)))
    return session.scalars(within(query.order_by(TaskRow.id).limit(limit), scope, TaskRow)).all()


def open_ids(session: Session, scope: Scope, kinds: Sequence[str]) -> frozenset[str]:
    """The tasks of some kinds that are on Ray, or on their way there."""
    query = select(TaskRow.id).where(TaskRow.is_attempt_open, TaskRow.kind.in_(kinds))
    return frozenset(session.scalars(within(query, scope, TaskRow)))


def waiting(
    session: Session,
    scope: Scope,
    moment: dt.datetime,
    limit: int,
    room: Room,
    *,
    but_message: str | None = None,
) -> Sequence[str]:
    """The tasks of a room that may start next: by priority, then by age.

    Args:
        session: The caller's.
        scope: Whose.
        moment: Those that wait until later are left out.
        limit: How many at the most.
        room: Which room.
        but_message: Leave out those whose message is this.
    """
    query = (
        select(TaskRow.id)
        .where(
            *([] if but_message is None else [TaskRow.message != but_message]),
            TaskRow.state == State.PENDING,
            TaskRow.kind.in_(in_room(room)),
            TaskRow.is_attempt_open.is_(False),
            TaskRow.desired == Desired.RUN,
            or_(TaskRow.retry_at.is_(None), TaskRow.retry_at <= moment),
        )
        .order_by(TaskRow.priority.desc(), TaskRow.id)
        .limit(limit)
    )
    return session.scalars(within(query, scope, TaskRow)).all()


def to_reconcile(session: Session, scope: Scope) -> Sequence[str]:
    """The tasks that have something to look after: an open attempt, or a stop that has not happened yet."""
    open_attempts = select(TaskRow.id).where(TaskRow.is_attempt_open)
    stops = select(TaskRow.id).where(
        TaskRow.state.in_([s.value for s in LIVE]), TaskRow.desired == Desired.STOP
    )
    both = within(open_attempts, scope, TaskRow).union(within(stops, scope, TaskRow))
    return session.scalars(both).all()


def live_with_message(session: Session, scope: Scope, beginning: str) -> Sequence[str]:
    """The tasks that are not over and whose message begins so."""
    query = select(TaskRow.id).where(
        TaskRow.state.in_([s.value for s in LIVE]), TaskRow.message.startswith(beginning, autoescape=True)
    )
    return session.scalars(within(query, scope, TaskRow)).all()


def claim(session: Session, scope: Scope, task_id: str, holder: str, moment: Any, until: Any) -> bool:
    """Take a task's lease, unless another holds it; `moment` and `until` are those of `leases.term`."""
    taken = (
        update(TaskRow)
        .where(
            TaskRow.id == task_id,
            or_(TaskRow.lease_owner.is_(None), TaskRow.lease_owner == holder, TaskRow.lease_until < moment),
        )
        .values(lease_owner=holder, lease_until=until)
    )
    result = session.execute(within(taken, scope, TaskRow))
    return bool(result.rowcount)  # type: ignore[attr-defined]


def lease_owners(session: Session, scope: Scope) -> Sequence[str]:
    """Who has leases of tasks."""
    query = select(TaskRow.lease_owner).where(TaskRow.is_attempt_open, TaskRow.lease_owner.is_not(None))
    return [owner for owner in session.scalars(within(query.distinct(), scope, TaskRow)) if owner]


def free_leases(session: Session, scope: Scope, owners: Sequence[str]) -> None:
    """Let go of the tasks of some owners."""
    held = TaskRow.is_attempt_open & TaskRow.lease_owner.in_(owners)
    session.execute(
        within(update(TaskRow).where(held).values(lease_owner=None, lease_until=None), scope, TaskRow)
    )
