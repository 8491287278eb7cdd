"""Who did what to what.

Revision ID: 0033
Revises: 0032
"""

import sqlalchemy as sa
from alembic import op

import tunesmith_platform.db.tables

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None
_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "audit",
        sa.Column("id", _BIG, primary_key=True, autoincrement=True),
        sa.Column("time", tunesmith_platform.db.tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("who", sa.String(80), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("key_id", sa.String(40), nullable=False),
        sa.Column("action", sa.String(80), nullable=False),
        sa.Column("subject", sa.String(300), nullable=False),
        sa.Column("request_id", sa.String(40), nullable=False),
        sa.Column("address", sa.String(60), nullable=False),
    )
    op.create_index("ix_audit_time", "audit", ["time"])
    op.create_index("ix_audit_who", "audit", ["who", "id"])
    op.create_index("ix_audit_subject", "audit", ["subject", "id"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("audit")
