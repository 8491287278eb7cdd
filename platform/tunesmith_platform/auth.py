"""API keys: only their sha256 is stored, and a key is compared by its hash."""

import datetime as dt
import hashlib
from pathlib import Path

from tunesmith.errors import Forbidden, Unauthorized
from tunesmith.job import read_secret
from tunesmith_platform.clock import now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import ApiKeyRow

ADMIN = "admin"
"""The role that may do everything; the key that `tunesmith up` generates has it."""
_TRUST = dt.timedelta(seconds=10)


class Keys:
    """Who may come in.

    Args:
        database: Holds the hashes.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, tuple[str, str, dt.datetime]] = {}

    def enroll(self, key_file: Path, name: str, role: str = ADMIN) -> None:
        """Let the key in a file in."""
        digest = _digest(read_secret(key_file))
        with self._database.write() as session:
            session.merge(ApiKeyRow(sha256=digest, name=name, role=role, created_at=now()))

    def principal(self, key: str) -> str:
        """Whose key this is.

        Raises:
            Unauthorized: It is nobody's.
        """
        return self._identity(key)[0]

    def administrator(self, key: str) -> str:
        """Whose key this is, if it may do what administrators do.

        Raises:
            Unauthorized: It is nobody's.
            Forbidden: Its role is another.
        """
        name, role = self._identity(key)
        if role != ADMIN:
            raise Forbidden(
                f"The key of `{name}` has the role `{role}`: this is for administrators.",
                hint="Ask an administrator, or use an administrator's key.",
            )
        return name

    def _identity(self, key: str) -> tuple[str, str]:
        digest = _digest(key)
        known = self._known.get(digest)
        if known is None or now() - known[2] > _TRUST:  # a revoked key is out after that
            with self._database.read() as session:
                row = session.get(ApiKeyRow, digest)
            if row is None:
                self._known.pop(digest, None)
                raise Unauthorized(
                    "This API key is not known.",
                    hint="Take the key from the state folder's `api-key`, or set `TUNESMITH_API_KEY`.",
                )
            known = (row.name, row.role, now())
            self._known[digest] = known
        return known[0], known[1]


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
