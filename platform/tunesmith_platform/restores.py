"""Restores: where the numbers of attempts go on in a database that came out of a backup.

Whoever ran on after the backup may have given the next numbers already, and Ray takes a job of a known number for the
same one. So a restored database goes on at the next hundred: attempt 101 is the first of a task after one restore.
"""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tunesmith_platform.db.tables import RestoreRow

STEP = 100


def attempt_floor(session: Session) -> int:
    """The number above which attempts are numbered; 0 where the database was never restored."""
    return session.scalar(select(func.max(RestoreRow.attempt_floor))) or 0


def next_floor(highest: int) -> int:
    """Where numbers go on when some have been given.

    Args:
        highest: The highest that is known to have been given.
    """
    return (highest // STEP + 1) * STEP
