"""Webhooks, how far the log was told, and what was delivered."""

import datetime as dt
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith_platform.db.tables.base import Base, Big, Json, OwnedRow, UtcDateTime


class WebhookRow(OwnedRow, Base):
    """Where notifications are posted to, of one project's tasks or of all.

    Its secret is nowhere stored: it is derived from the platform's own.
    """

    __tablename__ = "webhooks"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    only_project: Mapped[str | None] = mapped_column(String(120))
    events: Mapped[list[str]] = mapped_column(Json)
    language: Mapped[str] = mapped_column(String(8), server_default="en")
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    __table_args__ = (Index("ix_webhooks_owner", "owner"),)


class NoticeCursorRow(Base):
    """How far a task's event log was looked through for what to notify of."""

    __tablename__ = "notice_cursors"
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    n: Mapped[int] = mapped_column(Big, default=0)


class DeliveryRow(OwnedRow, Base):
    """One notification on its way to one receiver: a webhook's id, or `email`. It outlives its task.

    An event has one delivery a receiver at most. `next_at` is when it is tried next, or again if the one that tries it
    now dies.
    """

    __tablename__ = "deliveries"
    id: Mapped[int] = mapped_column(Big, primary_key=True, autoincrement=True)
    receiver: Mapped[str] = mapped_column(String(40))
    event: Mapped[str] = mapped_column(String(20))
    task_id: Mapped[str | None] = mapped_column(String(40))
    n: Mapped[int | None] = mapped_column(Big)
    payload: Mapped[dict[str, Any]] = mapped_column(Json)
    state: Mapped[str] = mapped_column(String(20))
    tries: Mapped[int] = mapped_column(Integer, default=0)
    next_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    status: Mapped[int | None] = mapped_column(Integer)
    message: Mapped[str] = mapped_column(Text, default="")
    sent_to: Mapped[str] = mapped_column(Text, default="", server_default="")
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    __table_args__ = (
        Index("ux_deliveries_event", "receiver", "task_id", "n", unique=True),
        Index("ix_deliveries_due", "state", "next_at"),
        Index("ix_deliveries_owner", "owner", "id"),
    )
