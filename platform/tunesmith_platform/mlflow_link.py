"""The one-time link by which a browser comes into MLflow, and the cookie that it gets there.

Both are signed by keys that are made from MLflow's token, so whoever holds the token can make a link, and MLflow's
process can check it without asking anybody. Knows no HTTP; knows nothing of MLflow.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable

from pydantic import BaseModel, ValidationError

LINK_SECONDS = 60
COOKIE_SECONDS = 12 * 3600
ENTRANCE = "/_tunesmith/enter"


class Admission(BaseModel):
    """What a link's code says."""

    nonce: str
    issued_at: float
    to: str
    """The page of MLflow that it leads to: signed with the rest, so that it leads nowhere else."""


def make_code(token: str, to: str = "/", clock: Callable[[], float] = time.time) -> str:
    """A code that lets one browser in, once, within `LINK_SECONDS`.

    Args:
        token: MLflow's.
        to: The page that it leads to, as a path of MLflow's.
        clock: Seconds since 1970.
    """
    said = Admission(nonce=secrets.token_urlsafe(16), issued_at=clock(), to=to)
    body = base64.urlsafe_b64encode(said.model_dump_json().encode()).decode().rstrip("=")
    return f"{body}.{_sign(token, 'code', body)}"


class Admissions:
    """Who may come in by a link or a cookie.

    A code counts once. Codes from before this was made are refused: an earlier process may have taken them already.

    Args:
        token: MLflow's.
        clock: Seconds since 1970.
    """

    def __init__(self, token: str, clock: Callable[[], float] = time.time) -> None:
        self._token = token
        self._clock = clock
        self._began = clock()
        self._used: dict[str, float] = {}

    def take(self, code: str) -> str | None:
        """The page that a code leads to; None when it is none, too old, or was used."""
        body, _, signature = code.partition(".")
        if not hmac.compare_digest(signature.encode(), _sign(self._token, "code", body).encode()):
            return None
        try:
            said = Admission.model_validate(
                json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
            )
        except (ValueError, ValidationError):
            return None
        now = self._clock()
        self._used = {nonce: at for nonce, at in self._used.items() if now - at <= LINK_SECONDS}
        if (
            not self._began <= said.issued_at <= now <= said.issued_at + LINK_SECONDS
            or said.nonce in self._used
        ):
            return None
        self._used[said.nonce] = now
        return said.to

    def cookie(self) -> str:
        """The value of a cookie that lets its browser in for `COOKIE_SECONDS`."""
        until = str(int(self._clock()) + COOKIE_SECONDS)
        return f"{until}.{_sign(self._token, 'cookie', until)}"

    def knows(self, cookie: str) -> bool:
        """Whether a cookie is one of ours that still counts."""
        until, _, signature = cookie.partition(".")
        if not hmac.compare_digest(signature.encode(), _sign(self._token, "cookie", until).encode()):
            return False
        return self._clock() < int(until)

    def is_token(self, given: str) -> bool:
        """Whether this is MLflow's token."""
        return hmac.compare_digest(given.encode(), self._token.encode())


def _sign(token: str, purpose: str, text: str) -> str:
    """A signature (HMAC-SHA256) under a key for one purpose: a cookie is no code."""
    key = hmac.new(token.encode(), f"tunesmith-mlflow-{purpose}".encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
