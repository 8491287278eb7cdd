"""Whether what answers is the model; packaged files that answer; what a chat's base loads first.

Revision ID: 0029
Revises: 0028
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import tunesmith_platform.db.tables

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None
_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Apply."""
    moment = tunesmith_platform.db.tables.UtcDateTime(timezone=True)
    op.create_table(
        "chat_proofs",
        sa.Column("owner", sa.String(120), primary_key=True),
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("project", sa.String(120), nullable=False),
        sa.Column("weights", sa.String(100), nullable=False),
        sa.Column("engine", sa.String(40), nullable=False),
        sa.Column("version", sa.String(40), nullable=False),
        sa.Column("file_type", sa.String(20), nullable=False),
        sa.Column("model", sa.String(300), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("found", _JSON, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("task_id", sa.String(40), nullable=True),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("changed_at", moment, nullable=False),
    )
    op.add_column("chats", sa.Column("pinned", _JSON, nullable=False, server_default="[]"))
    op.add_column("chats", sa.Column("first", _JSON, nullable=False, server_default="{}"))
    op.create_table(
        "chat_files",
        sa.Column("owner", sa.String(120), primary_key=True),
        sa.Column("weights", sa.String(100), primary_key=True),
        sa.Column("file_type", sa.String(20), primary_key=True),
        sa.Column("project", sa.String(120), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("bytes", _BIG, nullable=False),
        sa.Column("package_id", sa.String(40), nullable=False),
        sa.Column("created_at", moment, nullable=False),
    )
    op.create_index("ix_chat_files_package", "chat_files", ["package_id"])
    op.create_index("ix_chat_proofs_weights", "chat_proofs", ["weights"])
    op.create_index("ix_chat_proofs_task", "chat_proofs", ["task_id"])
    op.create_index("ix_chat_proofs_state", "chat_proofs", ["state"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("chat_files")
    op.drop_table("chat_proofs")
    op.drop_column("chats", "first")
    op.drop_column("chats", "pinned")
