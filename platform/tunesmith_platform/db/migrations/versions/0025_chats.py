"""Which task serves a base model for whom.

Revision ID: 0025
Revises: 0024
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import tunesmith_platform.db.tables

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None
_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    """Apply."""
    moment = tunesmith_platform.db.tables.UtcDateTime(timezone=True)
    op.create_table(
        "chats",
        sa.Column("owner", sa.String(120), primary_key=True),
        sa.Column("base_key", sa.String(64), primary_key=True),
        sa.Column("project", sa.String(120), nullable=False),
        sa.Column("base", sa.Text, nullable=False),
        sa.Column("start", sa.String(40), nullable=False),
        sa.Column("task_id", sa.String(40), nullable=True),
        sa.Column("attempt", sa.Integer, nullable=True),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("loaded", _JSON, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("asked_at", moment, nullable=False),
    )
    op.create_index("ix_chats_task", "chats", ["task_id"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("chats")
