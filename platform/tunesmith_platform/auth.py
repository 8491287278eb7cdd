"""API keys, and browsers' sessions that stand for them: only the sha256 is stored, and compared."""

import contextlib
import datetime as dt
import hashlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from tunesmith.access import Role
from tunesmith.errors import Forbidden, Unauthorized, Unavailable
from tunesmith.job import read_secret
from tunesmith_platform.clock import new_id, now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import ApiKeyRow, BrowserRow
from tunesmith_platform.scope import DEFAULT_PROJECT, Scope

WHERE_THE_KEY_IS = (
    "It lies in the file `api-key` of the platform's state folder (`TUNESMITH_HOME`, else `~/.tunesmith`). Set it as "
    "`TUNESMITH_API_KEY`, or send `Authorization: Bearer <key>`."
)
"""What to do for who shows none, or a wrong one."""
HOW_TO_SIGN_IN = "`tunesmith up --open` makes a link for this browser; or show an API key."
_TRUST = dt.timedelta(seconds=10)
_AT_ONCE = 500
_USED_AGAIN = dt.timedelta(hours=1)
"""How long before it is noted again that a key was used."""


class Identity(NamedTuple):
    """Whose key was shown, and what it may do."""

    name: str
    role: Role
    looked_up: dt.datetime
    expires_at: dt.datetime | None = None
    """When the session that was shown in the key's place ends, or the key; None where neither does by itself."""
    key: str = ""
    """What its API key is known by: what it signs ends with that."""
    projects: frozenset[str] | None = None
    """Where it works; None: everywhere."""
    key_id: str = ""
    """What its API key is called where it is listed."""

    def scope(self) -> Scope:
        """Whose data it may see and change: the one place where who came in becomes a scope.

        Raises:
            Forbidden: It works in no project yet.
        """
        if self.projects is None:
            return Scope(owner=self.name)
        if not self.projects:
            raise Forbidden(
                f"`{self.name}` works in no project yet.",
                hint="Ask an administrator: `tunesmith projects add PROJECT NAME`.",
            )
        first = DEFAULT_PROJECT if DEFAULT_PROJECT in self.projects else min(self.projects)
        return Scope(owner=self.name, project=first, projects=self.projects)

    def expect_everything(self) -> None:
        """See that it works in every project.

        Raises:
            Forbidden: It has some alone.
        """
        if self.projects is not None:
            raise Forbidden(
                "This shows what everybody does: it is for keys that work in every project.",
                hint="An administrator makes one: `tunesmith keys create NAME --role viewer --all-projects`.",
            )

    def expect(self, least: Role) -> None:
        """See that it may do what a role may.

        Raises:
            Forbidden: Its role is a lesser one.
        """
        if self.role.rank >= least.rank:
            return
        whom = "administrators" if least is Role.ADMIN else "members of a project"
        raise Forbidden(
            f"The key of `{self.name}` has the role `{self.role}`: this is for {whom}.",
            hint="Ask an administrator, or use another key.",
        )


class Shown(NamedTuple):
    """With what somebody came in."""

    identity: Identity
    session: str = ""
    """The hash of the browser's session that stood for the key; "" where the key itself was shown."""


class Keys:
    """Who may come in.

    Args:
        database: Holds the hashes.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, Identity] = {}
        self._sessions: dict[str, Identity] = {}

    def enroll(self, key_file: Path, name: str) -> None:
        """Let the key in a file in, as an administrator's."""
        digest = digest_of(read_secret(key_file))
        with self._database.read() as session:
            known = session.get(ApiKeyRow, digest)
        if known is not None:
            return
        row = {
            "sha256": digest,
            "id": new_id("key"),
            "name": name,
            "role": Role.ADMIN,
            "created_by": name,
            "created_at": now(),
        }

        def store(session: Session) -> None:
            if session.get(ApiKeyRow, digest) is None:
                session.add(ApiKeyRow(**row))

        self._database.retry_on_conflict(store)

    def remembered(self, key: str) -> Identity | None:
        """Whose key this is, where that was looked up a moment ago. Asks no database."""
        return _fresh(self._known.get(digest_of(key)))

    def identity(self, key: str) -> Identity:
        """Whose key this is.

        Raises:
            Unauthorized: It is nobody's, or counts no more.
        """
        known = self.remembered(key)
        if known is not None:
            return known
        digest, moment = digest_of(key), now()
        with self._database.read() as session:
            row = session.get(ApiKeyRow, digest)
        if row is None or not _counts(row, moment):
            self._known.pop(digest, None)
        if row is None:
            raise Unauthorized("This API key is not known.", hint=WHERE_THE_KEY_IS)
        _expect_counting(row, moment)
        self._note_use(row, moment)
        known = self._known[digest] = _identity(row, moment)
        return known

    def remembered_session(self, cookie: str) -> Identity | None:
        """As `remembered`, for a browser's session."""
        return _fresh(self._sessions.get(digest_of(cookie)))

    def identity_of_session(self, cookie: str) -> Identity:
        """Whose key a browser's session stands for; it ends with that key.

        Raises:
            Unauthorized: It is none of ours, or has ended.
        """
        digest, moment = digest_of(cookie), now()
        with self._database.read() as session:
            row = session.get(BrowserRow, digest)
            is_open = row is not None and not row.is_code and row.expires_at > moment
            key = session.get(ApiKeyRow, row.key_sha256) if row is not None and is_open else None
        if row is None or key is None or not _counts(key, moment):
            self._sessions.pop(digest, None)
            raise Unauthorized("This browser is not signed in, or no longer.", hint=HOW_TO_SIGN_IN)
        self._sessions = {
            one: known for one, known in self._sessions.items() if moment - known.looked_up <= _TRUST
        }
        self._note_use(key, moment)
        until = row.expires_at if key.expires_at is None else min(row.expires_at, key.expires_at)
        known = self._sessions[digest] = _identity(key, moment)._replace(expires_at=until)
        return known

    def ended(self, shown: Collection[Shown]) -> set[Shown]:
        """Those that would not be let in any more as they were: revoked, over, signed out, with another role or place.

        Each is looked up, whatever was known of it a moment ago.
        """
        moment, listed = now(), list(shown)
        keys: dict[str, ApiKeyRow] = {}
        sessions: set[str] = set()
        with self._database.read() as session:
            for begin in range(0, len(listed), _AT_ONCE):
                some = listed[begin : begin + _AT_ONCE]
                rows = select(ApiKeyRow).where(ApiKeyRow.sha256.in_([one.identity.key for one in some]))
                keys |= {row.sha256: row for row in session.scalars(rows)}
                open_ones = select(BrowserRow.sha256).where(
                    BrowserRow.sha256.in_([one.session for one in some if one.session]),
                    BrowserRow.is_code.is_(False),
                    BrowserRow.expires_at > moment,
                )
                sessions |= set(session.scalars(open_ones))

        def goes_on(one: Shown) -> bool:
            row = keys.get(one.identity.key)
            if row is None or not _counts(row, moment) or (one.session and one.session not in sessions):
                return False
            as_it_is = _identity(row, moment)
            return (as_it_is.role, as_it_is.projects) == (one.identity.role, one.identity.projects)

        return {one for one in listed if not goes_on(one)}

    def forget_session(self, cookie: str) -> None:
        """Trust a session no more that was looked up a moment ago."""
        self._sessions.pop(digest_of(cookie), None)

    def forget(self, sha256: str) -> None:
        """Trust a key and its sessions no more as they were looked up a moment ago."""
        self._known.pop(sha256, None)
        self._sessions = {one: known for one, known in self._sessions.items() if known.key != sha256}

    def _note_use(self, row: ApiKeyRow, moment: dt.datetime) -> None:
        """Note now and then that a key is used. Nobody waits for it, and nothing fails with it."""
        if row.used_at is not None and moment - row.used_at < _USED_AGAIN:
            return
        with contextlib.suppress(Unavailable), self._database.write(patience=0.05) as session:
            session.execute(update(ApiKeyRow).where(ApiKeyRow.sha256 == row.sha256).values(used_at=moment))

    def made_by(self, is_meant: Callable[[str], bool]) -> Identity | None:
        """Whose key is meant; None where none is. Every key is looked at, each time anew.

        Args:
            is_meant: Told what a key is known by.
        """
        moment = now()
        with self._database.read() as session:
            counting = (
                ApiKeyRow.revoked_at.is_(None),
                or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > moment),
            )
            rows = session.scalars(select(ApiKeyRow).where(*counting)).all()
        return next((_identity(row, moment) for row in rows if is_meant(row.sha256)), None)


def digest_of(key: str) -> str:
    """What is stored of a secret that somebody shows."""
    return hashlib.sha256(key.encode()).hexdigest()


def _fresh(known: Identity | None) -> Identity | None:
    """Who was looked up a moment ago and has not ended since; a revoked key is out after that."""
    moment = now()
    if known is None or moment - known.looked_up > _TRUST:
        return None
    return known if known.expires_at is None or moment < known.expires_at else None


def _counts(row: ApiKeyRow, moment: dt.datetime) -> bool:
    return row.revoked_at is None and (row.expires_at is None or moment < row.expires_at)


def _expect_counting(row: ApiKeyRow, moment: dt.datetime) -> None:
    if _counts(row, moment):
        return
    how = "was revoked" if row.revoked_at is not None else "has expired"
    raise Unauthorized(
        f"This API key {how}.", hint="Ask an administrator for another: `tunesmith keys create`."
    )


def _identity(row: ApiKeyRow, moment: dt.datetime) -> Identity:
    projects = None if row.projects is None else frozenset(row.projects)
    return Identity(row.name, Role.stored(row.role), moment, row.expires_at, row.sha256, projects, row.id)
