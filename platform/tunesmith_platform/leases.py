"""Leases in the database: who may do what only one process may do at a time.

A lease runs out by itself, so that a process that was killed holds nobody up for longer; another one on its machine
sees that it is gone, and waits for nothing. On PostgreSQL the times are the database's own: clocks of machines that
differ matter to nobody. Knows the database; knows none of the work.
"""

import contextlib
import datetime as dt
import functools
import hashlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Interval, delete, func, literal, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tunesmith.errors import TunesmithError, Unavailable
from tunesmith_platform.clock import now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import LeaseRow

logger = logging.getLogger(__name__)

_HELD_FOR = dt.timedelta(seconds=30)
"""How long others wait for a piece of work whose process was killed."""
_LOOK_SECONDS = 0.1
"""How often one who waits looks whether a lease is free."""
_RENEWED_AFTER = 3
"""A lease is written anew once this part of its time has passed."""


@functools.cache
def _here() -> str:
    """Names this machine since it was started, and the processes that this one can see."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        return hashlib.sha256(f"{boot}{Path('/proc/self/ns/pid').readlink()}".encode()).hexdigest()[:8]
    except OSError:
        return secrets.token_hex(4)  # nobody's: nothing is said of another process


def new_owner() -> str:
    """Names somebody who takes leases: machine, process, and one of several in it."""
    return f"{_here()}-{os.getpid()}-{secrets.token_hex(4)}"


def is_gone(owner: str | None) -> bool:
    """Whether an owner's process ran on this machine and does so no more."""
    here, _, process = (owner or "").partition("-")
    pid = process.partition("-")[0]
    if here != _here() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


class LeaseLost(Unavailable):
    """A lease ran out and is another's now: what was seen under it is not to be recorded."""


class Lease:
    """A name in the database that one owner has at a time.

    Args:
        database: Where it stands.
        name: What is leased.
        length: How long it is held without being taken again.
        owner: Who asks; one of its own for each lease when None.
    """

    def __init__(self, database: Database, name: str, length: dt.timedelta, owner: str | None = None) -> None:
        self.name = name
        self.owner = owner or new_owner()
        self._database = database
        self._length = length
        self._taken_at: dt.datetime | None = None

    def take(self) -> bool:
        """Take it, or keep it for longer; False while another has it. Writes only when some of its time has passed."""
        moment = now()
        if (
            self._taken_at is not None
            and dt.timedelta() <= moment - self._taken_at < self._length / _RENEWED_AFTER
        ):
            return True
        with self._database.write() as session:
            is_ours = self.take_in(session)
        self._taken_at = moment if is_ours else None
        return is_ours

    def take_in(self, session: Session) -> bool:
        """As `take`, in a transaction of the caller's, which no other owner's passes until it ends."""
        is_postgres = session.get_bind().dialect.name == "postgresql"
        insert: Any = postgresql.insert if is_postgres else sqlite.insert
        moment, until = term(session, self._length)
        # One statement: two that ask at once are told apart by the row itself.
        taken = (
            insert(LeaseRow)
            .values(name=self.name, owner=self.owner, until=until)
            .on_conflict_do_update(
                index_elements=[LeaseRow.name],
                set_={"owner": self.owner, "until": until},
                where=or_(
                    LeaseRow.owner.is_(None),
                    LeaseRow.owner == self.owner,
                    LeaseRow.until.is_(None),
                    LeaseRow.until < moment,
                ),
            )
            .returning(LeaseRow.name)
        )
        return session.execute(taken).first() is not None or self._inherit(session, until)

    def _inherit(self, session: Session, until: Any) -> bool:
        """Take the lease of a process that is gone."""
        owner = session.scalar(select(LeaseRow.owner).where(LeaseRow.name == self.name))
        if not is_gone(owner):
            return False
        inherited = (
            update(LeaseRow)
            .where(LeaseRow.name == self.name, LeaseRow.owner == owner)
            .values(owner=self.owner, until=until)
            .returning(LeaseRow.name)
            .execution_options(synchronize_session=False)
        )
        return session.execute(inherited).first() is not None

    def require(self, session: Session) -> None:
        """Let a transaction record only while the lease is ours, which no other takes until it ends.

        Raises:
            LeaseLost: It is not.
        """
        query = select(LeaseRow.owner).where(LeaseRow.name == self.name).with_for_update()
        if session.scalar(query) != self.owner:
            self._taken_at = None
            raise LeaseLost(f"The lease `{self.name}` is another process's now.")

    def release(self) -> None:
        """Give it up at once."""
        self._taken_at = None
        with self._database.write() as session:
            session.execute(delete(LeaseRow).where(LeaseRow.name == self.name, LeaseRow.owner == self.owner))


def is_taken(database: Database, name: str) -> bool:
    """Whether anybody has a lease now."""
    with database.read() as session:
        query = select(LeaseRow.name).where(
            LeaseRow.name == name, LeaseRow.until > term(session, dt.timedelta())[0]
        )
        return session.scalar(query) is not None


@contextlib.contextmanager
def held(database: Database, name: str, wait_seconds: float) -> Iterator[None]:
    """Be the only one, of all processes, that does a piece of work; no transaction is open while it is done.

    Args:
        database: Where the lease stands.
        name: Of the work.
        wait_seconds: How long to wait while another does it; 0 to leave it to that one.

    Raises:
        Unavailable: Another does it, and did not end in time.
    """
    lease = Lease(database, name, _HELD_FOR)
    deadline = time.monotonic() + wait_seconds
    while not lease.take():
        if time.monotonic() >= deadline:
            raise Unavailable("Another process works on the same thing.", hint="Try again in a moment.")
        time.sleep(_LOOK_SECONDS)
    is_done = threading.Event()
    renewer = threading.Thread(target=_renew, args=(lease, is_done), name="lease", daemon=True)
    renewer.start()
    try:
        yield
    finally:
        is_done.set()
        renewer.join()
        try:
            lease.release()
        except TunesmithError as error:  # it runs out by itself
            logger.warning("the lease %s was not given up: %s", name, error.message)


def _renew(lease: Lease, is_done: threading.Event) -> None:
    """Keep a lease for as long as its work takes."""
    while not is_done.wait(_HELD_FOR.total_seconds() / _RENEWED_AFTER):
        try:
            if not lease.take():
                logger.error("the lease %s ran out while its work went on", lease.name)
                return
        except TunesmithError as error:
            logger.warning("the lease %s was not renewed: %s", lease.name, error.message)


def term(session: Session, length: dt.timedelta) -> tuple[Any, Any]:
    """When a lease begins that is taken now, and when it ends, by the clock that all who use the database have."""
    if session.get_bind().dialect.name == "postgresql":
        moment = func.clock_timestamp()
        return moment, moment + literal(length, Interval)
    return now(), now() + length
