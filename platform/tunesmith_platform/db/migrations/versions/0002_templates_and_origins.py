"""Templates, and where a task comes from"""

import sqlalchemy as sa
from alembic import op

import tunesmith_platform.db.tables
from sqlalchemy.dialects import postgresql

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('templates',
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('name', sa.String(length=120), nullable=False),
    sa.Column('kind', sa.String(length=20), nullable=False),
    sa.Column('description', sa.Text(), nullable=False),
    sa.Column('description_zh', sa.Text(), nullable=False),
    sa.Column('hides', sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), 'postgresql'), nullable=False),
    sa.Column('parameters', sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), 'postgresql'), nullable=False),
    sa.Column('created_at', tunesmith_platform.db.tables.UtcDateTime(timezone=True), nullable=False),
    sa.Column('updated_at', tunesmith_platform.db.tables.UtcDateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id')
    )
    with op.batch_alter_table('templates', schema=None) as batch_op:
        batch_op.create_index('ux_templates_name', ['name'], unique=True)

    op.add_column('tasks', sa.Column('template', sa.String(length=120), nullable=True))
    op.add_column('tasks', sa.Column('parent_id', sa.String(length=40), nullable=True))
    op.add_column('tasks', sa.Column('parent_step', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=True))
    op.add_column('tasks', sa.Column('attempts_before', sa.Integer(), nullable=False, server_default='0'))


def downgrade() -> None:
    op.drop_column('tasks', 'attempts_before')
    op.drop_column('tasks', 'parent_step')
    op.drop_column('tasks', 'parent_id')
    op.drop_column('tasks', 'template')
    with op.batch_alter_table('templates', schema=None) as batch_op:
        batch_op.drop_index('ux_templates_name')

    op.drop_table('templates')
