"""What evaluations found, and which checkpoint they recommend.

Revision ID: 0023
Revises: 0022
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import tunesmith_platform.db.tables

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None
_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "evaluations",
        sa.Column("task_id", sa.String(40), sa.ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("comparable_by", sa.String(64), nullable=False),
        sa.Column("recommended", sa.Text, nullable=True),
        sa.Column("is_partial", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("means", _JSON, nullable=False),
        sa.Column("sentence", _JSON, nullable=False),
        sa.Column("answer_seconds", sa.Float, nullable=True),
        sa.Column("created_at", tunesmith_platform.db.tables.UtcDateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_evaluations_comparable", "evaluations", ["comparable_by"])
    op.create_table(
        "evaluated",
        sa.Column(
            "task_id", sa.String(40), sa.ForeignKey("evaluations.task_id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("of_task_id", sa.String(40), primary_key=True),
    )
    op.create_index("ix_evaluated_of_task", "evaluated", ["of_task_id"])
    op.add_column(
        "checkpoints", sa.Column("is_recommended", sa.Boolean, nullable=False, server_default=sa.false())
    )


def downgrade() -> None:
    """Take back."""
    op.drop_column("checkpoints", "is_recommended")
    op.drop_table("evaluated")
    op.drop_table("evaluations")
