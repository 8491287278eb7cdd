"""The quota's queries. Who appends holds the project's row, so that sums and ledger never part."""

from collections.abc import Sequence
from typing import cast

from sqlalchemy import Table, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tunesmith.views import QuotaKind
from tunesmith_platform.clock import now
from tunesmith_platform.db.scoping import expect, get, within
from tunesmith_platform.db.tables import PackageRow, QuotaEntryRow, QuotaProjectRow, TaskRow
from tunesmith_platform.scope import Scope

_PROJECTS = cast(Table, QuotaProjectRow.__table__)
_IS_ON = text(f"SELECT enabled FROM {_PROJECTS.name} WHERE project = :of")  # noqa: S608  (the name is ours)
PLATFORM = "platform"
"""Whose entries those are that no key asked for."""


def find(session: Session, scope: Scope, project: str) -> QuotaProjectRow | None:
    """A project's quota as it stands; None where nobody has ever set one."""
    return get(session, scope, QuotaProjectRow, project)


def is_on(session: Session, scope: Scope, project: str) -> bool:
    """Whether a project's quota is on: asked at each submit, so by a statement that is made once."""
    if not scope.sees_project(project):
        return False
    return bool(session.connection().execute(_IS_ON, {"of": project}).scalar())


def held(session: Session, scope: Scope, project: str) -> QuotaProjectRow | None:
    """A project's quota, its row held until the transaction ends."""
    query = select(QuotaProjectRow).where(QuotaProjectRow.project == project).with_for_update()
    query = within(query, scope, QuotaProjectRow)
    return session.scalars(query.execution_options(populate_existing=True)).one_or_none()


def ensured(session: Session, scope: Scope, project: str) -> QuotaProjectRow:
    """A project's quota, made if there is none, its row held until the transaction ends.

    Raises:
        Forbidden: The project is none of the scope's.
    """
    project = scope.stamp(project)["project"]
    row = held(session, scope, project)
    if row is None:
        try:
            with session.begin_nested():
                session.add(
                    QuotaProjectRow(
                        project=project,
                        enabled=False,
                        low_threshold=0,
                        is_low=False,
                        granted=0,
                        charged=0,
                        reserved=0,
                    )
                )
        except IntegrityError:  # another made it at the same moment
            session.expire_all()
        row = held(session, scope, project)
        assert row is not None
    return row


def projects(session: Session, scope: Scope, after: str | None, limit: int) -> Sequence[QuotaProjectRow]:
    """The projects that have a quota, by name; one more than the limit."""
    query = select(QuotaProjectRow).order_by(QuotaProjectRow.project).limit(limit + 1)
    query = within(query, scope, QuotaProjectRow)
    if after is not None:
        query = query.where(QuotaProjectRow.project > after)
    return session.scalars(query).all()


def packaged(session: Session, scope: Scope, projects: Sequence[str]) -> dict[str, tuple[int, int]]:
    """By projects, how many packages' files are there, and their bytes."""
    query = (
        select(TaskRow.project, func.count(), func.sum(PackageRow.bytes))
        .join(PackageRow, PackageRow.task_id == TaskRow.id)
        .where(TaskRow.project.in_(projects), PackageRow.is_gone.is_(False))
        .group_by(TaskRow.project)
    )
    rows = session.execute(within(query, scope, TaskRow)).all()
    return {project: (int(count), int(size or 0)) for project, count, size in rows}


def entries(
    session: Session, scope: Scope, project: str, task_id: str | None, after: int | None, limit: int
) -> Sequence[QuotaEntryRow]:
    """A project's ledger, newest first; one more than the limit."""
    query = select(QuotaEntryRow).where(QuotaEntryRow.project == project)
    if task_id is not None:
        query = query.where(QuotaEntryRow.task_id == task_id)
    if after is not None:
        query = query.where(QuotaEntryRow.id < after)
    query = within(query.order_by(QuotaEntryRow.id.desc()).limit(limit + 1), scope, QuotaEntryRow)
    return session.scalars(query).all()


def reservation(session: Session, scope: Scope, task_id: str) -> int | None:
    """What is held for a task; None when it was never under a quota."""
    query = select(func.count(), func.sum(QuotaEntryRow.reserved)).where(QuotaEntryRow.task_id == task_id)
    count, total = session.execute(within(query, scope, QuotaEntryRow)).one()
    return int(total) if count else None


def is_charged(session: Session, scope: Scope, task_id: str, step: int) -> bool:
    """Whether the checkpoint of a step was charged before."""
    query = select(QuotaEntryRow.id).where(QuotaEntryRow.task_id == task_id, QuotaEntryRow.step == step)
    return session.scalar(within(query, scope, QuotaEntryRow)) is not None


def by_key(session: Session, scope: Scope, project: str, key: str) -> QuotaEntryRow | None:
    """The grant that the caller's own `Idempotency-Key` made before."""
    query = select(QuotaEntryRow).where(
        QuotaEntryRow.project == project, QuotaEntryRow.by == scope.owner, QuotaEntryRow.key == key
    )
    return session.scalars(within(query, scope, QuotaEntryRow)).one_or_none()


def append(
    session: Session,
    scope: Scope,
    row: QuotaProjectRow,
    kind: QuotaKind,
    *,
    amount: int = 0,
    reserved: int = 0,
    task_id: str | None = None,
    step: int | None = None,
    note: str = "",
    by: str = PLATFORM,
    key: str | None = None,
) -> QuotaEntryRow:
    """Append to the ledger of a project whose row is held, and bring up its sums: the only place that does."""
    expect(session, scope, row)
    row.granted += amount if kind is QuotaKind.GRANT else 0
    row.charged -= amount if kind is QuotaKind.CHARGE else 0
    row.reserved += reserved
    entry = QuotaEntryRow(
        project=row.project,
        time=now(),
        kind=kind,
        amount=amount,
        reserved=reserved,
        available=row.available,
        task_id=task_id,
        step=step,
        note=note,
        by=by,
        key=key,
    )
    session.add(entry)
    session.flush()
    return entry
