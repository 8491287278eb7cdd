"""The database connection: SQLite (WAL) on one machine, PostgreSQL for a team; the same code both ways.

A session is one transaction. `write()` takes SQLite's write lock at its beginning, so that a transaction that read
first never fails on upgrading its lock, and commits at its end; nothing else commits.

Nobody waits long for a database that another program has locked: after `PATIENCE_SECONDS` a transaction gives up,
having stored nothing. Our own writers wait for each other longer, because each of them gets on.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from tunesmith.errors import DatabaseBusy, DiskFull, Unavailable
from tunesmith_platform.db.sqlite_mode import use_wal

logger = logging.getLogger(__name__)
T = TypeVar("T")

BINARY = {"tunesmith_binary": True}
"""Execution options of a query that answers many bytes: PostgreSQL sends them as they are, not as text."""
PATIENCE_SECONDS = 1.5
"""How long a transaction waits for a lock that another program holds; an answer is to come within two seconds."""
_OWN_PATIENCE_SECONDS = 30.0
"""How long our own writers wait for each other."""
_HURRY_SECONDS = 0.2
"""How long one waits while the database has been found locked just now: many wait then, on few threads."""
_SAID_AGAIN_SECONDS = 30.0
_PATIENCE = "tunesmith_patience"
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_AGAIN = "Nothing was stored; try again in a moment."
_POSTGRES_LOCKED = "55P03"
_POSTGRES_DISK_FULL = "53100"
CONNECTIONS = 32
"""How many a process may open to PostgreSQL; see `connections.shortage`."""
_KEPT = 16
NAME = "tunesmith"
"""How the names begin by which PostgreSQL knows the processes."""
_TRIES = 5
"""How often what raced with others is done: each time one of them has got on."""
_POSTGRES_RACES = frozenset({"23503", "23505"})
_SQLITE_RACES = frozenset(
    {
        sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY,
        sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        sqlite3.SQLITE_CONSTRAINT_ROWID,
        sqlite3.SQLITE_CONSTRAINT_UNIQUE,
    }
)
AWAY = (OperationalError, PoolTimeout)
"""What SQLAlchemy raises where the database is locked, away or full."""


class Raced(DatabaseBusy):
    """Another transaction stored the same thing, or deleted what this one builds on, at the same moment.

    Nothing was stored. Done again, a transaction sees what the other did: see `Database.retry_on_conflict`.
    """


def _refused_by(error: IntegrityError | StaleDataError) -> str:
    """What refused it. PostgreSQL's own words would say the values too, and one may be a secret."""
    cause = error.orig if isinstance(error, IntegrityError) else None
    named = getattr(getattr(cause, "diag", None), "constraint_name", None)
    return str(named or cause or "a row that is gone")


def _is_race(error: IntegrityError | StaleDataError) -> bool:
    """Whether a unique or foreign key, or a row that is gone, refused it; what else is refused is a fault of ours."""
    cause = error.orig if isinstance(error, IntegrityError) else None
    return (
        isinstance(error, StaleDataError)
        or getattr(cause, "sqlstate", None) in _POSTGRES_RACES
        or getattr(cause, "sqlite_errorcode", None) in _SQLITE_RACES
    )


def why_away(error: BaseException) -> Unavailable | None:
    """What one of `AWAY` means for users; None where it is a fault of ours, like a table that is not there."""
    if isinstance(error, PoolTimeout):
        return DatabaseBusy("Every connection to the database is in use.", hint=_AGAIN)
    cause = error.orig if isinstance(error, DBAPIError) else None
    sqlite, postgres = getattr(cause, "sqlite_errorcode", None), getattr(cause, "sqlstate", None)
    if sqlite is not None:
        sqlite &= 0xFF  # the rest says more of the same
        if sqlite == sqlite3.SQLITE_ERROR:
            return None
    if sqlite == sqlite3.SQLITE_FULL or postgres == _POSTGRES_DISK_FULL:
        return DiskFull(
            "The disk of the database is full.",
            hint="Free space on it; nothing that was acknowledged is lost.",
        )
    if sqlite in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or postgres == _POSTGRES_LOCKED:
        return DatabaseBusy("The database is locked by another program.", hint=_AGAIN)
    return DatabaseBusy("The database does not answer.", hint=_AGAIN)


class Database:
    """Sessions on one database.

    Args:
        url: SQLAlchemy URL, `sqlite:///path` or `postgresql+psycopg://...`.
        patience: Seconds to wait for a lock that another program holds.
    """

    def __init__(self, url: str, patience: float = PATIENCE_SECONDS) -> None:
        self.url = url
        self.patience = patience
        self.is_sqlite = url.startswith("sqlite")
        self.explain: Callable[[], Unavailable | None] = lambda: None
        """Asked where a statement does not fit the tables: what is the matter with the database. See `schema.watch`."""
        self.note: Callable[[Session], Callable[[], None]] = _notes_nothing
        """Asked before a transaction that writes is committed: stores with it who wants it. What it answers is called
        when it is committed. See `audit.service`."""
        # One writer at a time is SQLite's rule; waiting for it here is fair, its own busy handler is not.
        self._turn = _Turn() if self.is_sqlite else None
        if self.is_sqlite:
            self.engine = create_engine(
                url,
                connect_args={"timeout": patience},
                pool_size=16,
                max_overflow=32,
                pool_timeout=PATIENCE_SECONDS,
                json_serializer=json_text,
                hide_parameters=True,  # an error goes into the log, and a webhook's URL may hold a key
            )
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            self.engine = create_engine(
                url,
                connect_args={"application_name": f"{NAME} {socket.gethostname()}:{os.getpid()}"[:63]},
                pool_size=_KEPT,
                max_overflow=CONNECTIONS - _KEPT,
                pool_timeout=PATIENCE_SECONDS,
                pool_pre_ping=True,
                json_serializer=json_text,
                hide_parameters=True,  # an error goes into the log, and a webhook's URL may hold a key
            )
            event.listen(self.engine, "connect", _prepare_postgres)
            event.listen(self.engine, "do_execute", _execute_binary)
        self._write_engine = self.engine.execution_options(tunesmith_write=True)

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads."""
        with self._worded(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextlib.contextmanager
    def write(self, patience: float | None = None) -> Iterator[Session]:
        """A transaction that commits when the block ends, and rolls back when it raises.

        Args:
            patience: Seconds to wait while another program holds the lock; None as everywhere.

        Raises:
            DatabaseBusy: Another program holds the lock; nothing was stored.
        """
        with self._worded():
            if self._turn is None:
                with Session(self._write_engine, expire_on_commit=False) as session, session.begin():
                    if patience is not None:
                        session.execute(text(f"SET LOCAL lock_timeout = {patience * 1000:.0f}"))
                    yield session
                    committed = self.note(session)
                committed()
                return
            asked = self.patience if patience is None else patience
            with (
                self._turn.taken(asked, may_hurry=patience is None) as left,
                Session(self._write_engine, expire_on_commit=False) as session,
                session.begin(),
            ):
                with self._turn.beginning(tells=patience is None):
                    session.connection(execution_options={_PATIENCE: left})
                yield session
                committed = self.note(session)
            committed()

    @contextlib.contextmanager
    def _worded(self) -> Iterator[None]:
        """Say what is the matter with the database in our words."""
        try:
            yield
        except AWAY as error:
            known = why_away(error) or self.explain()
            if known is None:
                raise
            raise known from error
        except (IntegrityError, StaleDataError) as error:
            if not _is_race(error):
                if (known := self.explain()) is not None:
                    raise known from error
                raise
            logger.warning("a transaction raced with another: %s", _refused_by(error))
            raise Raced("Another call changed the same thing at the same moment.", hint=_AGAIN) from error
        except DBAPIError as error:
            if (known := self.explain()) is not None:
                raise known from error
            raise

    def retry_on_conflict(self, work: Callable[[Session], T]) -> T:
        """What `work` answers in a transaction of its own; done again where another transaction raced with it.

        It looks for what is there before it stores anything: the second time it finds what the other stored. So a race
        for a name ends as it does for one who comes a second later.

        Args:
            work: What is done in the transaction, and nothing that outlives one that is rolled back.

        Raises:
            DatabaseBusy: It raced each time, or the database is away.
        """
        for _ in range(_TRIES - 1):
            try:
                with self.write() as session:
                    return work(session)
            except Raced:
                continue
        with self.write() as session:
            return work(session)

    def ping(self) -> None:
        """Ask whether the database answers at all.

        Raises:
            DatabaseBusy: It does not.
        """
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def answers(self) -> bool:
        """Whether the database answers; waits as long as a connection takes."""
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except AWAY:
            return False
        return True

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _nothing() -> None:
    """What follows where nothing was noted."""


def _notes_nothing(_session: Session) -> Callable[[], None]:
    return _nothing


class _Turn:
    """Whose turn it is to write: one thread's at a time.

    A thread waits for the others as long as these get on, but not while the one whose turn it is waits for another
    program: then all have to be answered soon.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begins_at: float | None = None
        self._locked_at = float("-inf")
        """When the database was last found locked; long ago once a transaction has begun."""

    @contextlib.contextmanager
    def taken(self, patience: float, *, may_hurry: bool) -> Iterator[float]:
        """Have one's turn; gives the seconds that may still be waited for another program.

        Args:
            patience: Seconds to wait while another program holds the lock.
            may_hurry: Whether less of it will do while the database has been found locked just now.

        Raises:
            DatabaseBusy: It did not come in time.
        """
        asked_at = time.monotonic()
        if may_hurry and asked_at - self._locked_at < PATIENCE_SECONDS:
            patience = min(patience, _HURRY_SECONDS)
        wait = patience
        while not self._lock.acquire(timeout=wait):
            moment = time.monotonic()
            if self._is_stuck(moment):
                raise DatabaseBusy("The database is locked by another program.", hint=_AGAIN)
            if moment - asked_at > max(patience, _OWN_PATIENCE_SECONDS):
                raise DatabaseBusy("The database has too much to write.", hint=_AGAIN)
            wait = _HURRY_SECONDS
        try:
            yield max(min(patience, _HURRY_SECONDS), asked_at + patience - time.monotonic())
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def beginning(self, *, tells: bool) -> Iterator[None]:
        """Around the beginning of a transaction, which waits for other programs.

        Args:
            tells: Whether it waits so long that others need not wait as long after it in vain.
        """
        self._begins_at = time.monotonic()
        try:
            yield
        except OperationalError:
            if not tells:
                raise
            if self._begins_at - self._locked_at > _SAID_AGAIN_SECONDS:
                logger.warning("the database is locked by another program")
            self._locked_at = time.monotonic()
            raise
        else:
            self._locked_at = float("-inf")
        finally:
            self._begins_at = None

    def _is_stuck(self, moment: float) -> bool:
        begins_at = self._begins_at
        is_waiting = begins_at is not None and moment - begins_at > _HURRY_SECONDS / 2
        return is_waiting or moment - self._locked_at < PATIENCE_SECONDS


def advisory_lock(session: Session, name: str) -> None:
    """Let one transaction at a time, of all processes, go on from here; it ends with the transaction.

    For what a unique key cannot say: that nothing of the kind is there, or no more than so many. SQLite's transactions
    that write are alone anyway.

    Args:
        session: The transaction, one of `Database.write`.
        name: What they are alone with.
    """
    if session.get_bind().dialect.name == "postgresql":
        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


def storable(text: str) -> str:
    """JSON without the NULs that it holds, each replaced as any character that cannot be shown: PostgreSQL takes none.

    What others wrote may hold one anywhere: a job's log, a model's configuration.
    """
    return _NUL.sub("\\1\ufffd", text) if "\\u0000" in text else text


def json_text(value: Any) -> str:
    """Text as it is, so that a search finds a Chinese tag."""
    return storable(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we begin transactions ourselves
    # SQLite's own `lower` knows ASCII alone.
    connection.create_function("lower", 1, lambda text: text.lower() if text else text, deterministic=True)
    cursor = connection.cursor()
    use_wal(cursor, PATIENCE_SECONDS)
    # FULL: an acknowledged write survives a power cut too (I1).
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _prepare_postgres(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = {PATIENCE_SECONDS * 1000:.0f}")
    connection.commit()  # a rollback would take it back


def _execute_binary(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
    if BINARY.keys() <= context.execution_options.keys():
        cursor.execute(statement, parameters, binary=True)
        return True
    return None


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    left = options.get(_PATIENCE, PATIENCE_SECONDS)
    if abs(connection.info.get(_PATIENCE, PATIENCE_SECONDS) - left) > _HURRY_SECONDS / 2:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {left * 1000:.0f}")
        connection.info[_PATIENCE] = left
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("tunesmith_write") else "BEGIN")
