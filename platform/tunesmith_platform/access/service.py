"""Lets browsers in: makes one-time codes, takes them for sessions, ends sessions. Knows no HTTP."""

import datetime as dt
import secrets
from typing import NamedTuple

from sqlalchemy.orm import Session

from tunesmith.access import CODE_SECONDS, SignInLink
from tunesmith.errors import Unauthorized
from tunesmith_platform.access import repository
from tunesmith_platform.auth import Keys, digest_of
from tunesmith_platform.clock import now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import BrowserRow
from tunesmith_platform.settings import Settings

_CODE = "tsc-"
"""What codes begin with: a key is never taken for one."""
_WRONG_CODE = "This link was used, or is older than a few minutes."
_ANOTHER = "`tunesmith up --open` makes another."


class SignedIn(NamedTuple):
    """A session that has just begun."""

    cookie: str
    expires_at: dt.datetime


class AccessService:
    """Who comes in with a browser.

    Args:
        database: Holds the hashes.
        settings: How users reach the platform, how long a session counts.
        keys: Whose key is whose.
    """

    def __init__(self, database: Database, settings: Settings, keys: Keys) -> None:
        self._database = database
        self._settings = settings
        self._keys = keys

    def link(self, key: str) -> SignInLink:
        """An address with a code that lets one browser in, once, in the name of a key.

        The code stands behind the `#`, which no browser sends and no proxy logs.
        """
        code = _CODE + secrets.token_urlsafe(32)
        self._put(code, digest_of(key), now() + dt.timedelta(seconds=CODE_SECONDS), is_code=True)
        base = f"{self._settings.public_url.rstrip('/')}/studio/"
        return SignInLink(url=f"{base}#/enter/{code}", studio_url=base, valid_seconds=CODE_SECONDS)

    def sign_in(self, credential: str) -> SignedIn:
        """Begin a session for who shows a code, or a key.

        Raises:
            Unauthorized: It is neither, or the code was used or is too old.
        """
        if credential.startswith(_CODE):
            moment = now()
            found = self._database.retry_on_conflict(
                lambda session: repository.take(session, digest_of(credential), moment)
            )
            if found is None:
                raise Unauthorized(_WRONG_CODE, hint=_ANOTHER)
        else:
            self._keys.identity(credential)
            found = digest_of(credential)
        return self.begin(found, now() + dt.timedelta(hours=self._settings.session_hours))

    def begin(self, key_sha256: str, until: dt.datetime) -> SignedIn:
        """Begin a session that stands for a key.

        Args:
            key_sha256: The key's hash.
            until: When the session ends by itself.
        """
        cookie = secrets.token_urlsafe(32)
        self._put(cookie, key_sha256, until, is_code=False)
        return SignedIn(cookie, until)

    def sign_out(self, cookie: str) -> None:
        """End a session; one that has ended stays so."""
        self._database.retry_on_conflict(lambda session: repository.end(session, digest_of(cookie)))
        self._keys.forget_session(cookie)

    def _put(self, secret: str, key_sha256: str, until: dt.datetime, *, is_code: bool) -> None:
        moment, digest = now(), digest_of(secret)

        def store(session: Session) -> None:
            repository.remove_old(session, moment)
            repository.put(
                session,
                BrowserRow(
                    sha256=digest,
                    is_code=is_code,
                    key_sha256=key_sha256,
                    created_at=moment,
                    expires_at=until,
                ),
            )

        self._database.retry_on_conflict(store)
