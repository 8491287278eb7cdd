"""Schema migrations, run by Alembic at start."""
