"""Checkpoints that were asked for, that are the best, that are pinned"""

import sqlalchemy as sa
from alembic import op

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('tasks', sa.Column('save_requests', sa.Integer(), nullable=False, server_default='0'))
    op.add_column('checkpoints', sa.Column('is_best', sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column('checkpoints', sa.Column('is_pinned', sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    op.drop_column('checkpoints', 'is_pinned')
    op.drop_column('checkpoints', 'is_best')
    op.drop_column('tasks', 'save_requests')
