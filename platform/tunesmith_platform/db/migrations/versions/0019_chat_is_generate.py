"""Tasks that let a model answer prompts are of the kind `generate`; a pipeline keeps the notices of its file.

Revision ID: 0019
Revises: 0018
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None
_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
_KINDS = (("tasks", "kind"), ("pipeline_steps", "kind"), ("pipeline_steps", "method"))


def upgrade() -> None:
    """Apply."""
    _rename("chat", "generate")
    op.add_column("pipelines", sa.Column("notices", _JSON, nullable=False, server_default="[]"))


def downgrade() -> None:
    """Take back."""
    op.drop_column("pipelines", "notices")  # in place: a table that is made anew takes its steps with it
    _rename("generate", "chat")


def _rename(old: str, new: str) -> None:
    for name, word in _KINDS:
        table = sa.table(name, sa.column(word, sa.String))
        op.execute(sa.update(table).where(table.c[word] == old).values({word: new}))
