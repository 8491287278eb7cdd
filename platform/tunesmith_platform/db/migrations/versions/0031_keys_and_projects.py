"""Keys have an id, projects, an end; projects are rows.

Revision ID: 0031
Revises: 0030
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import tunesmith_platform.db.tables

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None
_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
_NAMED = ("tasks", "datasets", "models", "templates", "pipelines", "quota_projects")


def upgrade() -> None:
    """Apply."""
    moment = tunesmith_platform.db.tables.UtcDateTime(timezone=True)
    # A server of the version before stores keys without these: their defaults stand for it.
    op.add_column("api_keys", sa.Column("id", sa.String(40), nullable=False, server_default=""))
    op.add_column("api_keys", sa.Column("projects", _JSON, nullable=True))
    op.add_column("api_keys", sa.Column("created_by", sa.String(80), nullable=False, server_default="platform"))
    for name in ("expires_at", "revoked_at", "used_at"):
        op.add_column("api_keys", sa.Column(name, moment, nullable=True))
    op.execute("UPDATE api_keys SET id = 'key-' || substr(sha256, 1, 18)")
    op.create_index("ux_api_keys_id", "api_keys", ["id"], unique=True)
    op.create_table(
        "projects",
        sa.Column("project", sa.String(120), primary_key=True),
        sa.Column("description", sa.String(1000), nullable=False),
        sa.Column("created_by", sa.String(80), nullable=False),
        sa.Column("created_at", moment, nullable=False),
    )
    named = " UNION ".join(f"SELECT project FROM {table}" for table in _NAMED)
    op.execute(
        "INSERT INTO projects (project, description, created_by, created_at) "
        "SELECT project, '', 'platform', CURRENT_TIMESTAMP "
        f"FROM (SELECT 'default' AS project UNION {named}) AS found"
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("projects")
    op.drop_index("ux_api_keys_id", table_name="api_keys")
    for name in ("used_at", "revoked_at", "expires_at", "created_by", "projects", "id"):
        op.drop_column("api_keys", name)
