"""The pipelines' queries."""

from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from tunesmith.errors import NotFound
from tunesmith.lifecycle import State
from tunesmith_platform.db.scoping import get, sees, within
from tunesmith_platform.db.tables import PipelineRow, PipelineStepRow, TaskRow
from tunesmith_platform.scope import Scope

_ANOTHERS = "another user's task"
_LIVE = tuple(state.value for state in State if not state.is_terminal)


def require(session: Session, scope: Scope, pipeline_id: str, *, locked: bool = False) -> PipelineRow:
    """A pipeline.

    Raises:
        NotFound: There is none with this id.
    """
    row = get(session, scope, PipelineRow, pipeline_id, with_for_update=locked)
    if row is None:
        raise _missing(pipeline_id)
    return row


def _missing(pipeline_id: str) -> NotFound:
    return NotFound(f"There is no pipeline `{pipeline_id}`.", hint="`tunesmith pipelines list` shows them.")


def find(session: Session, scope: Scope, after: str | None, limit: int) -> Sequence[PipelineRow]:
    """Pipelines, the newest first."""
    query = within(select(PipelineRow).order_by(PipelineRow.id.desc()).limit(limit), scope, PipelineRow)
    return session.scalars(query if after is None else query.where(PipelineRow.id < after)).all()


def steps(session: Session, scope: Scope, pipeline_id: str) -> Sequence[PipelineStepRow]:
    """A pipeline's steps in their order."""
    query = select(PipelineStepRow).where(PipelineStepRow.pipeline_id == pipeline_id)
    query = within(query.order_by(PipelineStepRow.position), scope, PipelineStepRow)
    return session.scalars(query).all()


def step(session: Session, scope: Scope, pipeline_id: str, position: int) -> PipelineStepRow:
    """One step.

    Raises:
        NotFound: Its pipeline is not there any more.
    """
    row = get(session, scope, PipelineStepRow, (pipeline_id, position))
    if row is None:
        raise _missing(pipeline_id)
    return row


def open_ones(session: Session, scope: Scope) -> Sequence[str]:
    """The ids of pipelines that are not over, the oldest first."""
    query = select(PipelineRow.id).where(PipelineRow.ended_at.is_(None)).order_by(PipelineRow.id)
    return session.scalars(within(query, scope, PipelineRow)).all()


def same(session: Session, scope: Scope, key: str) -> Sequence[PipelineStepRow]:
    """Completed steps that made the same, the newest first."""
    query = select(PipelineStepRow).where(
        PipelineStepRow.key == key, PipelineStepRow.state == State.COMPLETED
    )
    query = within(query.order_by(PipelineStepRow.ended_at.desc()).limit(5), scope, PipelineStepRow)
    return session.scalars(query).all()


def is_running(session: Session, scope: Scope, key: str) -> bool:
    """Whether a step that will make the same is being carried out."""
    query = select(PipelineStepRow.position).where(
        PipelineStepRow.key == key, PipelineStepRow.state == State.RUNNING
    )
    return session.scalars(within(query.limit(1), scope, PipelineStepRow)).first() is not None


def users_of(session: Session, scope: Scope, folder: str, pipeline_id: str) -> str | None:
    """Another pipeline, or a task, that reads files of a folder: anybody's, but another user's is not named."""
    path = TaskRow.inputs["train_path"].as_string()
    evaluation = TaskRow.inputs["eval_path"].as_string()
    used = TaskRow.inputs["data_path"].as_string()
    reading = (
        select(TaskRow.id, TaskRow.owner, TaskRow.project)
        .where(
            or_(
                path.startswith(folder, autoescape=True),
                evaluation.startswith(folder, autoescape=True),
                # What uses a model reads its rows only until it is over.
                TaskRow.state.in_(_LIVE) & used.startswith(folder, autoescape=True),
            )
        )
        .limit(1)
    )
    task = session.execute(reading).first()
    if task is not None:
        return task.id if scope.sees(task.owner, task.project) else _ANOTHERS
    others = select(PipelineStepRow).where(
        PipelineStepRow.pipeline_id != pipeline_id, PipelineStepRow.is_reused
    )
    for row in session.scalars(others):
        if any(str(output["path"]).startswith(folder) for output in row.outputs.values()):
            return row.pipeline_id if sees(session, scope, row) else _ANOTHERS
    return None
