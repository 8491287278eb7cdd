"""The database connection: SQLite (WAL) on one machine, PostgreSQL for a team; the same code both ways.

A session is one transaction. `write()` takes SQLite's write lock at its beginning, so that a transaction that read
first never fails on upgrading its lock, and commits at its end; nothing else commits.
"""

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.orm import Session

MIGRATIONS = Path(__file__).parent / "migrations"
BINARY = {"tunesmith_binary": True}
"""Execution options of a query that answers many bytes: PostgreSQL sends them as they are, not as text."""


class Database:
    """Sessions on one database.

    Args:
        url: SQLAlchemy URL, `sqlite:///path` or `postgresql+psycopg://...`.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        # One writer at a time is SQLite's rule; waiting for it here is fair, its own busy handler is not.
        self._writer: Any = threading.Lock() if self.is_sqlite else contextlib.nullcontext()
        if self.is_sqlite:
            self.engine = create_engine(
                url, connect_args={"timeout": 30}, pool_size=16, max_overflow=32, json_serializer=_json
            )
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            self.engine = create_engine(
                url, pool_size=16, max_overflow=16, pool_pre_ping=True, json_serializer=_json
            )
            event.listen(self.engine, "do_execute", _execute_binary)
        self._write_engine = self.engine.execution_options(tunesmith_write=True)

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that commits when the block ends, and rolls back when it raises."""
        with self._writer, Session(self._write_engine, expire_on_commit=False) as session, session.begin():
            yield session

    def migrate(self) -> None:
        """Bring the schema up to date."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self.write() as session:
            config.attributes["connection"] = session.connection()
            command.upgrade(config, "head")

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _json(value: Any) -> str:
    """Text as it is, so that a search finds a Chinese tag."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we begin transactions ourselves
    # SQLite's own `lower` knows ASCII alone.
    connection.create_function("lower", 1, lambda text: text.lower() if text else text, deterministic=True)
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # FULL: an acknowledged write survives a power cut too (I1).
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _execute_binary(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
    if BINARY.keys() <= context.execution_options.keys():
        cursor.execute(statement, parameters, binary=True)
        return True
    return None


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("tunesmith_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
