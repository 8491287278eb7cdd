"""Limits queries to what a scope sees: the one place that knows how a table says whose its rows are.

A table has an owner and a project of its own (`OwnedRow`), or it is a part of one that has: its key leads there, so
that the two cannot differ. What belongs to the installation is listed, with why. For a scope that sees everything, a
statement is handed back as it is.
"""

from collections.abc import Iterable
from typing import Any, Protocol, Self, TypeVar, cast

from sqlalchemy import Column, ColumnElement, Table, and_, literal, or_, select
from sqlalchemy.orm import Session

from tunesmith_platform.db.tables import Base
from tunesmith_platform.scope import PLATFORM, Scope

OF_THE_INSTALLATION = {
    "audit": "Who did what, for administrators alone.",
    "api_keys": "They say who comes in, before there is a scope.",
    "browsers": "They stand for a key, before there is a scope.",
    "leases": "Which process does what only one may do.",
    "restores": "They are the database's own.",
    "server_uses": "What each server lets run, which every server counts.",
    "runners": "Processes of the cluster that wait for anybody's task.",
}
"""Tables that belong to no user, with why."""
OF_A_PROJECT = {
    "projects": "It is the project.",
    "quota_projects": "A quota is shared by all who work in its project.",
    "quota_entries": "A ledger adds up only as a whole; `by` says who made an entry.",
}
"""Tables that belong to a project as a whole, with why: those who see it see all of its rows."""
SHARED = {"models": "What lies in the models folder was put there for everybody."}
"""Tables whose rows everybody sees where the platform itself made them, with why. Who changes one, the noun asks."""


class OutOfScope(RuntimeError):
    """A row was handed in under a scope that does not see it."""


class _Filtered(Protocol):
    def where(self, *conditions: Any) -> Self: ...


_Statement = TypeVar("_Statement", bound=_Filtered)
_Row = TypeVar("_Row", bound=Base)


def within(statement: _Statement, scope: Scope, *rows: type[Base]) -> _Statement:
    """A statement, limited to the rows that a scope sees.

    Args:
        statement: It reads or changes `rows`.
        scope: Whose rows; a statement for one that sees everything is handed back as it is.
        rows: The tables that are limited; those joined to them by their key need not be named.
    """
    if scope.is_whole:
        return statement
    return statement.where(*(condition for row in rows for condition in _bounds(scope, _table(row))))


def get(session: Session, scope: Scope, kind: type[_Row], key: Any, **options: Any) -> _Row | None:
    """`Session.get`; a row that the scope does not see is as if it were not there."""
    row = session.get(kind, key, **options)
    return row if row is not None and sees(session, scope, row) else None


def sees(session: Session, scope: Scope, row: Base) -> bool:
    """Whether a scope sees a row."""
    if scope.is_whole:
        return True
    table = _table(type(row))
    if table.name in OF_A_PROJECT:
        return scope.sees_project(cast(Any, row).project)
    if table.name in SHARED and cast(Any, row).owner == PLATFORM:
        return True
    if "owner" in table.c:
        return scope.sees(cast(Any, row).owner, cast(Any, row).project)
    own = [column == getattr(row, column.key) for column in table.primary_key]
    with session.no_autoflush:
        return session.scalar(within(select(literal(1)).where(*own), scope, type(row))) is not None


def expect(session: Session, scope: Scope, *rows: Base) -> None:
    """Hold rows that were handed in against the scope: who has them found them under it.

    Raises:
        OutOfScope: One is another's, which is a mistake of ours.
    """
    if not all(sees(session, scope, row) for row in rows):
        raise OutOfScope


def seen(session: Session, scope: Scope, kind: type[Base], keys: Iterable[str]) -> set[str]:
    """Those of the keys whose rows a scope sees; where no statement can be limited."""
    wanted = set(keys)
    if scope.is_whole:
        return wanted
    (column,) = _table(kind).primary_key
    return set(session.scalars(within(select(column).where(column.in_(wanted)), scope, kind)))


def parent(table: Table) -> tuple[Column[Any], Column[Any]] | None:
    """The part of a table's key that leads to the table it is a part of, and where it leads; None for a whole one."""
    for column in table.primary_key:
        for key in column.foreign_keys:
            return column, key.column
    return None


def _table(row: type[Base]) -> Table:
    return cast(Table, row.__table__)


def _bounds(scope: Scope, table: Table) -> list[ColumnElement[bool]]:
    if "project" not in table.c and (link := parent(table)) is not None:
        own, theirs = link
        seen_there = select(theirs).where(*_bounds(scope, theirs.table)).correlate(None)
        return [own.in_(seen_there)]
    bounds = [] if scope.projects is None else [_one_of(table.c.project, scope.projects)]
    if scope.owners is not None and table.name not in OF_A_PROJECT:
        bounds.append(_one_of(table.c.owner, scope.owners))
    if table.name in SHARED:
        return [or_(table.c.owner == PLATFORM, and_(*bounds))]
    return bounds


def _one_of(column: ColumnElement[str], values: frozenset[str]) -> ColumnElement[bool]:
    # No `IN`: a statement that is carried out for many rows at once takes none.
    return or_(literal(False), *(column == value for value in sorted(values)))
