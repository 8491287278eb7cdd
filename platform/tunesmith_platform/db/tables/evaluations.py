"""Evaluations: what each found, whose checkpoints it looked at, and how those of a training are scored meanwhile."""

import datetime as dt

from sqlalchemy import Float, ForeignKey, Index, Integer, String, Text, false
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith_platform.db.tables.base import Base, Big, Json, UtcDateTime


class EvaluationRow(Base):
    """What an evaluation found; the whole of it lies in the storage."""

    __tablename__ = "evaluations"
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer)
    uri: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    comparable_by: Mapped[str] = mapped_column(String(64))
    recommended: Mapped[str | None] = mapped_column(Text)
    is_partial: Mapped[bool] = mapped_column(default=False, server_default=false())
    means: Mapped[dict[str, dict[str, float]]] = mapped_column(Json)
    sentence: Mapped[dict[str, str]] = mapped_column(Json)
    answer_seconds: Mapped[float | None] = mapped_column(Float)
    """What passed for an answer, of those that were computed; the next forecast goes by it."""
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    __table_args__ = (Index("ix_evaluations_comparable", "comparable_by"),)


class EvaluatedRow(Base):
    """A task whose checkpoints an evaluation looked at."""

    __tablename__ = "evaluated"
    task_id: Mapped[str] = mapped_column(
        ForeignKey("evaluations.task_id", ondelete="CASCADE"), primary_key=True
    )
    of_task_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    __table_args__ = (Index("ix_evaluated_of_task", "of_task_id"),)


class CheckpointUseRow(Base):
    """A checkpoint that a task uses: its own training does not remove it until that task is over."""

    __tablename__ = "checkpoint_uses"
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    of_task_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    step: Mapped[int] = mapped_column(Big, primary_key=True)
    __table_args__ = (Index("ix_checkpoint_uses_of_task", "of_task_id", "step"),)


class CheckpointScoreRow(Base):
    """A checkpoint that is scored while its training goes on. `evaluation_id` is the task that does it.

    `is_spared`: the training does not remove it, for it has yet to be scored, or scored best.
    """

    __tablename__ = "checkpoint_scores"
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(Big, primary_key=True)
    manifest_sha256: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(10))
    evaluation_id: Mapped[str | None] = mapped_column(String(40))
    means: Mapped[dict[str, float]] = mapped_column(Json)
    is_spared: Mapped[bool] = mapped_column()
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    __table_args__ = (
        Index("ix_checkpoint_scores_state", "state", "task_id"),
        Index("ix_checkpoint_scores_evaluation", "evaluation_id"),
    )
