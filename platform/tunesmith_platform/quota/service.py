"""What administrators do with quotas, and what everybody may see of them. Each method is one transaction."""

from pydantic import Field, field_validator

from tunesmith import views
from tunesmith.spec.given import Given
from tunesmith.views import QuotaKind
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import QuotaEntryRow, QuotaProjectRow
from tunesmith_platform.idempotency import conflict
from tunesmith_platform.quota import repository
from tunesmith_platform.quota.ledger import reset_level
from tunesmith_platform.scope import Scope

_MOST = 10**9


class QuotaChange(Given):
    """A project's switch and threshold; what is left out stays."""

    enabled: bool | None = Field(None, description="Whether submits reserve and checkpoints are charged.")
    low_threshold: int | None = Field(
        None, ge=0, le=_MOST, description="A task is warned when no more than this is available."
    )


class NewGrant(Given):
    """A grant; a negative one takes away."""

    amount: int = Field(ge=-_MOST, le=_MOST, description="Checkpoints; negative takes away.")
    note: str = Field("", max_length=1000, description="What for.")

    @field_validator("amount")
    @classmethod
    def _is_something(cls, amount: int) -> int:
        if amount == 0:
            raise ValueError("A grant of 0 is none.")
        return amount


class QuotaService:
    """Quotas: show, switch, grant, history."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, scope: Scope, project: str) -> views.QuotaView:
        """A project's quota; one that nobody has set is off and empty."""
        with self._database.read() as session:
            row = repository.find(session, scope, project)
            packaged = repository.packaged(session, scope, [project]).get(project, (0, 0))
        if row is None:
            return views.QuotaView(
                project=project,
                enabled=False,
                low_threshold=0,
                granted=0,
                charged=0,
                reserved=0,
                available=0,
                packages=packaged[0],
                package_bytes=packaged[1],
            )
        return _view(row, packaged)

    def page(self, scope: Scope, after: str | None, limit: int) -> views.Page[views.QuotaView]:
        """The projects that have a quota, by name."""
        with self._database.read() as session:
            rows = repository.projects(session, scope, after, limit)
            packaged = repository.packaged(session, scope, [row.project for row in rows])
        shown = [_view(row, packaged.get(row.project, (0, 0))) for row in rows]
        return views.Page.of(shown, limit, lambda quota: quota.project)

    def change(self, scope: Scope, project: str, change: QuotaChange) -> views.QuotaView:
        """Switch a project's quota on or off, or set its threshold.

        Switched on, it holds for the tasks that are submitted from then on. Switched off, nothing more is charged.
        """
        with self._database.write() as session:
            row = repository.ensured(session, scope, project)
            for field, value in change.model_dump(exclude_none=True).items():
                setattr(row, field, value)
            reset_level(row)
            packaged = repository.packaged(session, scope, [project]).get(project, (0, 0))
            return _view(row, packaged)

    def grant(
        self, scope: Scope, project: str, new: NewGrant, key: str | None
    ) -> tuple[views.QuotaEntryView, bool]:
        """Grant a project so many checkpoints; the same `key` and body again answer the same entry.

        Returns:
            The entry, and whether it was made now.

        Raises:
            IdempotencyConflict: The key was used with another body.
        """
        with self._database.write() as session:
            row = repository.ensured(session, scope, project)
            used = repository.by_key(session, scope, project, key) if key is not None else None
            if used is not None:
                if (used.amount, used.note) != (new.amount, new.note):
                    raise conflict("grant")
                return _entry(used), False
            entry = repository.append(
                session,
                scope,
                row,
                QuotaKind.GRANT,
                amount=new.amount,
                note=new.note,
                by=scope.owner,
                key=key,
            )
            reset_level(row)
            return _entry(entry), True

    def history(
        self, scope: Scope, project: str, task_id: str | None, after: int | None, limit: int
    ) -> views.Page[views.QuotaEntryView]:
        """A project's ledger, newest first."""
        with self._database.read() as session:
            rows = repository.entries(session, scope, project, task_id, after, limit)
        return views.Page.of([_entry(row) for row in rows], limit, lambda entry: entry.id)


def _view(row: QuotaProjectRow, packaged: tuple[int, int]) -> views.QuotaView:
    return views.QuotaView(
        project=row.project,
        enabled=row.enabled,
        low_threshold=row.low_threshold,
        granted=row.granted,
        charged=row.charged,
        reserved=row.reserved,
        available=row.available,
        packages=packaged[0],
        package_bytes=packaged[1],
    )


def _entry(row: QuotaEntryRow) -> views.QuotaEntryView:
    return views.QuotaEntryView(
        id=row.id,
        project=row.project,
        time=row.time,
        kind=QuotaKind(row.kind),
        amount=row.amount,
        reserved=row.reserved,
        available=row.available,
        task_id=row.task_id,
        step=row.step,
        note=row.note,
        by=row.by,
    )
