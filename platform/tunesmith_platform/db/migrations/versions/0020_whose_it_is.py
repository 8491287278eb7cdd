"""Whose it is: every table of what users have carries its owner and its project.

What was made before belongs to whoever is known to have made it, else to the first key; and to the default project.

Revision ID: 0020
Revises: 0019
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None
_FIRST_KEY, _PROJECT = "local", "default"
_BOTH = ("datasets", "models", "templates", "measurements", "deliveries")
_TEXT = sa.String(length=120)


def upgrade() -> None:
    """Apply."""
    # Columns are added in place: in SQLite a table that is made anew takes what depends on it with it.
    for table in (*_BOTH, "tasks"):
        _add(table, "owner", _FIRST_KEY)
    for table in (*_BOTH, "uploads", "idempotency_keys"):
        _add(table, "project", _PROJECT)
    _add("pipelines", "owner", _FIRST_KEY)
    op.execute("UPDATE pipelines SET owner = principal")
    op.drop_column("pipelines", "principal")
    with op.batch_alter_table("idempotency_keys") as batch:
        batch.alter_column(
            "principal", new_column_name="owner", existing_type=sa.String(length=40), type_=_TEXT
        )
    _webhooks()
    _owners_that_are_known()


def _add(table: str, name: str, value: str) -> None:
    op.add_column(table, sa.Column(name, _TEXT, nullable=False, server_default=value))


def _webhooks() -> None:
    """A webhook's `project` said which tasks it tells of; now it says where the webhook belongs."""
    _add("webhooks", "owner", _FIRST_KEY)
    op.add_column("webhooks", sa.Column("only_project", _TEXT, nullable=True))
    op.execute(f"UPDATE webhooks SET owner = \"by\", only_project = project, project = COALESCE(project, '{_PROJECT}')")
    op.drop_column("webhooks", "by")
    with op.batch_alter_table("webhooks") as batch:
        batch.alter_column("project", existing_type=_TEXT, nullable=False)


def _owners_that_are_known() -> None:
    op.execute(
        "UPDATE tasks SET owner = (SELECT k.owner FROM idempotency_keys k WHERE k.task_id = tasks.id) "
        "WHERE (SELECT count(*) FROM idempotency_keys k WHERE k.task_id = tasks.id) = 1"
    )
    op.execute(
        "UPDATE idempotency_keys SET project = COALESCE("
        "(SELECT t.project FROM tasks t WHERE t.id = task_id), "
        "(SELECT p.project FROM pipelines p WHERE p.id = task_id), project)"
    )
    op.execute(
        "UPDATE datasets SET owner = (SELECT min(u.owner) FROM uploads u WHERE u.dataset_id = datasets.id) "
        "WHERE (SELECT count(DISTINCT u.owner) FROM uploads u WHERE u.dataset_id = datasets.id) = 1"
    )
    for table, key in (("tasks", "task_id"), ("webhooks", "receiver")):
        op.execute(
            f"UPDATE deliveries SET owner = (SELECT o.owner FROM {table} o WHERE o.id = {key}), "
            f"project = (SELECT o.project FROM {table} o WHERE o.id = {key}) "
            f"WHERE {key} IN (SELECT id FROM {table})" + (" AND task_id IS NULL" if table == "webhooks" else "")
        )


def downgrade() -> None:
    """Take back."""
    with op.batch_alter_table("webhooks") as batch:
        batch.alter_column("project", existing_type=_TEXT, nullable=True)
    op.add_column("webhooks", sa.Column("by", sa.String(length=80), nullable=False, server_default=_FIRST_KEY))
    op.execute('UPDATE webhooks SET "by" = owner, project = only_project')
    for name in ("owner", "only_project"):
        op.drop_column("webhooks", name)
    with op.batch_alter_table("idempotency_keys") as batch:
        batch.alter_column(
            "owner", new_column_name="principal", existing_type=_TEXT, type_=sa.String(length=40)
        )
    op.add_column(
        "pipelines", sa.Column("principal", sa.String(length=40), nullable=False, server_default=_FIRST_KEY)
    )
    op.execute("UPDATE pipelines SET principal = owner")
    op.drop_column("pipelines", "owner")
    for table in (*_BOTH, "uploads", "idempotency_keys"):
        op.drop_column(table, "project")
    for table in (*_BOTH, "tasks"):
        op.drop_column(table, "owner")
