"""A database that another program holds locked. No test itself."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from conftest_platform import Plane


def database_file(plane: Plane) -> str:
    return plane.settings.database_url.removeprefix("sqlite:///")


@contextmanager
def locked(plane: Plane) -> Iterator[None]:
    """Another program writes, and does not come to an end."""
    with closing(sqlite3.connect(database_file(plane), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")
