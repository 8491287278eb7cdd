"""API keys, and browsers' sessions that stand for them: only the sha256 is stored, and compared."""

import datetime as dt
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import select

from tunesmith.errors import Forbidden, Unauthorized
from tunesmith.job import read_secret
from tunesmith_platform.clock import now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import ApiKeyRow, BrowserRow
from tunesmith_platform.scope import Scope

ADMIN = "admin"
"""The role that may do everything; the key that `tunesmith up` generates has it."""
WHERE_THE_KEY_IS = (
    "It lies in the file `api-key` of the platform's state folder (`TUNESMITH_HOME`, else `~/.tunesmith`). Set it as "
    "`TUNESMITH_API_KEY`, or send `Authorization: Bearer <key>`."
)
"""What to do for who shows none, or a wrong one."""
HOW_TO_SIGN_IN = "`tunesmith up --open` makes a link for this browser; or show an API key."
_TRUST = dt.timedelta(seconds=10)


class Identity(NamedTuple):
    """Whose key was shown, and what it may do."""

    name: str
    role: str
    looked_up: dt.datetime
    expires_at: dt.datetime | None = None
    """When the session ends that was shown in the key's place; None for a key."""
    key: str = ""
    """What its API key is known by: what it signs ends with that."""

    def scope(self) -> Scope:
        """Whose data it may see and change: the one place where who came in becomes a scope.

        There are no roles yet: each key sees all that there is, and what it makes is its own.
        """
        return Scope(owner=self.name)

    def expect_administrator(self) -> None:
        """See that the key may do what administrators do.

        Raises:
            Forbidden: Its role is another.
        """
        if self.role != ADMIN:
            raise Forbidden(
                f"The key of `{self.name}` has the role `{self.role}`: this is for administrators.",
                hint="Ask an administrator, or use an administrator's key.",
            )


class Keys:
    """Who may come in.

    Args:
        database: Holds the hashes.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, Identity] = {}
        self._sessions: dict[str, Identity] = {}

    def enroll(self, key_file: Path, name: str, role: str = ADMIN) -> None:
        """Let the key in a file in."""
        digest = _digest(read_secret(key_file))
        with self._database.read() as session:
            known = session.get(ApiKeyRow, digest)
        if known is not None and (known.name, known.role) == (name, role):
            return
        row = {"sha256": digest, "name": name, "role": role, "created_at": now()}
        self._database.retry_on_conflict(lambda session: session.merge(ApiKeyRow(**row)))

    def remembered(self, key: str) -> Identity | None:
        """Whose key this is, where that was looked up a moment ago. Asks no database."""
        known = self._known.get(_digest(key))
        # A revoked key is out after that.
        return known if known is not None and now() - known.looked_up <= _TRUST else None

    def identity(self, key: str) -> Identity:
        """Whose key this is.

        Raises:
            Unauthorized: It is nobody's.
        """
        known = self.remembered(key)
        if known is not None:
            return known
        digest = _digest(key)
        with self._database.read() as session:
            row = session.get(ApiKeyRow, digest)
        if row is None:
            self._known.pop(digest, None)
            raise Unauthorized(
                "This API key is not known.",
                hint=WHERE_THE_KEY_IS,
            )
        known = self._known[digest] = Identity(row.name, row.role, now(), key=digest)
        return known

    def remembered_session(self, cookie: str) -> Identity | None:
        """As `remembered`, for a browser's session."""
        known = self._sessions.get(_digest(cookie))
        moment = now()
        is_fresh = known is not None and moment - known.looked_up <= _TRUST
        return known if is_fresh and known and known.expires_at and moment < known.expires_at else None

    def identity_of_session(self, cookie: str) -> Identity:
        """Whose key a browser's session stands for; it ends with that key.

        Raises:
            Unauthorized: It is none of ours, or has ended.
        """
        digest, moment = _digest(cookie), now()
        with self._database.read() as session:
            row = session.get(BrowserRow, digest)
            is_open = row is not None and not row.is_code and row.expires_at > moment
            key = session.get(ApiKeyRow, row.key_sha256) if row is not None and is_open else None
        if row is None or key is None:
            self._sessions.pop(digest, None)
            raise Unauthorized("This browser is not signed in, or no longer.", hint=HOW_TO_SIGN_IN)
        self._sessions = {
            one: known for one, known in self._sessions.items() if moment - known.looked_up <= _TRUST
        }
        known = self._sessions[digest] = Identity(key.name, key.role, moment, row.expires_at, key.sha256)
        return known

    def forget_session(self, cookie: str) -> None:
        """Trust a session no more that was looked up a moment ago."""
        self._sessions.pop(_digest(cookie), None)

    def made_by(self, is_meant: Callable[[str], bool]) -> Identity | None:
        """Whose key is meant; None where none is. Every key is looked at, each time anew.

        Args:
            is_meant: Told what a key is known by.
        """
        with self._database.read() as session:
            rows = session.scalars(select(ApiKeyRow)).all()
            found = [row for row in rows if is_meant(row.sha256)]
            return Identity(found[0].name, found[0].role, now(), key=found[0].sha256) if found else None


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
