"""Leases by name: who may do what only one process may do at a time. Runs in the caller's transaction.

A holder that dies leaves its lease to run out; one that comes back too late finds another one's name in it. The leases
are rows that migrations made, so that two who ask at once wait for each other. Knows names; knows no work.
"""

import datetime as dt
import os
import secrets

from sqlalchemy.orm import Session

from tunesmith_platform.db.tables import LeaseRow


def new_holder() -> str:
    """A name that no other holder has, in this process or another."""
    return f"{os.getpid()}-{secrets.token_hex(4)}"


def hold(session: Session, name: str, holder: str, moment: dt.datetime, length: dt.timedelta) -> bool:
    """Take a lease, or keep it for longer; whether it is the holder's now.

    Args:
        session: The transaction: the lease's row is held until it ends.
        name: What is done under it.
        holder: Who asks, as `new_holder` named it.
        moment: When it asks.
        length: For how long from then on.
    """
    lease = session.get_one(LeaseRow, name, with_for_update=True)
    is_anothers = lease.owner not in (None, holder) and lease.until is not None and lease.until > moment
    if not is_anothers:
        lease.owner, lease.until = holder, moment + length
    return not is_anothers
