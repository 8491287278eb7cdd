"""Conversations that are kept: a tree of turns, each a question with its answers."""

import datetime as dt
from typing import Any

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith_platform.db.tables.base import Base, Json, OwnedRow, UtcDateTime


class ConversationRow(OwnedRow, Base):
    """A conversation. `head` is the turn at which it is; `numbers` is the highest number that a turn was given:
    none is given twice. Whoever adds a turn, or takes one out, holds this row.
    """

    __tablename__ = "conversations"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    title: Mapped[str] = mapped_column(Text)
    model: Mapped[str | None] = mapped_column(Text)
    settings: Mapped[dict[str, Any]] = mapped_column(Json)
    head: Mapped[int | None] = mapped_column(Integer)
    numbers: Mapped[int] = mapped_column(Integer)
    turns: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    __table_args__ = (Index("ix_conversations_owner", "owner", "updated_at"),)


class TurnRow(Base):
    """A question. `key` and `body_sha256` are its call's `Idempotency-Key` and what was sent with it."""

    __tablename__ = "conversation_turns"
    conversation_id: Mapped[str] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    parent: Mapped[int | None] = mapped_column(Integer)
    content: Mapped[str] = mapped_column(Text)
    settings: Mapped[dict[str, Any]] = mapped_column(Json)
    chosen: Mapped[int] = mapped_column(Integer)
    key: Mapped[str | None] = mapped_column(String(200))
    body_sha256: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    __table_args__ = (Index("ux_conversation_turns_key", "conversation_id", "key", unique=True),)


class AnswerRow(Base):
    """An answer of one model to a turn's question.

    While it is `answering`, `touched_at` says when its server was last heard of; one that is silent is gone, and the
    answer is cut.
    """

    __tablename__ = "conversation_answers"
    conversation_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    turn: Mapped[int] = mapped_column(Integer, primary_key=True)
    place: Mapped[int] = mapped_column(Integer, primary_key=True)
    model: Mapped[str] = mapped_column(Text)
    weights: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(12))
    text: Mapped[str] = mapped_column(Text)
    thought: Mapped[str] = mapped_column(Text)
    why: Mapped[str] = mapped_column(Text)
    finish_reason: Mapped[str | None] = mapped_column(String(20))
    prompt_tokens: Mapped[int] = mapped_column(Integer)
    completion_tokens: Mapped[int] = mapped_column(Integer)
    dropped_turns: Mapped[int] = mapped_column(Integer)
    rating: Mapped[str | None] = mapped_column(String(10))
    corrected: Mapped[str | None] = mapped_column(Text)
    rated_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    touched_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    __table_args__ = (
        ForeignKeyConstraint(
            ["conversation_id", "turn"],
            ["conversation_turns.conversation_id", "conversation_turns.number"],
            ondelete="CASCADE",
        ),
    )
