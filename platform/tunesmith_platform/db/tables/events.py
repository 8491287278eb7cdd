"""What tasks reported: the log, and the measurements packed out of it."""

import datetime as dt
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith_platform.db.tables.base import Base, Big, Json, UtcDateTime


class EventRow(Base):
    """One entry of the event log. (task, attempt, seq) is stored once; the platform's own entries have no seq."""

    __tablename__ = "events"
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    n: Mapped[int] = mapped_column(Big, primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer)
    seq: Mapped[int | None] = mapped_column(Big)
    kind: Mapped[str] = mapped_column(String(30))
    time: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    payload: Mapped[dict[str, Any]] = mapped_column(Json)
    __table_args__ = (
        Index("ux_events_seq", "task_id", "attempt", "seq", unique=True),
        Index("ix_events_kind", "task_id", "kind", "n"),
    )


class ChunkRow(Base):
    """Measurements of one metric, packed; numbered in the order they were measured. The event log holds them too.

    `segment` rises with every stretch of rising steps (attempts, restarts); `start` is the place of the first point
    within it. `rollup` stands before `data`, so that SQLite reads it without touching the points.
    """

    __tablename__ = "series_chunks"
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    segment: Mapped[int] = mapped_column(Integer)
    attempt: Mapped[int] = mapped_column(Integer)
    start: Mapped[int] = mapped_column(Big)
    points: Mapped[int] = mapped_column(Integer)
    first_step: Mapped[int] = mapped_column(Big)
    last_step: Mapped[int] = mapped_column(Big)
    rollup: Mapped[bytes] = mapped_column(LargeBinary)
    data: Mapped[bytes] = mapped_column(LargeBinary)
