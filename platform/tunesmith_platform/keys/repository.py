"""The queries of keys. They say who comes in, before there is a scope; whose may be seen is told by the service."""

import datetime as dt
from collections.abc import Iterable, Sequence

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from tunesmith.access import Role
from tunesmith_platform.db.tables import ApiKeyRow, ProjectRow


def page(session: Session, name: str | None, after: str | None, limit: int) -> Sequence[ApiKeyRow]:
    """Keys, the newest first; one more than the limit.

    Args:
        session: The transaction.
        name: Only whose; everybody's when None.
        after: Only those made before the one with this id.
        limit: How many.
    """
    query = select(ApiKeyRow).order_by(ApiKeyRow.id.desc()).limit(limit + 1)
    if name is not None:
        query = query.where(ApiKeyRow.name == name)
    if after is not None:
        query = query.where(ApiKeyRow.id < after)
    return session.scalars(query).all()


def find(session: Session, key_id: str) -> ApiKeyRow | None:
    """A key by its id, held until the transaction ends."""
    query = select(ApiKeyRow).where(ApiKeyRow.id == key_id).with_for_update()
    return session.scalars(query).one_or_none()


def of_subject(session: Session, subject: str) -> ApiKeyRow | None:
    """The key of a person whom a provider names, held until the transaction ends."""
    query = select(ApiKeyRow).where(ApiKeyRow.subject == subject).with_for_update()
    return session.scalars(query).one_or_none()


def end_of(session: Session, sha256: str) -> dt.datetime | None:
    """When the key with a hash ends by itself; None: never."""
    return session.scalar(select(ApiKeyRow.expires_at).where(ApiKeyRow.sha256 == sha256))


def counting(session: Session, moment: dt.datetime, name: str | None = None) -> Sequence[ApiKeyRow]:
    """The keys that count at a moment, held until the transaction ends; only those with a name, where one is given."""
    query = select(ApiKeyRow).where(
        ApiKeyRow.revoked_at.is_(None), or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > moment)
    )
    if name is not None:
        query = query.where(ApiKeyRow.name == name)
    return session.scalars(query.order_by(ApiKeyRow.id).with_for_update()).all()


def projects_of(session: Session, name: str, moment: dt.datetime) -> Sequence[str]:
    """The projects that somebody's keys that count at a moment work in, by name."""
    query = select(ApiKeyRow.projects).where(
        ApiKeyRow.name == name,
        ApiKeyRow.revoked_at.is_(None),
        or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > moment),
    )
    given = session.scalars(query).all()
    if any(projects is None for projects in given):
        return session.scalars(select(ProjectRow.project).order_by(ProjectRow.project)).all()
    return sorted({project for projects in given for project in projects or ()})


def other_administrators(session: Session, key_id: str) -> int:
    """How many administrators' keys count and have no end, besides one."""
    query = select(func.count()).where(
        ApiKeyRow.role == Role.ADMIN,
        ApiKeyRow.id != key_id,
        ApiKeyRow.revoked_at.is_(None),
        ApiKeyRow.expires_at.is_(None),
    )
    return session.scalar(query) or 0


def put(session: Session, row: ApiKeyRow) -> None:
    """Store a key."""
    session.add(row)


def unknown_projects(session: Session, names: Iterable[str]) -> list[str]:
    """Those of the names that no project has."""
    wanted = set(names)
    return sorted(
        wanted - set(session.scalars(select(ProjectRow.project).where(ProjectRow.project.in_(wanted))))
    )
