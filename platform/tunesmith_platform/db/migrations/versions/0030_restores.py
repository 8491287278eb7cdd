"""Restores from backups, and where the numbers of attempts go on after each.

Revision ID: 0030
Revises: 0029
"""

import sqlalchemy as sa
from alembic import op

import tunesmith_platform.db.tables

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    moment = tunesmith_platform.db.tables.UtcDateTime(timezone=True)
    op.create_table(
        "restores",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("attempt_floor", sa.Integer, nullable=False),
        sa.Column("taken_at", moment, nullable=False),
        sa.Column("restored_at", moment, nullable=False),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("restores")
