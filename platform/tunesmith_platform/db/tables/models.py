"""Base models."""

import datetime as dt
from typing import Any

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith_platform.db.tables.base import Base, Json, OwnedRow, UtcDateTime


class ModelRow(OwnedRow, Base):
    """A base model and what was read of it. `stamps` (size, time of change) tell when to read again.

    `sums` keeps each file's SHA-256 with its stamp, so that a changed file is read again, and no other.
    """

    __tablename__ = "models"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    hub_id: Mapped[str | None] = mapped_column(String(200))
    path: Mapped[str] = mapped_column(Text)
    facts: Mapped[dict[str, Any] | None] = mapped_column(Json)
    problem: Mapped[dict[str, Any] | None] = mapped_column(Json)
    stamps: Mapped[dict[str, list[int]]] = mapped_column(Json)
    sums: Mapped[dict[str, dict[str, Any]]] = mapped_column(Json)
    sha256: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    checked_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    __table_args__ = (
        Index("ux_models_name", "name", unique=True),
        Index("ux_models_path", "path", unique=True),
        Index("ix_models_owner", "owner"),
    )
