"""The tables. Names and columns only: what may change when is said by the services and the reconciler."""

import datetime as dt
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
)
from sqlalchemy import DateTime as SqlDateTime
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

Json = JSON().with_variant(JSONB(), "postgresql")
Big = BigInteger().with_variant(Integer(), "sqlite")


class UtcDateTime(TypeDecorator[dt.datetime]):
    """A point in time; SQLite keeps no zone, so it is stored as UTC and read back with its zone."""

    impl = SqlDateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """To UTC; a time without a zone is a mistake of ours."""
        if value is None:
            return None
        assert value.tzinfo is not None, "a time without a zone"
        return value.astimezone(dt.UTC)

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """With its zone."""
        if value is None:
            return None
        return value if value.tzinfo else value.replace(tzinfo=dt.UTC)


class Base(DeclarativeBase):
    """Every table's base."""


class TaskRow(Base):
    """A task. `events` numbers its event log; `attempt` fences reports.

    `attempts_before` were made before its user continued it: they do not count against `max_restarts`.
    `save_requests` counts how often a checkpoint was asked for; the job compares it with what it has answered.
    `folded` is the event up to which its measurements lie in chunks too.
    """

    __tablename__ = "tasks"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(120))
    project: Mapped[str] = mapped_column(String(120))
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
    )


class AttemptRow(Base):
    """One start of a task on Ray. `last_seq` is how far its reports are stored."""

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
    ended_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)


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
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)


class IdempotencyRow(Base):
    """Which task an `Idempotency-Key` made, and of what body."""

    __tablename__ = "idempotency_keys"
    principal: Mapped[str] = mapped_column(String(40), primary_key=True)
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


class ApiKeyRow(Base):
    """A key's hash; the key itself is nowhere stored here."""

    __tablename__ = "api_keys"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    role: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)


class TemplateRow(Base):
    """A user's template. Tasks keep a copy of its parameters: nothing refers to it."""

    __tablename__ = "templates"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    kind: Mapped[str] = mapped_column(String(20))
    description: Mapped[str] = mapped_column(Text, default="")
    description_zh: Mapped[str] = mapped_column(Text, default="")
    hides: Mapped[list[str]] = mapped_column(Json, default=list)
    parameters: Mapped[dict[str, Any]] = mapped_column(Json)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    __table_args__ = (Index("ux_templates_name", "name", unique=True),)


class LeaseRow(Base):
    """A named lease: who may do what only one may do at a time."""

    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    owner: Mapped[str | None] = mapped_column(String(40))
    until: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)


class QuotaProjectRow(Base):
    """A project's switch, and the sums of its ledger. Whoever appends to the ledger holds this row."""

    __tablename__ = "quota_projects"
    project: Mapped[str] = mapped_column(String(120), primary_key=True)
    enabled: Mapped[bool] = mapped_column(default=False)
    low_threshold: Mapped[int] = mapped_column(Big, default=0)
    is_low: Mapped[bool] = mapped_column(default=False)
    granted: Mapped[int] = mapped_column(Big, default=0)
    charged: Mapped[int] = mapped_column(Big, default=0)
    reserved: Mapped[int] = mapped_column(Big, default=0)

    @property
    def available(self) -> int:
        """What a new task may reserve."""
        return self.granted - self.charged - self.reserved


class QuotaEntryRow(Base):
    """One entry of the quota ledger; never changed, never deleted, and it outlives its task.

    `amount` changes the balance, `reserved` what of it is held for tasks; the sums over a project are its row's.
    A step has one entry at most, so a checkpoint that is reported again is charged once.
    """

    __tablename__ = "quota_entries"
    id: Mapped[int] = mapped_column(Big, primary_key=True, autoincrement=True)
    project: Mapped[str] = mapped_column(String(120))
    time: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    kind: Mapped[str] = mapped_column(String(20))
    amount: Mapped[int] = mapped_column(Big, default=0)
    reserved: Mapped[int] = mapped_column(Big, default=0)
    available: Mapped[int] = mapped_column(Big)
    task_id: Mapped[str | None] = mapped_column(String(40))
    step: Mapped[int | None] = mapped_column(Big)
    note: Mapped[str] = mapped_column(Text, default="")
    by: Mapped[str] = mapped_column(String(80))
    key: Mapped[str | None] = mapped_column(String(200))
    __table_args__ = (
        Index("ix_quota_entries_project", "project", "id"),
        Index("ux_quota_entries_step", "task_id", "step", unique=True),
        Index("ux_quota_entries_key", "project", "by", "key", unique=True),
    )


class ModelRow(Base):
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
    )


class MeasurementRow(Base):
    """A measured preflight. `key` is the same for what would measure the same."""

    __tablename__ = "measurements"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    key: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(20))
    message: Mapped[str] = mapped_column(Text, default="")
    spec: Mapped[dict[str, Any]] = mapped_column(Json)
    inputs: Mapped[dict[str, Any]] = mapped_column(Json)
    result: Mapped[dict[str, Any] | None] = mapped_column(Json)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    __table_args__ = (
        Index("ix_measurements_key", "key", "id"),
        Index("ix_measurements_state", "state"),
    )


class WebhookRow(Base):
    """Where notifications are posted to. Its secret is nowhere stored: it is derived from the platform's own."""

    __tablename__ = "webhooks"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    project: Mapped[str | None] = mapped_column(String(120))
    events: Mapped[list[str]] = mapped_column(Json)
    by: Mapped[str] = mapped_column(String(80))
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)


class NoticeCursorRow(Base):
    """How far a task's event log was looked through for what to notify of."""

    __tablename__ = "notice_cursors"
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    n: Mapped[int] = mapped_column(Big, default=0)


class DeliveryRow(Base):
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
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    __table_args__ = (
        Index("ux_deliveries_event", "receiver", "task_id", "n", unique=True),
        Index("ix_deliveries_due", "state", "next_at"),
    )


class DatasetRow(Base):
    """A data set. `numbers` is the highest version number that was ever given: none is given twice."""

    __tablename__ = "datasets"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    numbers: Mapped[int] = mapped_column(Integer, default=0)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    __table_args__ = (Index("ux_datasets_name", "name", unique=True),)


class DatasetVersionRow(Base):
    """One file of a data set. `path` lies in our storage when `is_copied`; else it is the user's own file.

    `stamp` (size, time of change) tells when a user's own file must be read again.
    """

    __tablename__ = "dataset_versions"
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(Big)
    file_name: Mapped[str] = mapped_column(String(120))
    path: Mapped[str] = mapped_column(Text)
    stamp: Mapped[list[int]] = mapped_column(Json)
    is_copied: Mapped[bool] = mapped_column()
    source: Mapped[str] = mapped_column(Text)
    facts: Mapped[dict[str, Any]] = mapped_column(Json)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    __table_args__ = (Index("ix_dataset_versions_path", "path"),)


class UploadRow(Base):
    """An upload: what was promised. What has arrived is the size of its file; `dataset_id` is what became of it."""

    __tablename__ = "uploads"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    file_name: Mapped[str] = mapped_column(String(120))
    bytes: Mapped[int] = mapped_column(Big)
    sha256: Mapped[str | None] = mapped_column(String(64))
    dataset_id: Mapped[str | None] = mapped_column(String(40))
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)


class PipelineRow(Base):
    """A pipeline. `request` is what was sent; what it does lies in its steps."""

    __tablename__ = "pipelines"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    project: Mapped[str] = mapped_column(String(120))
    workflow: Mapped[str] = mapped_column(String(120))
    principal: Mapped[str] = mapped_column(String(40))
    request: Mapped[dict[str, Any]] = mapped_column(Json)
    reuse: Mapped[bool] = mapped_column(default=True)
    state: Mapped[str] = mapped_column(String(20))
    desired: Mapped[str] = mapped_column(String(10))
    message: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    __table_args__ = (Index("ix_pipelines_ended", "ended_at"),)


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
