"""Whose upload it is. Those under way belong to the first key.

Revision ID: 0017
Revises: 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("uploads", schema=None) as batch_op:
        batch_op.add_column(sa.Column("owner", sa.String(length=120), nullable=False, server_default="local"))
        batch_op.create_index("ix_uploads_owner", ["owner"])


def downgrade() -> None:
    """Take back."""
    with op.batch_alter_table("uploads", schema=None) as batch_op:
        batch_op.drop_index("ix_uploads_owner")
        batch_op.drop_column("owner")
