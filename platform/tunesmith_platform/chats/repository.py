"""The queries of served models, and of what names stand for."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tunesmith.spec.kinds import Feature, supporting
from tunesmith_platform.db.scoping import expect, get, within
from tunesmith_platform.db.tables import ChatFileRow, ChatRow, CheckpointRow, PackageRow, ProofRow, TaskRow
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


# --- packaged files


def files(session: Session, scope: Scope, weights: str | None = None) -> Sequence[ChatFileRow]:
    """The packaged files that can be talked to, of some weights or of all, as long as their package is there."""
    query = (
        select(ChatFileRow)
        .join(TaskRow, TaskRow.id == ChatFileRow.package_id)
        .join(PackageRow, PackageRow.task_id == ChatFileRow.package_id, isouter=True)
        .where(ChatFileRow.owner == scope.owner, PackageRow.removed_at.is_(None))
        .order_by(ChatFileRow.weights, ChatFileRow.file_type)
    )
    if weights is not None:
        query = query.where(ChatFileRow.weights == weights)
    return session.scalars(within(query, scope, ChatFileRow)).all()


def put_file(session: Session, scope: Scope, row: ChatFileRow) -> None:
    """Enter a packaged file; it takes the place of one of the same weights and type that was made before."""
    expect(session, scope, row)
    key = ("owner", "weights", "file_type")
    values = {column.key: getattr(row, column.key) for column in ChatFileRow.__table__.columns}
    is_postgres = session.get_bind().dialect.name == "postgresql"
    insert: Any = postgresql.insert if is_postgres else sqlite.insert
    new = {name: value for name, value in values.items() if name not in key}
    session.execute(
        insert(ChatFileRow).values(**values).on_conflict_do_update(index_elements=list(key), set_=new)
    )


# --- proofs


def proof(session: Session, scope: Scope, key: str, *, locked: bool = False) -> ProofRow | None:
    """What is known of some weights in an engine; None where they were never loaded."""
    return get(session, scope, ProofRow, (scope.owner, key), with_for_update=locked)


def proofs_of(session: Session, scope: Scope, weights: Sequence[str]) -> Sequence[ProofRow]:
    """What is known of some weights, whatever answers with them; the newest first."""
    query = (
        select(ProofRow)
        .where(ProofRow.owner == scope.owner, ProofRow.weights.in_(weights))
        .order_by(ProofRow.created_at.desc(), ProofRow.key)
    )
    return session.scalars(within(query, scope, ProofRow)).all()


def own_proofs(session: Session, scope: Scope, limit: int) -> Sequence[ProofRow]:
    """What is known of everything that was loaded for the scope's own user; the newest first."""
    query = select(ProofRow).where(ProofRow.owner == scope.owner)
    query = query.order_by(ProofRow.created_at.desc(), ProofRow.key)
    return session.scalars(within(query, scope, ProofRow).limit(limit)).all()


def proof_of_task(session: Session, scope: Scope, task_id: str) -> ProofRow | None:
    """What a task is to find out; None where nobody waits for that."""
    query = select(ProofRow).where(ProofRow.task_id == task_id).with_for_update()
    return session.scalars(within(query, scope, ProofRow)).first()


def proofs_in(session: Session, scope: Scope, state: str, limit: int) -> Sequence[ProofRow]:
    """Everybody's proofs in a state, the one that waits longest first."""
    query = select(ProofRow).where(ProofRow.state == state).order_by(ProofRow.changed_at, ProofRow.key)
    return session.scalars(within(query, scope, ProofRow).limit(limit)).all()


def want_proof(session: Session, scope: Scope, row: ProofRow) -> ProofRow:
    """Enter weights of which nothing is known yet; of two who come at once the second finds the first one's row.

    The same user may have them in several projects: there is one row, in the project where they were looked at.
    """
    expect(session, scope, row)
    values = {column.key: getattr(row, column.key) for column in ProofRow.__table__.columns}
    is_postgres = session.get_bind().dialect.name == "postgresql"
    insert: Any = postgresql.insert if is_postgres else sqlite.insert
    session.execute(insert(ProofRow).values(**values).on_conflict_do_nothing())
    found = get(session, scope.everything(), ProofRow, (row.owner, row.key), with_for_update=True)
    assert found is not None, "it was just entered"
    return found
