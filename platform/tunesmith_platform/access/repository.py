"""The queries of one-time codes and browsers' sessions: only hashes are stored, each with its key's."""

import datetime as dt

from sqlalchemy import delete
from sqlalchemy.orm import Session

from tunesmith_platform.db.tables import BrowserRow


def put(session: Session, row: BrowserRow) -> None:
    """Store a code or a session."""
    session.add(row)


def put_first(session: Session, row: BrowserRow) -> bool:
    """Store a row unless one of its name is there; whether it was stored."""
    if session.get(BrowserRow, row.sha256) is not None:
        return False
    session.add(row)
    return True


def take(session: Session, sha256: str, moment: dt.datetime) -> str | None:
    """The key that a code stands for, which it does once; None when it is none, was used, or is too old.

    Its row goes: of two that come at once, the second finds none.
    """
    row = session.get(BrowserRow, sha256, with_for_update=True)
    if row is None or not row.is_code:
        return None
    # The statement's own count decides where a database lets two readers come so far.
    gone = session.execute(delete(BrowserRow).where(BrowserRow.sha256 == sha256))
    is_first = getattr(gone, "rowcount", 0) == 1
    return row.key_sha256 if is_first and row.expires_at > moment else None


def end(session: Session, sha256: str) -> None:
    """Let a session count no more."""
    session.execute(delete(BrowserRow).where(BrowserRow.sha256 == sha256))


def remove_old(session: Session, moment: dt.datetime) -> None:
    """Forget what has not counted any more since a moment."""
    session.execute(delete(BrowserRow).where(BrowserRow.expires_at <= moment))
