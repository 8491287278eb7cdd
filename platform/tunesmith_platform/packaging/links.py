"""Addresses that hand out one file without a key: signed, for a time, by whoever may fetch it.

The key of a signature is derived (HKDF, RFC 5869) from the platform's secret, for this use alone, and from the API key
of whoever made the address: it stops to count with that key, and all do where `TUNESMITH_LINK_ROUND` is raised. Nothing
is stored. Knows signatures; knows no files.
"""

import base64
import datetime as dt
import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tunesmith.errors import Forbidden, Unauthorized
from tunesmith.job import read_secret
from tunesmith_platform.auth import Identity, Keys
from tunesmith_platform.clock import now

_SALT = b"tunesmith package links"
_MOST = 1500
"""Characters of a token; the longest of ours has fewer."""
_WHO_CHARACTERS = 16


class NewLink(BaseModel):
    """Which file an address is made of, and how long it counts."""

    model_config = ConfigDict(extra="forbid")
    file: str = Field(min_length=1, max_length=255, description="One of the package's files.")
    seconds: int = Field(86_400, ge=60, le=604_800, description="How long it counts: at most a week.")


class Named(BaseModel):
    """What an address says: one file of one package, until when, by whose key."""

    model_config = ConfigDict(extra="forbid")
    t: str
    """The task."""
    f: str
    """The file's name."""
    s: str
    """Its sha256: another file under the name is another."""
    e: int
    """Seconds since 1970 until which it counts."""
    w: str
    """Whose key, as it is called under the platform's secret."""


class Links:
    """Signs and reads addresses.

    Args:
        keys: Who may come in.
        secret_file: Holds the platform's secret; read each time, so that it may be replaced.
        round_of: What is raised to let all addresses run out.
    """

    def __init__(self, keys: Keys, secret_file: Path, round_of: Callable[[], int]) -> None:
        self._keys, self._secret_file, self._round_of = keys, secret_file, round_of

    def token(self, maker: Identity, task_id: str, file: str, sha256: str, until: dt.datetime) -> str:
        """What an address carries.

        Args:
            maker: Who makes it.
            task_id: The package's task.
            file: The file's name.
            sha256: Its content.
            until: When it runs out.
        """
        named = Named(t=task_id, f=file, s=sha256, e=int(until.timestamp()), w=self._who(maker.key))
        body = _encoded(named.model_dump_json().encode())
        return f"{body}.{_encoded(self._signature(maker.key, body))}"

    def read(self, token: str, file: str) -> tuple[Named, Identity]:
        """What an address says, and whose it is.

        Args:
            token: What it carries.
            file: The name that it ends in.

        Raises:
            Unauthorized: It is none, or its key does not count any more.
            Forbidden: It ran out.
        """
        body, _, signature = token.partition(".")
        try:
            if len(token) > _MOST:
                raise ValueError("too long")
            named, given = Named.model_validate_json(_decoded(body)), _decoded(signature)
        except (ValueError, ValidationError):
            raise _refused() from None
        maker = self._keys.made_by(lambda digest: hmac.compare_digest(self._who(digest), named.w))
        if maker is None:
            raise _refused()
        if not hmac.compare_digest(self._signature(maker.key, body), given) or named.f != file:
            raise _refused()
        if named.e <= now().timestamp():
            raise Forbidden("This link has run out.", hint="Ask whoever gave it for another.")
        return named, maker

    def _who(self, digest: str) -> str:
        """What a key is called in an address: nobody learns of the key's own hash from it."""
        return self._derived(b"who", digest).hex()[:_WHO_CHARACTERS]

    def _signature(self, digest: str, body: str) -> bytes:
        return hmac.new(self._derived(b"sign", digest), body.encode(), hashlib.sha256).digest()

    def _derived(self, use: bytes, digest: str) -> bytes:
        """A key of 32 bytes: extract and one expand."""
        secret = read_secret(self._secret_file).encode()
        drawn = hmac.new(_SALT, secret, hashlib.sha256).digest()
        about = b"\0".join((use, str(self._round_of()).encode(), digest.encode()))
        return hmac.new(drawn, about + b"\x01", hashlib.sha256).digest()


def _refused() -> Unauthorized:
    return Unauthorized("This link does not count.", hint="Ask whoever gave it for another.")


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    """The bytes of a text that is written in the one way that we write it."""
    found = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _encoded(found) != text:
        raise ValueError("written otherwise")
    return found
