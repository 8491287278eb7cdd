"""Notes who changed what, in the very transaction that changes it; shows it; forgets what is old. Knows no HTTP."""

import datetime as dt
from collections.abc import Callable

from sqlalchemy.orm import Session

from tunesmith import views
from tunesmith.access import AuditEntry
from tunesmith_platform.audit import repository
from tunesmith_platform.audit.repository import Wanted
from tunesmith_platform.caller import change_here
from tunesmith_platform.clock import now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import AuditRow
from tunesmith_platform.settings import Settings


class AuditService:
    """The audit log.

    Args:
        database: Where it is; from now on it notes every change that a request makes.
        settings: How long entries are kept.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        database.note = note

    def page(self, wanted: Wanted, after: int | None, limit: int) -> views.Page[AuditEntry]:
        """Entries, the newest first."""
        with self._database.read() as session:
            rows = repository.page(session, wanted, after, limit)
        return views.Page.of([_view(row) for row in rows], limit, lambda entry: entry.id)

    def sweep(self) -> int:
        """Forget what is older than the settings say; how many entries that were."""
        days, gone = self._settings.audit_retention_days, 0
        if not days:
            return 0
        before = now() - dt.timedelta(days=days)
        while True:
            with self._database.write() as session:
                some = repository.remove_old(session, before)
            gone += some
            if not some:
                return gone


def note(session: Session) -> Callable[[], None]:
    """Note what the request that is served here changes, once; what is answered is called when that is committed."""
    change = change_here()
    if change is None:
        return _nothing
    repository.append(session, change, now())

    def committed() -> None:
        change.is_noted = True

    return committed


def _nothing() -> None:
    """What follows where nothing was noted."""


def _view(row: AuditRow) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        time=row.time,
        who=row.who,
        role=row.role,
        key_id=row.key_id,
        action=row.action,
        subject=row.subject,
        request_id=row.request_id,
        address=row.address,
    )
