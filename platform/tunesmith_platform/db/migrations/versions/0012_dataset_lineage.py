"""Where a version of a data set comes from: the operation and the versions it was made of.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

from tunesmith_platform.db.tables import Json

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("dataset_versions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("lineage", Json, nullable=True))


def downgrade() -> None:
    """Take back."""
    with op.batch_alter_table("dataset_versions", schema=None) as batch_op:
        batch_op.drop_column("lineage")
