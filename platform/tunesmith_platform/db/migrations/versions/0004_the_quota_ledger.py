"""The quota ledger, and why a task was asked to stop"""

import sqlalchemy as sa
from alembic import op

import tunesmith_platform.db.tables

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.add_column('tasks', sa.Column('stop_reason', sa.String(length=40), nullable=True))
    op.create_table('quota_projects',
    sa.Column('project', sa.String(length=120), nullable=False),
    sa.Column('enabled', sa.Boolean(), nullable=False),
    sa.Column('low_threshold', _BIG, nullable=False),
    sa.Column('is_low', sa.Boolean(), nullable=False),
    sa.Column('granted', _BIG, nullable=False),
    sa.Column('charged', _BIG, nullable=False),
    sa.Column('reserved', _BIG, nullable=False),
    sa.PrimaryKeyConstraint('project')
    )
    op.create_table('quota_entries',
    sa.Column('id', _BIG, autoincrement=True, nullable=False),
    sa.Column('project', sa.String(length=120), nullable=False),
    sa.Column('time', tunesmith_platform.db.tables.UtcDateTime(timezone=True), nullable=False),
    sa.Column('kind', sa.String(length=20), nullable=False),
    sa.Column('amount', _BIG, nullable=False),
    sa.Column('reserved', _BIG, nullable=False),
    sa.Column('available', _BIG, nullable=False),
    sa.Column('task_id', sa.String(length=40), nullable=True),
    sa.Column('step', _BIG, nullable=True),
    sa.Column('note', sa.Text(), nullable=False),
    sa.Column('by', sa.String(length=80), nullable=False),
    sa.Column('key', sa.String(length=200), nullable=True),
    sa.PrimaryKeyConstraint('id')
    )
    with op.batch_alter_table('quota_entries', schema=None) as batch_op:
        batch_op.create_index('ix_quota_entries_project', ['project', 'id'], unique=False)
        batch_op.create_index('ux_quota_entries_key', ['project', 'by', 'key'], unique=True)
        batch_op.create_index('ux_quota_entries_step', ['task_id', 'step'], unique=True)


def downgrade() -> None:
    op.drop_table('quota_entries')
    op.drop_table('quota_projects')
    op.drop_column('tasks', 'stop_reason')
