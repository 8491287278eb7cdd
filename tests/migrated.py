"""Databases that hold the schema already: the product's own migrations make it once a run, and it is copied from there.

Migrating takes 0.13 s of processor time, and more than a thousand tests each want a database of their own.
"""

import contextlib
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

from real_postgres import own_database
from sqlalchemy import make_url

from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.schema import migrate


@functools.cache
def sqlite_file() -> bytes:
    """What the file of a new SQLite database holds."""
    with tempfile.TemporaryDirectory(prefix="tunesmith-schema-") as folder:
        file = Path(folder) / "tunesmith.db"
        _migrate(f"sqlite:///{file}")
        return file.read_bytes()


@contextlib.contextmanager
def postgres_template(server: str) -> Iterator[str]:
    """A database to copy; gives its name. Nobody may be connected to it while it is copied."""
    with own_database(server) as url:
        _migrate(url)
        yield make_url(url).database or ""


def _migrate(url: str) -> None:
    database = Database(url)
    migrate(database)
    database.close()
