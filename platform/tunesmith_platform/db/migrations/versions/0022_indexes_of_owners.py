"""What is an owner's is found by an index, and a webhook's deliveries are its owner's.

They were of the task's owner: whose webhook it is could not see how it went, and another saw where it was posted to.
"""

from alembic import op

revision = "0022"
down_revision = "0020"
branch_labels = None
depends_on = None
_BY_NUMBER = ("tasks", "pipelines", "deliveries")
"""Whose lists are read in the order of their ids."""
_FEW = ("datasets", "models", "templates", "measurements", "webhooks")


def upgrade() -> None:
    """Apply."""
    for table in _BY_NUMBER:
        op.create_index(f"ix_{table}_owner", table, ["owner", "id"])
    for table in _FEW:
        op.create_index(f"ix_{table}_owner", table, ["owner"])
    op.execute(
        "UPDATE deliveries SET owner = (SELECT w.owner FROM webhooks w WHERE w.id = receiver), "
        "project = (SELECT w.project FROM webhooks w WHERE w.id = receiver) "
        "WHERE receiver IN (SELECT id FROM webhooks)"
    )


def downgrade() -> None:
    """Take back."""
    for table in (*_FEW, *_BY_NUMBER):
        op.drop_index(f"ix_{table}_owner", table)
