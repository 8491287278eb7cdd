"""Measured preflights"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import tunesmith_platform.db.tables

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), 'postgresql')


def upgrade() -> None:
    op.create_table('measurements',
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('key', sa.String(length=64), nullable=False),
    sa.Column('state', sa.String(length=20), nullable=False),
    sa.Column('message', sa.Text(), nullable=False),
    sa.Column('spec', _JSON, nullable=False),
    sa.Column('inputs', _JSON, nullable=False),
    sa.Column('result', _JSON, nullable=True),
    sa.Column('created_at', tunesmith_platform.db.tables.UtcDateTime(timezone=True), nullable=False),
    sa.Column('ended_at', tunesmith_platform.db.tables.UtcDateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('id')
    )
    with op.batch_alter_table('measurements', schema=None) as batch_op:
        batch_op.create_index('ix_measurements_key', ['key', 'id'], unique=False)
        batch_op.create_index('ix_measurements_state', ['state'], unique=False)


def downgrade() -> None:
    op.drop_table('measurements')
