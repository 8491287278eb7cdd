"""Served models: which task serves a base model for whom, and how it is."""

import datetime as dt
from typing import Any

from sqlalchemy import Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith_platform.db.tables.base import Base, Big, Json, OwnedRow, UtcDateTime


class ChatRow(OwnedRow, Base):
    """A base model that is served, or was, to its owner. `base_key` is told by `base`, its folder or URI.

    `start` names the newest start and is the key by which its task is made: whoever comes while nobody has made the
    task makes the same one. `attempt` is the attempt that answers; None while none does. `first` is the model whose
    question began the start; `pinned` are those that stay loaded, whatever becomes of a task.
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
    pinned: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list, server_default="[]")
    first: Mapped[dict[str, Any]] = mapped_column(Json, default=dict, server_default="{}")
    __table_args__ = (Index("ix_chats_task", "task_id"),)


class ChatFileRow(OwnedRow, Base):
    """A packaged GGUF file that can be talked to: of some weights, in some type, the one that was made last.

    `source` is the folder or URI of the weights, and `package_id` the task that made the file. Of one in several
    parts `uri` is the first, and `sha256` that of the parts' sums.
    """

    __tablename__ = "chat_files"
    owner: Mapped[str] = mapped_column(String(120), primary_key=True)
    weights: Mapped[str] = mapped_column(String(100), primary_key=True)
    file_type: Mapped[str] = mapped_column(String(20), primary_key=True)
    source: Mapped[str] = mapped_column(Text)
    uri: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(Big)
    parts: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list, server_default="[]")
    package_id: Mapped[str] = mapped_column(String(40))
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    __table_args__ = (Index("ix_chat_files_package", "package_id"),)


class ProofRow(OwnedRow, Base):
    """Whether what answers with some weights, in one engine of one version and one type, is the model.

    `key` is told by these four. `model` is what the weights were called; `task_id` the task that looks, or looked.
    """

    __tablename__ = "chat_proofs"
    owner: Mapped[str] = mapped_column(String(120), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    weights: Mapped[str] = mapped_column(String(100))
    engine: Mapped[str] = mapped_column(String(40))
    version: Mapped[str] = mapped_column(String(40))
    file_type: Mapped[str] = mapped_column(String(20))
    model: Mapped[str] = mapped_column(String(300))
    state: Mapped[str] = mapped_column(String(12))
    found: Mapped[dict[str, Any]] = mapped_column(Json)
    tries: Mapped[int] = mapped_column(Integer)
    task_id: Mapped[str | None] = mapped_column(String(40))
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    changed_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    __table_args__ = (
        Index("ix_chat_proofs_weights", "weights"),
        Index("ix_chat_proofs_task", "task_id"),
        Index("ix_chat_proofs_state", "state"),
    )
