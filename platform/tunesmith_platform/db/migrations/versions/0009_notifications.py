"""Webhooks, deliveries, and how far each task's log was looked through for them"""

import sqlalchemy as sa
from alembic import op

from tunesmith_platform.db.tables import Json, UtcDateTime

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table('webhooks',
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('url', sa.Text(), nullable=False),
    sa.Column('project', sa.String(length=120), nullable=True),
    sa.Column('events', Json, nullable=False),
    sa.Column('by', sa.String(length=80), nullable=False),
    sa.Column('created_at', UtcDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('id')
    )
    op.create_table('notice_cursors',
    sa.Column('task_id', sa.String(length=40), nullable=False),
    sa.Column('n', _BIG, nullable=False),
    sa.ForeignKeyConstraint(['task_id'], ['tasks.id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('task_id')
    )
    # What happened before there were notifications is nobody's news any more.
    op.execute('INSERT INTO notice_cursors (task_id, n) SELECT id, events FROM tasks')
    op.create_table('deliveries',
    sa.Column('id', _BIG, autoincrement=True, nullable=False),
    sa.Column('receiver', sa.String(length=40), nullable=False),
    sa.Column('event', sa.String(length=20), nullable=False),
    sa.Column('task_id', sa.String(length=40), nullable=True),
    sa.Column('n', _BIG, nullable=True),
    sa.Column('payload', Json, nullable=False),
    sa.Column('state', sa.String(length=20), nullable=False),
    sa.Column('tries', sa.Integer(), nullable=False),
    sa.Column('next_at', UtcDateTime(), nullable=False),
    sa.Column('status', sa.Integer(), nullable=True),
    sa.Column('message', sa.Text(), nullable=False),
    sa.Column('created_at', UtcDateTime(), nullable=False),
    sa.Column('ended_at', UtcDateTime(), nullable=True),
    sa.PrimaryKeyConstraint('id')
    )
    op.create_index('ux_deliveries_event', 'deliveries', ['receiver', 'task_id', 'n'], unique=True)
    op.create_index('ix_deliveries_due', 'deliveries', ['state', 'next_at'])


def downgrade() -> None:
    op.drop_table('deliveries')
    op.drop_table('notice_cursors')
    op.drop_table('webhooks')
