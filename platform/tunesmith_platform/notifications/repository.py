"""The queries of notifications: webhooks, what there is to notify of, deliveries."""

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import delete, func, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tunesmith.errors import NotFound
from tunesmith.notifications import DeliveryState
from tunesmith_platform.db.tables import DeliveryRow, EventRow, NoticeCursorRow, TaskRow, WebhookRow

# --- webhooks


def webhooks(session: Session, after: str | None, limit: int) -> Sequence[WebhookRow]:
    """Webhooks, oldest first; one more than the limit."""
    query = select(WebhookRow).order_by(WebhookRow.id).limit(limit + 1)
    if after is not None:
        query = query.where(WebhookRow.id > after)
    return session.scalars(query).all()


def every_webhook(session: Session) -> Sequence[WebhookRow]:
    """All of them."""
    return session.scalars(select(WebhookRow).order_by(WebhookRow.id)).all()


def require(session: Session, webhook_id: str) -> WebhookRow:
    """A webhook.

    Raises:
        NotFound: There is none with this id.
    """
    row = session.get(WebhookRow, webhook_id)
    if row is None:
        raise NotFound(f"There is no webhook `{webhook_id}`.", hint="`tunesmith webhooks list` shows them.")
    return row


def remove_webhook(session: Session, row: WebhookRow) -> None:
    """Delete a webhook with its deliveries."""
    session.execute(delete(DeliveryRow).where(DeliveryRow.receiver == row.id))
    session.delete(row)


# --- what there is to notify of


def behind(session: Session, limit: int) -> Sequence[str]:
    """Tasks whose log has grown since it was looked through."""
    query = (
        select(TaskRow.id)
        .join(NoticeCursorRow, NoticeCursorRow.task_id == TaskRow.id, isouter=True)
        .where((NoticeCursorRow.n.is_(None)) | (NoticeCursorRow.n < TaskRow.events))
        .order_by(TaskRow.id)
    )
    return session.scalars(query.limit(limit)).all()


def held_cursors(session: Session, task_ids: Sequence[str]) -> dict[str, int]:
    """How far tasks' logs were looked through, held until the transaction ends: who holds them may enqueue.

    A task that was deleted meanwhile is not among them.
    """
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    new = select(TaskRow.id, literal(0)).where(TaskRow.id.in_(task_ids))
    session.execute(insert(NoticeCursorRow).from_select(["task_id", "n"], new).on_conflict_do_nothing())
    query = select(NoticeCursorRow.task_id, NoticeCursorRow.n).where(NoticeCursorRow.task_id.in_(task_ids))
    # One order for all who take several.
    return {
        row.task_id: row.n
        for row in session.execute(query.order_by(NoticeCursorRow.task_id).with_for_update())
    }


def newest(session: Session, task_ids: Sequence[str]) -> dict[str, int]:
    """The number of the newest event of each task."""
    rows = session.execute(select(TaskRow.id, TaskRow.events).where(TaskRow.id.in_(task_ids)))
    return {row.id: row.events for row in rows}


def unseen(session: Session, task_ids: Sequence[str]) -> Sequence[EventRow]:
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
    return session.scalars(query.order_by(EventRow.task_id, EventRow.n)).all()


def move_cursors(session: Session, seen: dict[str, int]) -> None:
    """Note how far tasks' logs were looked through."""
    if seen:
        session.execute(
            update(NoticeCursorRow), [{"task_id": task_id, "n": n} for task_id, n in seen.items()]
        )


# --- deliveries


def deliveries(
    session: Session, receiver: str | None, after: int | None, limit: int
) -> Sequence[DeliveryRow]:
    """The delivery log, newest first; one more than the limit."""
    query = select(DeliveryRow).order_by(DeliveryRow.id.desc()).limit(limit + 1)
    if receiver is not None:
        query = query.where(DeliveryRow.receiver == receiver)
    if after is not None:
        query = query.where(DeliveryRow.id < after)
    return session.scalars(query).all()


def due(session: Session, moment: dt.datetime, limit: int) -> Sequence[DeliveryRow]:
    """Deliveries to try now, the longest waiting first."""
    query = select(DeliveryRow).where(
        DeliveryRow.state == DeliveryState.PENDING, DeliveryRow.next_at <= moment
    )
    return session.scalars(query.order_by(DeliveryRow.next_at).limit(limit)).all()


def claim(session: Session, row: DeliveryRow, until: dt.datetime) -> bool:
    """Take a delivery to try it, unless another just did."""
    result = session.execute(
        update(DeliveryRow)
        .where(
            DeliveryRow.id == row.id,
            DeliveryRow.state == DeliveryState.PENDING,
            DeliveryRow.next_at == row.next_at,
        )
        .values(next_at=until)
        .execution_options(synchronize_session=False)
    )
    return bool(result.rowcount)  # type: ignore[attr-defined]


def count_by_state(session: Session) -> dict[str, int]:
    """How many deliveries are in each state."""
    rows = session.execute(select(DeliveryRow.state, func.count()).group_by(DeliveryRow.state)).all()
    return {state.value: 0 for state in DeliveryState} | {str(state): int(count) for state, count in rows}


def forget(session: Session, ended_before: dt.datetime, limit: int) -> int:
    """Delete old entries of the delivery log; how many."""
    ids = session.scalars(
        select(DeliveryRow.id).where(DeliveryRow.ended_at < ended_before).limit(limit)
    ).all()
    session.execute(delete(DeliveryRow).where(DeliveryRow.id.in_(ids)))
    return len(ids)
