"""Lists of tasks are filtered in an index, without reading whole rows."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    # Tags may be longer than PostgreSQL takes into an index.
    if op.get_context().dialect.name == "sqlite":
        op.create_index("ix_tasks_find", "tasks", ["id", "name", "tags", "state", "kind", "project"])
        op.create_index("ix_tasks_state", "tasks", ["state", "id", "name", "tags", "kind", "project"])


def downgrade() -> None:
    """Take back."""
    if op.get_context().dialect.name == "sqlite":
        op.drop_index("ix_tasks_state", "tasks")
        op.drop_index("ix_tasks_find", "tasks")
