"""When what an attempt's job is busy with last got on.

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa
import tunesmith_platform.db.tables
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None
_TIME = tunesmith_platform.db.tables.UtcDateTime(timezone=True)


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("advanced_at", _TIME, nullable=True))


def downgrade() -> None:
    """Take back."""
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.drop_column("advanced_at")
