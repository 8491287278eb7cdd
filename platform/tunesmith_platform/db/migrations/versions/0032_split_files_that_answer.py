"""Packaged files in several parts answer too.

Revision ID: 0032
Revises: 0031
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None
_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    """Apply."""
    op.add_column("chat_files", sa.Column("parts", _JSON, nullable=False, server_default="[]"))


def downgrade() -> None:
    """Take back."""
    op.drop_column("chat_files", "parts")
