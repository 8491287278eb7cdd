"""The mirror's queries: how far each task's run is, and which are behind."""

from collections.abc import Sequence

from sqlalchemy import case, select
from sqlalchemy.orm import Session

from tunesmith.lifecycle import ENDS
from tunesmith.spec.kinds import Feature, supporting
from tunesmith_platform.db.scoping import get, within
from tunesmith_platform.db.tables import MirrorRow, TaskRow
from tunesmith_platform.scope import Scope


def of_task(session: Session, scope: Scope, task_id: str) -> MirrorRow | None:
    """How far a task's run is; None where none was begun."""
    return get(session, scope, MirrorRow, task_id)


def with_run(
    session: Session, scope: Scope, *, oldest_first: bool, limit: int | None = None
) -> Sequence[str]:
    """The tasks whose runs MLflow was told of."""
    order = MirrorRow.task_id if oldest_first else MirrorRow.task_id.desc()
    query = select(MirrorRow.task_id).where(MirrorRow.run_id.is_not(None)).order_by(order).limit(limit)
    return session.scalars(within(query, scope, MirrorRow)).all()


def behind(session: Session, scope: Scope) -> Sequence[str]:
    """The tasks whose log has grown since it was copied; those that are over come last."""
    query = (
        select(TaskRow.id)
        .join(MirrorRow, MirrorRow.task_id == TaskRow.id, isouter=True)
        .where(TaskRow.kind.in_(supporting(Feature.RUN)), TaskRow.attempt > 0)
        .where((MirrorRow.n.is_(None)) | (MirrorRow.n < TaskRow.events))
        .order_by(case((TaskRow.state.in_(ENDS), 1), else_=0), TaskRow.id)
    )
    return session.scalars(within(query, scope, TaskRow)).all()
