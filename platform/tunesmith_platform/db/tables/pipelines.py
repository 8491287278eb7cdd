"""Pipelines and their steps."""

import datetime as dt
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith_platform.db.tables.base import Base, Json, OwnedRow, UtcDateTime


class PipelineRow(OwnedRow, Base):
    """A pipeline. `request` is what was sent; what it does lies in its steps."""

    __tablename__ = "pipelines"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    workflow: Mapped[str] = mapped_column(String(120))
    request: Mapped[dict[str, Any]] = mapped_column(Json)
    reuse: Mapped[bool] = mapped_column(default=True)
    state: Mapped[str] = mapped_column(String(20))
    desired: Mapped[str] = mapped_column(String(10))
    message: Mapped[str] = mapped_column(Text, default="")
    notices: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list, server_default="[]")
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    __table_args__ = (
        Index("ix_pipelines_ended", "ended_at"),
        Index("ix_pipelines_owner", "owner", "id"),
    )


class PipelineStepRow(Base):
    """A step of a pipeline. `key` is the same for what would make the same; `hands_on` is its output as written."""

    __tablename__ = "pipeline_steps"
    pipeline_id: Mapped[str] = mapped_column(ForeignKey("pipelines.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    kind: Mapped[str] = mapped_column(String(20))
    component: Mapped[str] = mapped_column(String(80))
    method: Mapped[str] = mapped_column(String(20))
    parameters: Mapped[dict[str, Any]] = mapped_column(Json)
    hands_on: Mapped[Any] = mapped_column(Json, nullable=True)
    needs: Mapped[list[str]] = mapped_column(Json)
    state: Mapped[str] = mapped_column(String(20))
    message: Mapped[str] = mapped_column(Text, default="")
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    key: Mapped[str | None] = mapped_column(String(64))
    outputs: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    output: Mapped[Any] = mapped_column(Json, nullable=True)
    task_id: Mapped[str | None] = mapped_column(String(40))
    is_reused: Mapped[bool] = mapped_column(default=False)
    started_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    __table_args__ = (Index("ix_pipeline_steps_key", "key"),)
