"""Which checkpoints tasks use, and how those of a training are scored while it goes on.

Revision ID: 0024
Revises: 0023
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import tunesmith_platform.db.tables

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None
_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "checkpoint_uses",
        sa.Column("task_id", sa.String(40), sa.ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("of_task_id", sa.String(40), primary_key=True),
        sa.Column("step", _BIG, primary_key=True),
    )
    op.create_index("ix_checkpoint_uses_of_task", "checkpoint_uses", ["of_task_id", "step"])
    op.create_table(
        "checkpoint_scores",
        sa.Column("task_id", sa.String(40), sa.ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("step", _BIG, primary_key=True),
        sa.Column("manifest_sha256", sa.String(64), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("evaluation_id", sa.String(40), nullable=True),
        sa.Column("means", _JSON, nullable=False),
        sa.Column("is_spared", sa.Boolean, nullable=False),
        sa.Column("created_at", tunesmith_platform.db.tables.UtcDateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_checkpoint_scores_state", "checkpoint_scores", ["state", "task_id"])
    op.create_index("ix_checkpoint_scores_evaluation", "checkpoint_scores", ["evaluation_id"])
    op.add_column("tasks", sa.Column("early_stop", sa.Text, nullable=True))


def downgrade() -> None:
    """Take back."""
    op.drop_column("tasks", "early_stop")
    op.drop_table("checkpoint_scores")
    op.drop_table("checkpoint_uses")
