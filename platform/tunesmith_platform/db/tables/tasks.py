"""Tasks: their attempts, their checkpoints, what is mirrored of them, and the keys that made them."""

import datetime as dt
from typing import Any

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, Integer, String, Text, false
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith_platform.db.tables.base import (
    POSTGRESQL_ONLY,
    SQLITE_ONLY,
    Base,
    Big,
    Json,
    OwnedRow,
    UtcDateTime,
)


class TaskRow(OwnedRow, Base):
    """A task. `events` numbers its event log; `attempt` fences reports.

    `attempts_before` were made before its user continued it: they do not count against `max_restarts`.
    `save_requests` counts how often a checkpoint was asked for; the job compares it with what it has answered.
    `folded` is the event up to which its measurements lie in chunks too.
    `early_stop` says why its job is to end as if its last step was done: its checkpoints' scores do not improve.
    """

    __tablename__ = "tasks"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(120))
    priority: Mapped[int] = mapped_column(Integer)
    tags: Mapped[list[str]] = mapped_column(Json)
    notes: Mapped[str] = mapped_column(Text)
    spec: Mapped[dict[str, Any]] = mapped_column(Json)
    inputs: Mapped[dict[str, Any]] = mapped_column(Json)
    notices: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    state: Mapped[str] = mapped_column(String(20))
    desired: Mapped[str] = mapped_column(String(10))
    reason: Mapped[str | None] = mapped_column(String(40))
    message: Mapped[str] = mapped_column(Text, default="")
    waits_for: Mapped[str | None] = mapped_column(String(20))
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    is_attempt_open: Mapped[bool] = mapped_column(default=False)
    retry_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    events: Mapped[int] = mapped_column(Big, default=0)
    progress: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    artifact_uri: Mapped[str | None] = mapped_column(Text)
    model_uri: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    heartbeat_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    stop_requested_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    stop_reason: Mapped[str | None] = mapped_column(String(40))
    early_stop: Mapped[str | None] = mapped_column(Text)
    save_requests: Mapped[int] = mapped_column(Integer, default=0)
    folded: Mapped[int] = mapped_column(Big, default=0)
    template: Mapped[str | None] = mapped_column(String(120))
    parent_id: Mapped[str | None] = mapped_column(String(40))
    parent_step: Mapped[int | None] = mapped_column(Big)
    attempts_before: Mapped[int] = mapped_column(Integer, default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(40))
    lease_until: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    __table_args__ = (
        Index("ix_tasks_queue", "state", "is_attempt_open", "priority", "id"),
        Index("ix_tasks_open", "is_attempt_open"),
        Index("ix_tasks_project", "project", "id"),
        Index("ix_tasks_owner", "owner", "id"),
        # All that a list is filtered by, so that it does not read whole rows. Tags may be longer than PostgreSQL
        # takes into such an index.
        Index("ix_tasks_find", "id", "name", "tags", "state", "kind", "project", info=SQLITE_ONLY),
        Index("ix_tasks_state", "state", "id", "name", "tags", "kind", "project", info=SQLITE_ONLY),
        Index(
            "ix_tasks_list",
            "id",
            postgresql_include=["name", "state", "kind", "project", "owner"],
            info=POSTGRESQL_ONLY,
        ),
        Index(
            "ix_tasks_tags",
            "tags",
            postgresql_using="gin",
            postgresql_ops={"tags": "jsonb_path_ops"},
            info=POSTGRESQL_ONLY,
        ),
    )


class AttemptRow(Base):
    """One start of a task on Ray. `last_seq` is how far its reports are stored.

    `advanced_at` is when what its job is busy with, which lies in its task's progress, last got on.
    """

    __tablename__ = "attempts"
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    phase: Mapped[str] = mapped_column(String(20))
    last_seq: Mapped[int] = mapped_column(Big, default=0)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    submitted_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    training_started_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    finished: Mapped[dict[str, Any] | None] = mapped_column(Json)
    finished_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    kill_sent_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    advanced_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)


class CheckpointRow(Base):
    """A checkpoint that was reported complete and verified."""

    __tablename__ = "checkpoints"
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(Big, primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer)
    uri: Mapped[str] = mapped_column(Text)
    bytes: Mapped[int] = mapped_column(Big)
    files: Mapped[int] = mapped_column(Integer)
    manifest_sha256: Mapped[str] = mapped_column(String(64))
    metrics: Mapped[dict[str, float]] = mapped_column(Json)
    is_best: Mapped[bool] = mapped_column(default=False)
    is_pinned: Mapped[bool] = mapped_column(default=False)
    is_recommended: Mapped[bool] = mapped_column(default=False, server_default=false())
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)


class IdempotencyRow(OwnedRow, Base):
    """Which task an `Idempotency-Key` made, and of what body."""

    __tablename__ = "idempotency_keys"
    owner: Mapped[str] = mapped_column(String(120), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    body_sha256: Mapped[str] = mapped_column(String(64))
    task_id: Mapped[str] = mapped_column(String(40))
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)


class MirrorRow(Base):
    """How far the MLflow mirror of a task is. `steps` holds the last mirrored step of each metric."""

    __tablename__ = "mirrors"
    task_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    n: Mapped[int] = mapped_column(Big, default=0)
    experiment_id: Mapped[str | None] = mapped_column(String(64))
    run_id: Mapped[str | None] = mapped_column(String(64))
    run_artifact_uri: Mapped[str | None] = mapped_column(Text)
    is_described: Mapped[bool] = mapped_column(default=False)
    steps: Mapped[dict[str, int]] = mapped_column(Json, default=dict)
    __table_args__ = (ForeignKeyConstraint(["task_id"], ["tasks.id"], ondelete="CASCADE"),)
