"""The database's schema: what this version needs, what a database has, and bringing one up to the other.

One process migrates at a time: on PostgreSQL under an advisory lock, on SQLite under its one write lock. Who waited
finds the work done. A schema that this version does not know is left as it is.
"""

import functools
import re
import sqlite3
from enum import StrEnum
from pathlib import Path

from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from tunesmith.errors import Unavailable
from tunesmith_platform.db.engine import Database, advisory_lock

MIGRATIONS = Path(__file__).parent / "migrations"
_VERSION = text("SELECT version_num FROM alembic_version")
_REVISION = r"^(down_)?revision = ['\"]([^'\"]+)['\"]"
_LOCK = "schema"
_WAIT_SECONDS = 30.0
MIGRATE_SECONDS = 600.0
"""How long to wait for another process that migrates, where nobody waits for an answer."""
_NO_SUCH_TABLE = "42P01"
_CURE = "`tunesmith migrate` brings it up to date, once for all processes that use it."


class Schema(StrEnum):
    """How a database's schema stands to what this version needs."""

    CURRENT = "current"
    EMPTY = "empty"
    OLDER = "older"
    UNKNOWN = "unknown"


def state(database: Database) -> Schema:
    """How a database's schema stands to this version; reads one row, for a start takes no longer than it must.

    Raises:
        DatabaseBusy: The database does not answer.
    """
    return _state(_revision(database))


def require(database: Database) -> None:
    """Refuse a database whose schema is not this version's: what is read or written there could be wrong.

    Raises:
        Unavailable: It has none, an older or a newer one; says what to do.
    """
    revision = _revision(database)
    found = _state(revision)
    if found is Schema.EMPTY:
        raise Unavailable("The database has no tables yet.", hint=_CURE)
    if found is Schema.OLDER:
        raise Unavailable(
            f"The database's schema is {revision}, older than this version of Tunesmith, which needs {newest()}.",
            hint=_CURE,
        )
    if found is Schema.UNKNOWN:
        raise _unknown(revision)


def watch(database: Database) -> None:
    """Let a database that another version migrates while this process runs be told of, not fail in odd ways.

    A newer version adds before it takes away, so that this one goes on; what does not fit is refused with the reason.
    """
    database.explain = lambda: migrated_since(database)


def migrated_since(database: Database) -> Unavailable | None:
    """What is to be said where the schema is another version's now; None where it is this one's, or nobody knows."""
    try:
        # Not as others read: they ask this where they fail.
        with database.engine.connect() as connection:
            revision = connection.scalar(_VERSION)
    except SQLAlchemyError:
        return None
    found = _state(revision)
    if found is Schema.UNKNOWN:
        return Unavailable(
            f"The database's schema is {revision} now, which a newer version of Tunesmith made while this process ran "
            f"(it needs {newest()}).",
            hint="Start this process again, of that version.",
        )
    if found is Schema.OLDER:
        return Unavailable(
            f"The database's schema is {revision} now, older than this process needs ({newest()}): a backup was "
            "restored, or it was taken back.",
            hint=_CURE,
        )
    return None


def require_place(database: Database, *, is_made: bool) -> None:
    """Refuse an SQLite database that is not there, before it is taken for one that does not answer.

    Args:
        database: The database.
        is_made: Whether it is made where only its folder is there.

    Raises:
        Unavailable: It is not there; says what nobody did.
    """
    name = database.engine.url.database
    if database.engine.url.get_backend_name() != "sqlite" or not name:
        return
    file = Path(name)
    if not file.exists() and not (is_made and file.parent.is_dir()):
        raise Unavailable(
            f"Nothing was set up in `{file.parent}`: it has no database.",
            hint="Nobody ran `tunesmith up` or `tunesmith migrate` there. Another folder is named by `TUNESMITH_HOME`, "
            "another database by `TUNESMITH_DATABASE_URL`.",
        )


def migrate(database: Database, wait_seconds: float = _WAIT_SECONDS) -> bool:
    """Bring a database's schema up to this version; whether there was anything to do.

    Args:
        database: The database.
        wait_seconds: How long to wait for another process that migrates it, or holds it.

    Raises:
        Unavailable: Its schema is one that this version does not know.
        DatabaseBusy: The other took longer.
    """
    if state(database) is Schema.CURRENT:
        return False
    with database.write(wait_seconds) as session:
        advisory_lock(session, _LOCK)
        # Only now is it certain: another may have migrated while this one waited.
        revision = _revision_in(session)
        found = _state(revision)
        if found is Schema.CURRENT:
            return False
        if found is Schema.UNKNOWN:
            raise _unknown(revision)
        bring_to(session, newest())
    return True


def bring_to(session: Session, revision: str) -> None:
    """Bring the schema of a transaction's database up to a revision; nothing where it is there.

    Args:
        session: The transaction.
        revision: One that this version knows, and no older than the schema.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = session.connection()
    command.upgrade(config, "head" if revision == newest() else revision)


def require_known(revision: str) -> None:
    """Refuse a schema that a newer version made.

    Raises:
        Unavailable: This version does not know the revision.
    """
    if _state(revision) is Schema.UNKNOWN:
        raise _unknown(revision)


def newest() -> str:
    """The revision that this version needs: the one that nothing comes after."""
    own, before = _revisions()
    (last,) = own - before
    return last


def _state(revision: str | None) -> Schema:
    if revision is None:
        return Schema.EMPTY
    if revision == newest():
        return Schema.CURRENT
    return Schema.OLDER if revision in _revisions()[0] else Schema.UNKNOWN


def _unknown(revision: str | None) -> Unavailable:
    return Unavailable(
        f"The database's schema is {revision}, which this version of Tunesmith does not know (it needs {newest()}): a "
        "newer version made it.",
        hint="Run that version here too, or restore the backup from before it.",
    )


def _revision(database: Database) -> str | None:
    """Where the schema is; None where there is none yet."""
    try:
        with database.read() as session:
            return session.scalars(_VERSION).one_or_none()
    except DBAPIError as error:
        cause = error.orig
        is_missing = getattr(cause, "sqlstate", None) == _NO_SUCH_TABLE
        if is_missing or getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
            return None
        raise


def _revision_in(session: Session) -> str | None:
    # Asked for by name: on PostgreSQL a statement that fails would end the transaction.
    is_there = inspect(session.connection()).has_table("alembic_version")
    return session.scalars(_VERSION).one_or_none() if is_there else None


@functools.cache
def _revisions() -> tuple[frozenset[str], frozenset[str]]:
    """Every revision that this version knows, and those that another comes after.

    Read from the files, because Alembic's own import takes longer than all that.
    """
    own: set[str] = set()
    before: set[str] = set()
    for file in (MIGRATIONS / "versions").glob("*.py"):
        for is_before, name in re.findall(_REVISION, file.read_text(), re.MULTILINE):
            (before if is_before else own).add(name)
    return frozenset(own), frozenset(before)
