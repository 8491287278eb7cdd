"""One-time codes and sessions of browsers.

Revision ID: 0027
Revises: 0026
"""

import sqlalchemy as sa
from alembic import op

import tunesmith_platform.db.tables

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    moment = tunesmith_platform.db.tables.UtcDateTime(timezone=True)
    op.create_table(
        "browsers",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("is_code", sa.Boolean, nullable=False),
        sa.Column("key_sha256", sa.String(64), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=False),
    )
    op.create_index("ix_browsers_expires", "browsers", ["expires_at"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("browsers")
