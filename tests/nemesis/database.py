"""The database of a platform that is hurt: SQLite's file, or PostgreSQL's server. Knows no process."""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from tunesmith.home import Home

_WAIT_SECONDS = 5


class Locked(Exception):
    """Somebody else holds the lock."""


class HurtDatabase:
    """What is done to it, and asked of it behind the platform's back.

    Args:
        home: The state folder, which holds SQLite's file.
        url: PostgreSQL's, where that is the database.
    """

    def __init__(self, home: Home, url: str = "") -> None:
        self._home = home
        self._engine = create_engine(url, poolclass=NullPool) if url else None

    def lock(self) -> Callable[[], None]:
        """Hold the lock that whoever writes waits for; answers what ends that.

        Raises:
            Locked: Others hold it for long.
        """
        if self._engine is None:
            database = sqlite3.connect(
                self._home.database, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                database.close()
                raise Locked(str(error)) from error
            return database.close
        connection = self._engine.connect()
        try:
            connection.execute(text(f"SET LOCAL lock_timeout = '{_WAIT_SECONDS}s'"))
            connection.execute(text("LOCK TABLE tasks, events IN EXCLUSIVE MODE"))
        except OperationalError as error:
            connection.close()
            raise Locked(str(error.orig)) from error
        return connection.close

    def runners(self) -> list[tuple[str, str]]:
        """The runners that were given a job, and which."""
        query = "SELECT id, job_id FROM runners WHERE job_id IS NOT NULL"
        if self._engine is not None:
            with self._engine.connect() as connection:
                return [(row.id, row.job_id) for row in connection.execute(text(query))]
        with contextlib.closing(sqlite3.connect(f"file:{self._home.database}?mode=ro", uri=True)) as database:
            return [(row[0], row[1]) for row in database.execute(query)]

    def keep(self, folder: Path) -> None:
        """Keep what it holds, of SQLite; PostgreSQL's goes with its server."""
        if self._engine is not None:
            return
        with (
            contextlib.suppress(OSError, sqlite3.Error),
            contextlib.closing(sqlite3.connect(self._home.database)) as source,
            contextlib.closing(sqlite3.connect(folder / "tunesmith.db")) as copy,
        ):
            source.backup(copy)
