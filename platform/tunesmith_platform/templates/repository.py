"""The templates' queries."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tunesmith.errors import Conflict
from tunesmith_platform.db.scoping import expect, within
from tunesmith_platform.db.tables import TemplateRow
from tunesmith_platform.scope import Scope


def by_name(session: Session, scope: Scope, name: str) -> TemplateRow | None:
    """A user's template."""
    query = select(TemplateRow).where(TemplateRow.name == name)
    return session.scalars(within(query, scope, TemplateRow)).one_or_none()


def find(session: Session, scope: Scope, after: str | None, limit: int) -> Sequence[TemplateRow]:
    """Users' templates by name, those after a name."""
    query = within(select(TemplateRow).order_by(TemplateRow.name).limit(limit), scope, TemplateRow)
    if after is not None:
        query = query.where(TemplateRow.name > after)
    return session.scalars(query).all()


def put(session: Session, scope: Scope, row: TemplateRow) -> None:
    """Store a new or renamed template.

    Raises:
        Conflict: Another has its name.
    """
    expect(session, scope, row)
    name = row.name  # after a failed write a row that was stored before gives nothing any more
    session.add(row)
    try:
        session.flush()
    except IntegrityError as error:
        raise Conflict(
            f"There is a template `{name}` already.",
            hint="Choose another name, or delete that one first.",
        ) from error
