"""Warm runners"""

import sqlalchemy as sa
from alembic import op

import tunesmith_platform.db.tables

revision = '0011'
down_revision = '0010'
branch_labels = None
depends_on = None

_TIME = tunesmith_platform.db.tables.UtcDateTime(timezone=True)


def upgrade() -> None:
    op.create_table('runners',
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('state', sa.String(length=20), nullable=False),
    sa.Column('code', sa.String(length=80), nullable=False),
    sa.Column('job_id', sa.String(length=80), nullable=True),
    sa.Column('document_uri', sa.Text(), nullable=True),
    sa.Column('created_at', _TIME, nullable=False),
    sa.Column('seen_at', _TIME, nullable=True),
    sa.Column('assigned_at', _TIME, nullable=True),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('job_id')
    )
    op.execute("INSERT INTO leases (name) VALUES ('runners')")


def downgrade() -> None:
    op.execute("DELETE FROM leases WHERE name = 'runners'")
    op.drop_table('runners')
