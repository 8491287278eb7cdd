"""Browsers that come in."""

import datetime as dt

from tunesmith.access import CODE_SECONDS, SessionView, SignInLink

SIGN_IN_LINK = SignInLink(
    url="http://127.0.0.1:8265/studio/#/enter/tsc-1nBv...",
    studio_url="http://127.0.0.1:8265/studio/",
    valid_seconds=CODE_SECONDS,
)
SESSION = SessionView(name="local", role="admin", expires_at=dt.datetime(2026, 12, 7, 9, tzinfo=dt.UTC))
