"""Lists of tasks are filtered in an index on PostgreSQL too, and found by their tags.

Revision ID: 0036
Revises: 0035
"""

from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    if op.get_context().dialect.name == "postgresql":
        filtered_by = ["name", "state", "kind", "project", "owner"]
        op.create_index("ix_tasks_list", "tasks", ["id"], postgresql_include=filtered_by)
        op.create_index(
            "ix_tasks_tags",
            "tasks",
            ["tags"],
            postgresql_using="gin",
            postgresql_ops={"tags": "jsonb_path_ops"},
        )


def downgrade() -> None:
    """Take back."""
    if op.get_context().dialect.name == "postgresql":
        op.drop_index("ix_tasks_tags", "tasks")
        op.drop_index("ix_tasks_list", "tasks")
