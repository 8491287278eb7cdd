"""Conversations that are kept.

Revision ID: 0026
Revises: 0025
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import tunesmith_platform.db.tables

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None
_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    """Apply."""
    moment = tunesmith_platform.db.tables.UtcDateTime(timezone=True)
    op.create_table(
        "conversations",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=True),
        sa.Column("settings", _JSON, nullable=False),
        sa.Column("head", sa.Integer, nullable=True),
        sa.Column("numbers", sa.Integer, nullable=False),
        sa.Column("turns", sa.Integer, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        sa.Column("owner", sa.String(120), nullable=False),
        sa.Column("project", sa.String(120), nullable=False),
    )
    op.create_index("ix_conversations_owner", "conversations", ["owner", "updated_at"])
    op.create_table(
        "conversation_turns",
        sa.Column(
            "conversation_id",
            sa.String(40),
            sa.ForeignKey("conversations.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("parent", sa.Integer, nullable=True),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("settings", _JSON, nullable=False),
        sa.Column("chosen", sa.Integer, nullable=False),
        sa.Column("key", sa.String(200), nullable=True),
        sa.Column("body_sha256", sa.String(64), nullable=True),
        sa.Column("created_at", moment, nullable=False),
    )
    op.create_index("ux_conversation_turns_key", "conversation_turns", ["conversation_id", "key"], unique=True)
    op.create_table(
        "conversation_answers",
        sa.Column("conversation_id", sa.String(40), primary_key=True),
        sa.Column("turn", sa.Integer, primary_key=True),
        sa.Column("place", sa.Integer, primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("weights", sa.Text, nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("thought", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("finish_reason", sa.String(20), nullable=True),
        sa.Column("prompt_tokens", sa.Integer, nullable=False),
        sa.Column("completion_tokens", sa.Integer, nullable=False),
        sa.Column("dropped_turns", sa.Integer, nullable=False),
        sa.Column("rating", sa.String(10), nullable=True),
        sa.Column("corrected", sa.Text, nullable=True),
        sa.Column("rated_at", moment, nullable=True),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("touched_at", moment, nullable=False),
        sa.ForeignKeyConstraint(
            ["conversation_id", "turn"],
            ["conversation_turns.conversation_id", "conversation_turns.number"],
            ondelete="CASCADE",
        ),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("conversation_answers")
    op.drop_table("conversation_turns")
    op.drop_table("conversations")
