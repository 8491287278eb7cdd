"""What each server lets run for which key.

Revision ID: 0035
Revises: 0034
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import tunesmith_platform.db.tables

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None
_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "server_uses",
        sa.Column("server", sa.String(40), primary_key=True),
        sa.Column("beat", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("uses", _JSON, nullable=False),
        sa.Column("said_at", tunesmith_platform.db.tables.UtcDateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("server_uses")
