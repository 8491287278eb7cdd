"""The queries of notifications: webhooks, what there is to notify of, deliveries."""

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import delete, func, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tunesmith.errors import NotFound
from tunesmith.notifications import DeliveryState
from tunesmith_platform.db.scoping import expect, get, seen, within
from tunesmith_platform.db.tables import DeliveryRow, EventRow, NoticeCursorRow, TaskRow, WebhookRow
from tunesmith_platform.scope import Scope

# --- webhooks


def webhooks(session: Session, scope: Scope, after: str | None, limit: int) -> Sequence[WebhookRow]:
    """Webhooks, oldest first; one more than the limit."""
    query = within(select(WebhookRow).order_by(WebhookRow.id).limit(limit + 1), scope, WebhookRow)
    if after is not None:
        query = query.where(WebhookRow.id > after)
    return session.scalars(query).all()


def every_webhook(session: Session, scope: Scope) -> Sequence[WebhookRow]:
    """All of them."""
    return session.scalars(within(select(WebhookRow).order_by(WebhookRow.id), scope, WebhookRow)).all()


def find(session: Session, scope: Scope, webhook_id: str) -> WebhookRow | None:
    """A webhook; None where it was removed."""
    return get(session, scope, WebhookRow, webhook_id)


def require(session: Session, scope: Scope, webhook_id: str) -> WebhookRow:
    """A webhook.

    Raises:
        NotFound: There is none with this id.
    """
    row = find(session, scope, webhook_id)
    if row is None:
        raise NotFound(f"There is no webhook `{webhook_id}`.", hint="`tunesmith webhooks list` shows them.")
    return row


def remove_webhook(session: Session, scope: Scope, row: WebhookRow) -> None:
    """Delete a webhook with its deliveries."""
    expect(session, scope, row)
    session.execute(delete(DeliveryRow).where(DeliveryRow.receiver == row.id))
    session.delete(row)


# --- what there is to notify of


def behind(session: Session, scope: Scope, limit: int) -> Sequence[str]:
    """Tasks whose log has grown since it was looked through."""
    query = (
        select(TaskRow.id)
        .join(NoticeCursorRow, NoticeCursorRow.task_id == TaskRow.id, isouter=True)
        .where((NoticeCursorRow.n.is_(None)) | (NoticeCursorRow.n < TaskRow.events))
        .order_by(TaskRow.id)
    )
    return session.scalars(within(query.limit(limit), scope, TaskRow)).all()


def held_cursors(session: Session, scope: Scope, task_ids: Sequence[str]) -> dict[str, int]:
    """How far tasks' logs were looked through, held until the transaction ends: who holds them may enqueue.

    A task that was deleted meanwhile is not among them.
    """
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    new = within(select(TaskRow.id, literal(0)).where(TaskRow.id.in_(task_ids)), scope, TaskRow)
    session.execute(insert(NoticeCursorRow).from_select(["task_id", "n"], new).on_conflict_do_nothing())
    query = select(NoticeCursorRow.task_id, NoticeCursorRow.n).where(NoticeCursorRow.task_id.in_(task_ids))
    query = within(query, scope, NoticeCursorRow)
    # One order for all who take several.
    return {
        row.task_id: row.n
        for row in session.execute(query.order_by(NoticeCursorRow.task_id).with_for_update())
    }


def newest(session: Session, scope: Scope, task_ids: Sequence[str]) -> dict[str, int]:
    """The number of the newest event of each task."""
    query = select(TaskRow.id, TaskRow.events).where(TaskRow.id.in_(task_ids))
    rows = session.execute(within(query, scope, TaskRow))
    return {row.id: row.events for row in rows}


def unseen(session: Session, scope: Scope, task_ids: Sequence[str]) -> Sequence[EventRow]:
    """The moves and warnings in tasks' logs that were not looked at yet, each task's oldest first."""
    query = (
        select(EventRow)
        .join(NoticeCursorRow, NoticeCursorRow.task_id == EventRow.task_id)
        .where(
            EventRow.task_id.in_(task_ids),
            EventRow.kind.in_(["state", "warning"]),
            EventRow.n > NoticeCursorRow.n,
        )
    )
    query = within(query.order_by(EventRow.task_id, EventRow.n), scope, EventRow)
    return session.scalars(query).all()


def move_cursors(session: Session, scope: Scope, read: dict[str, int]) -> None:
    """Note how far tasks' logs were looked through."""
    own = seen(session, scope, TaskRow, read)
    moved = [{"task_id": task_id, "n": n} for task_id, n in read.items() if task_id in own]
    if moved:
        session.execute(update(NoticeCursorRow), moved)


# --- deliveries


def deliveries(
    session: Session, scope: Scope, receiver: str | None, after: int | None, limit: int
) -> Sequence[DeliveryRow]:
    """The delivery log, newest first; one more than the limit."""
    query = select(DeliveryRow).order_by(DeliveryRow.id.desc()).limit(limit + 1)
    query = within(query, scope, DeliveryRow)
    if receiver is not None:
        query = query.where(DeliveryRow.receiver == receiver)
    if after is not None:
        query = query.where(DeliveryRow.id < after)
    return session.scalars(query).all()


def delivery(session: Session, scope: Scope, number: int) -> DeliveryRow | None:
    """An entry of the delivery log; None where it was deleted."""
    return get(session, scope, DeliveryRow, number)


def require_delivery(session: Session, scope: Scope, number: int) -> DeliveryRow:
    """An entry of the delivery log.

    Raises:
        NotFound: It was deleted meanwhile.
    """
    row = delivery(session, scope, number)
    if row is None:
        raise NotFound(
            f"There is no delivery `{number}`.", hint="`tunesmith webhooks deliveries` shows them."
        )
    return row


def due(session: Session, scope: Scope, moment: dt.datetime, limit: int) -> Sequence[DeliveryRow]:
    """Deliveries to try now, the longest waiting first."""
    query = select(DeliveryRow).where(
        DeliveryRow.state == DeliveryState.PENDING, DeliveryRow.next_at <= moment
    )
    query = within(query.order_by(DeliveryRow.next_at).limit(limit), scope, DeliveryRow)
    return session.scalars(query).all()


def claim(session: Session, scope: Scope, row: DeliveryRow, until: dt.datetime) -> bool:
    """Take a delivery to try it, unless another just did."""
    taken = (
        update(DeliveryRow)
        .where(
            DeliveryRow.id == row.id,
            DeliveryRow.state == DeliveryState.PENDING,
            DeliveryRow.next_at == row.next_at,
        )
        .values(next_at=until)
        .execution_options(synchronize_session=False)
    )
    result = session.execute(within(taken, scope, DeliveryRow))
    return bool(result.rowcount)  # type: ignore[attr-defined]


def count_by_state(session: Session, scope: Scope) -> dict[str, int]:
    """How many deliveries are in each state."""
    query = select(DeliveryRow.state, func.count()).group_by(DeliveryRow.state)
    rows = session.execute(within(query, scope, DeliveryRow)).all()
    return {state.value: 0 for state in DeliveryState} | {str(state): int(count) for state, count in rows}


def forget(session: Session, scope: Scope, ended_before: dt.datetime, limit: int) -> int:
    """Delete old entries of the delivery log; how many."""
    query = select(DeliveryRow.id).where(DeliveryRow.ended_at < ended_before).limit(limit)
    ids = session.scalars(within(query, scope, DeliveryRow)).all()
    session.execute(delete(DeliveryRow).where(DeliveryRow.id.in_(ids)))
    return len(ids)
