"""Keys of people whom an identity provider names.

Revision ID: 0034
Revises: 0033
"""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("api_keys", sa.Column("subject", sa.String(64), nullable=True))
    op.create_index("ux_api_keys_subject", "api_keys", ["subject"], unique=True)


def downgrade() -> None:
    """Take back."""
    op.drop_index("ux_api_keys_subject", table_name="api_keys")
    op.drop_column("api_keys", "subject")
