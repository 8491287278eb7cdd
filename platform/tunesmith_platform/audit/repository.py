"""The audit log's queries. It is the installation's, and shown to administrators alone."""

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple, cast

from sqlalchemy import Table, delete, insert, select
from sqlalchemy.orm import Session

from tunesmith_platform.caller import Change
from tunesmith_platform.db.tables import AuditRow

_AUDIT = cast(Table, AuditRow.__table__)
_APPEND = insert(_AUDIT)
_BATCH = 5000


class Wanted(NamedTuple):
    """Which entries."""

    who: str | None = None
    action: str | None = None
    subject: str | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None


def append(session: Session, change: Change, moment: dt.datetime) -> None:
    """Note a change, in the transaction that makes it."""
    # Past the unit of work: each change pays for it.
    session.connection().execute(
        _APPEND,
        {
            "time": moment,
            "who": change.who,
            "role": change.role,
            "key_id": change.key_id,
            "action": change.action,
            "subject": (change.subject or ", ".join(change.made[:1]))[:300],
            "request_id": change.request_id,
            "address": change.address[:60],
        },
    )


def page(session: Session, wanted: Wanted, after: int | None, limit: int) -> Sequence[AuditRow]:
    """Entries, the newest first; one more than the limit."""
    query = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit + 1)
    for column, value in ((AuditRow.who, wanted.who), (AuditRow.action, wanted.action)):
        if value is not None:
            query = query.where(column == value)
    if wanted.subject is not None:
        query = query.where(AuditRow.subject == wanted.subject)
    if wanted.since is not None:
        query = query.where(AuditRow.time >= wanted.since)
    if wanted.until is not None:
        query = query.where(AuditRow.time < wanted.until)
    if after is not None:
        query = query.where(AuditRow.id < after)
    return session.scalars(query).all()


def remove_old(session: Session, before: dt.datetime) -> int:
    """Forget some entries from before a moment; how many that were."""
    old = select(AuditRow.id).where(AuditRow.time < before).order_by(AuditRow.id).limit(_BATCH)
    gone = session.execute(delete(AuditRow).where(AuditRow.id.in_(old)))
    return int(getattr(gone, "rowcount", 0))
