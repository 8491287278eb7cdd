"""Pipelines and their steps"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import tunesmith_platform.db.tables

revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), 'postgresql')
_TIME = tunesmith_platform.db.tables.UtcDateTime(timezone=True)


def upgrade() -> None:
    op.create_table('pipelines',
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('name', sa.String(length=120), nullable=False),
    sa.Column('project', sa.String(length=120), nullable=False),
    sa.Column('workflow', sa.String(length=120), nullable=False),
    sa.Column('principal', sa.String(length=40), nullable=False),
    sa.Column('request', _JSON, nullable=False),
    sa.Column('reuse', sa.Boolean(), nullable=False),
    sa.Column('state', sa.String(length=20), nullable=False),
    sa.Column('desired', sa.String(length=10), nullable=False),
    sa.Column('message', sa.Text(), nullable=False),
    sa.Column('created_at', _TIME, nullable=False),
    sa.Column('ended_at', _TIME, nullable=True),
    sa.PrimaryKeyConstraint('id')
    )
    op.create_table('pipeline_steps',
    sa.Column('pipeline_id', sa.String(length=40), nullable=False),
    sa.Column('position', sa.Integer(), nullable=False),
    sa.Column('name', sa.String(length=80), nullable=False),
    sa.Column('kind', sa.String(length=20), nullable=False),
    sa.Column('component', sa.String(length=80), nullable=False),
    sa.Column('method', sa.String(length=20), nullable=False),
    sa.Column('parameters', _JSON, nullable=False),
    sa.Column('hands_on', _JSON, nullable=True),
    sa.Column('needs', _JSON, nullable=False),
    sa.Column('state', sa.String(length=20), nullable=False),
    sa.Column('message', sa.Text(), nullable=False),
    sa.Column('attempt', sa.Integer(), nullable=False),
    sa.Column('key', sa.String(length=64), nullable=True),
    sa.Column('outputs', _JSON, nullable=False),
    sa.Column('output', _JSON, nullable=True),
    sa.Column('task_id', sa.String(length=40), nullable=True),
    sa.Column('is_reused', sa.Boolean(), nullable=False),
    sa.Column('started_at', _TIME, nullable=True),
    sa.Column('ended_at', _TIME, nullable=True),
    sa.ForeignKeyConstraint(['pipeline_id'], ['pipelines.id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('pipeline_id', 'position')
    )
    with op.batch_alter_table('pipelines', schema=None) as batch_op:
        batch_op.create_index('ix_pipelines_ended', ['ended_at'], unique=False)
    with op.batch_alter_table('pipeline_steps', schema=None) as batch_op:
        batch_op.create_index('ix_pipeline_steps_key', ['key'], unique=False)
    op.execute("INSERT INTO leases (name) VALUES ('pipelines')")


def downgrade() -> None:
    op.execute("DELETE FROM leases WHERE name = 'pipelines'")
    op.drop_table('pipeline_steps')
    op.drop_table('pipelines')
