"""Served models: which task serves a base model for whom, and how it is."""

import datetime as dt
from typing import Any

from sqlalchemy import Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith_platform.db.tables.base import Base, Json, OwnedRow, UtcDateTime


class ChatRow(OwnedRow, Base):
    """A base model that is served, or was, to its owner. `base_key` is told by `base`, its folder or URI.

    `start` names the newest start and is the key by which its task is made: whoever comes while nobody has made the
    task makes the same one. `attempt` is the attempt that answers; None while none does.
    """

    __tablename__ = "chats"
    owner: Mapped[str] = mapped_column(String(120), primary_key=True)
    base_key: Mapped[str] = mapped_column(String(64), primary_key=True)
    base: Mapped[str] = mapped_column(Text)
    start: Mapped[str] = mapped_column(String(40))
    task_id: Mapped[str | None] = mapped_column(String(40))
    attempt: Mapped[int | None] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(12))
    message: Mapped[str] = mapped_column(Text)
    loaded: Mapped[dict[str, Any]] = mapped_column(Json)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    asked_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    __table_args__ = (Index("ix_chats_task", "task_id"),)
