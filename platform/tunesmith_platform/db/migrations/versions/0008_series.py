"""Measurements packed into chunks, and how far each task's are"""

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.add_column('tasks', sa.Column('folded', _BIG, nullable=False, server_default='0'))
    op.create_table('series_chunks',
    sa.Column('task_id', sa.String(length=40), nullable=False),
    sa.Column('name', sa.String(length=200), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('segment', sa.Integer(), nullable=False),
    sa.Column('attempt', sa.Integer(), nullable=False),
    sa.Column('start', _BIG, nullable=False),
    sa.Column('points', sa.Integer(), nullable=False),
    sa.Column('first_step', _BIG, nullable=False),
    sa.Column('last_step', _BIG, nullable=False),
    sa.Column('rollup', sa.LargeBinary(), nullable=False),
    sa.Column('data', sa.LargeBinary(), nullable=False),
    sa.ForeignKeyConstraint(['task_id'], ['tasks.id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('task_id', 'name', 'number')
    )
    if op.get_bind().dialect.name == 'postgresql':
        # Measurements hardly compress; trying to costs more than the whole rest of an ingest.
        op.execute('ALTER TABLE series_chunks ALTER rollup SET STORAGE EXTERNAL, ALTER data SET STORAGE EXTERNAL')


def downgrade() -> None:
    op.drop_table('series_chunks')
    op.drop_column('tasks', 'folded')
