"""What packages take of the storage, and which are to stay.

Revision ID: 0028
Revises: 0027
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import tunesmith_platform.db.tables

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None
_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MOMENT = tunesmith_platform.db.tables.UtcDateTime(timezone=True)


def upgrade() -> None:
    """Apply; packages that were made before are entered too."""
    made = op.create_table(
        "packages",
        sa.Column("task_id", sa.String(40), sa.ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("of_task_id", sa.String(40), nullable=True),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("step", _BIG, nullable=False),
        sa.Column("bytes", _BIG, nullable=False),
        sa.Column("files", sa.Integer, nullable=False),
        sa.Column("is_pinned", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("removed_at", _MOMENT, nullable=True),
        sa.Column("is_gone", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("created_at", _MOMENT, nullable=False),
    )
    op.create_index("ix_packages_of_task", "packages", ["of_task_id"])
    events = sa.table(
        "events",
        sa.column("task_id", sa.String),
        sa.column("n", _BIG),
        sa.column("kind", sa.String),
        sa.column("time", _MOMENT),
        sa.column("payload", _JSON),
    )
    tasks = sa.table("tasks", sa.column("id", sa.String), sa.column("inputs", _JSON))
    query = (
        sa.select(events.c.task_id, events.c.time, events.c.payload, tasks.c.inputs)
        .join(tasks, tasks.c.id == events.c.task_id)
        .where(events.c.kind == "package_made")
        .order_by(events.c.task_id, events.c.n)
    )
    rows = {row.task_id: _row(row) for row in op.get_bind().execute(query)}
    if rows:
        op.bulk_insert(made, list(rows.values()))


def _row(found: Any) -> dict[str, object]:
    files = [*found.payload.get("files", []), *found.payload.get("others", [])]
    return {
        "task_id": found.task_id,
        "of_task_id": (found.inputs.get("origin") or {}).get("task_id"),
        "uri": found.payload["uri"],
        "step": found.payload.get("step", 0),
        "bytes": sum(file.get("bytes", 0) for file in files),
        "files": len(files),
        "is_pinned": False,
        "removed_at": None,
        "is_gone": False,
        "created_at": found.time,
    }


def downgrade() -> None:
    """Take back."""
    op.drop_table("packages")
