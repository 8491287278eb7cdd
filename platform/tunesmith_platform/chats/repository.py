"""The queries of served models, and of what names stand for."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from tunesmith.spec.kinds import Feature, supporting
from tunesmith_platform.db.scoping import expect, get, within
from tunesmith_platform.db.tables import ChatRow, CheckpointRow, TaskRow
from tunesmith_platform.scope import Scope


def find(session: Session, scope: Scope, base_key: str, *, locked: bool = False) -> ChatRow | None:
    """What is known of a base that is served to the scope's own user; None where it never was."""
    return get(session, scope, ChatRow, (scope.owner, base_key), with_for_update=locked)


def of_task(session: Session, scope: Scope, task_id: str) -> ChatRow | None:
    """The row that a task serves; None where another task took over."""
    query = select(ChatRow).where(ChatRow.task_id == task_id).with_for_update()
    return session.scalars(within(query, scope, ChatRow)).first()


def every(session: Session, scope: Scope, limit: int) -> Sequence[ChatRow]:
    """Bases that are served or were, the one that was asked last first."""
    query = within(select(ChatRow).order_by(ChatRow.asked_at.desc(), ChatRow.base_key), scope, ChatRow)
    return session.scalars(query.limit(limit)).all()


def put(session: Session, scope: Scope, row: ChatRow) -> None:
    """Enter a base that was never served before; one that comes second finds the first one's, done again."""
    expect(session, scope, row)
    session.add(row)
    session.flush()


def tasks_named(session: Session, scope: Scope, name: str, limit: int) -> Sequence[TaskRow]:
    """Tasks that make models and have a name, newest first."""
    query = (
        select(TaskRow)
        .where(TaskRow.name == name, TaskRow.kind.in_(supporting(Feature.CHECKPOINTS)))
        .order_by(TaskRow.id.desc())
        .limit(limit)
    )
    return session.scalars(within(query, scope, TaskRow)).all()


def tasks_with_models(session: Session, scope: Scope, limit: int) -> Sequence[TaskRow]:
    """Tasks that have something to talk to, newest first."""
    saved = select(CheckpointRow.task_id).where(CheckpointRow.task_id == TaskRow.id).exists()
    query = (
        select(TaskRow)
        .where(TaskRow.kind.in_(supporting(Feature.CHECKPOINTS)), saved | TaskRow.model_uri.is_not(None))
        .order_by(TaskRow.id.desc())
        .limit(limit)
    )
    return session.scalars(within(query, scope, TaskRow)).all()


def checkpoints_of(session: Session, scope: Scope, task_ids: Sequence[str]) -> Sequence[CheckpointRow]:
    """The checkpoints of some tasks, by task and step."""
    query = (
        select(CheckpointRow)
        .where(CheckpointRow.task_id.in_(task_ids))
        .order_by(CheckpointRow.task_id, CheckpointRow.step)
    )
    return session.scalars(within(query, scope, CheckpointRow)).all()
