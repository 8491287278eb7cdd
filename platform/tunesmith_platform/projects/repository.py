"""The projects' queries."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from tunesmith_platform.db.scoping import get, within
from tunesmith_platform.db.tables import ProjectRow
from tunesmith_platform.scope import Scope


def page(session: Session, scope: Scope, after: str | None, limit: int) -> Sequence[ProjectRow]:
    """The projects by name; one more than the limit."""
    query = select(ProjectRow).order_by(ProjectRow.project).limit(limit + 1)
    query = within(query, scope, ProjectRow)
    if after is not None:
        query = query.where(ProjectRow.project > after)
    return session.scalars(query).all()


def find(session: Session, scope: Scope, project: str) -> ProjectRow | None:
    """A project by its name."""
    return get(session, scope, ProjectRow, project)
