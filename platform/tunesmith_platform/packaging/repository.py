"""The packages' queries."""

import json
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from tunesmith.errors import NotFound
from tunesmith_platform.db.scoping import OutOfScope, get, seen, within
from tunesmith_platform.db.tables import ChatRow, PackageRow, TaskRow
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks.repository import LIVE


def put(session: Session, scope: Scope, row: PackageRow) -> None:
    """Enter a package; one of the same task is written over.

    Raises:
        OutOfScope: Its task is another's.
    """
    if not seen(session, scope, TaskRow, [row.task_id]):
        raise OutOfScope
    session.merge(row)


def find(session: Session, scope: Scope, task_id: str) -> PackageRow | None:
    """A task's package; None where it made none."""
    return get(session, scope, PackageRow, task_id)


def require(session: Session, scope: Scope, task_id: str) -> PackageRow:
    """A task's package, its row held until the transaction ends.

    Raises:
        NotFound: It has none.
    """
    row = get(session, scope, PackageRow, task_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFound(
            f"Task `{task_id}` has made no package.",
            hint="`tunesmith packages list` shows those that are there.",
        )
    return row


def page(
    session: Session, scope: Scope, of_task_id: str | None, after: str | None, limit: int
) -> Sequence[tuple[PackageRow, TaskRow]]:
    """Packages with their tasks, the newest first; one more than the limit."""
    query = select(PackageRow, TaskRow).join(TaskRow, TaskRow.id == PackageRow.task_id)
    if of_task_id is not None:
        query = query.where(PackageRow.of_task_id == of_task_id)
    if after is not None:
        query = query.where(PackageRow.task_id < after)
    query = within(query.order_by(PackageRow.task_id.desc()).limit(limit + 1), scope, PackageRow)
    return [(row, task) for row, task in session.execute(query).all()]


def kept(session: Session, scope: Scope) -> Sequence[tuple[PackageRow, TaskRow]]:
    """All packages whose files are there, with their tasks."""
    query = select(PackageRow, TaskRow).join(TaskRow, TaskRow.id == PackageRow.task_id)
    query = within(query.where(PackageRow.removed_at.is_(None)), scope, PackageRow)
    return [(row, task) for row, task in session.execute(query).all()]


def unfinished(session: Session, scope: Scope) -> Sequence[str]:
    """The tasks of packages whose removal was begun and has not come to its end."""
    query = select(PackageRow.task_id).where(
        PackageRow.removed_at.is_not(None), PackageRow.is_gone.is_(False)
    )
    return session.scalars(within(query, scope, PackageRow)).all()


def in_use(session: Session, scope: Scope, uris: Sequence[str]) -> set[str]:
    """Those of some folders that tasks which are not over were given, or chats pin, whoever's; these are not named."""
    everybody = scope.everything()
    live = select(TaskRow.inputs, TaskRow.spec).where(TaskRow.state.in_([state.value for state in LIVE]))
    given = [list(row) for row in session.execute(within(live, everybody, TaskRow)).all()]
    # A pin outlives the task that served the file: it is loaded again.
    held = select(ChatRow.pinned)
    given += [list(row) for row in session.execute(within(held, everybody, ChatRow)).all()]
    text = json.dumps(given, ensure_ascii=False)
    return {uri for uri in uris if uri in text}
