"""The pipelines' queries."""

from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from tunesmith.errors import NotFound
from tunesmith.lifecycle import State
from tunesmith_platform.db.tables import PipelineRow, PipelineStepRow, TaskRow

_LIVE = tuple(state.value for state in State if not state.is_terminal)


def require(session: Session, pipeline_id: str, *, locked: bool = False) -> PipelineRow:
    """A pipeline.

    Raises:
        NotFound: There is none with this id.
    """
    row = session.get(PipelineRow, pipeline_id, with_for_update=locked)
    if row is None:
        raise NotFound(
            f"There is no pipeline `{pipeline_id}`.", hint="`tunesmith pipelines list` shows them."
        )
    return row


def find(session: Session, after: str | None, limit: int) -> Sequence[PipelineRow]:
    """Pipelines, the newest first."""
    query = select(PipelineRow).order_by(PipelineRow.id.desc()).limit(limit)
    return session.scalars(query if after is None else query.where(PipelineRow.id < after)).all()


def steps(session: Session, pipeline_id: str) -> Sequence[PipelineStepRow]:
    """A pipeline's steps in their order."""
    query = select(PipelineStepRow).where(PipelineStepRow.pipeline_id == pipeline_id)
    return session.scalars(query.order_by(PipelineStepRow.position)).all()


def step(session: Session, pipeline_id: str, position: int) -> PipelineStepRow:
    """One step."""
    return session.get_one(PipelineStepRow, (pipeline_id, position))


def open_ones(session: Session) -> Sequence[str]:
    """The ids of pipelines that are not over, the oldest first."""
    query = select(PipelineRow.id).where(PipelineRow.ended_at.is_(None)).order_by(PipelineRow.id)
    return session.scalars(query).all()


def same(session: Session, key: str) -> Sequence[PipelineStepRow]:
    """Completed steps that made the same, the newest first."""
    query = select(PipelineStepRow).where(
        PipelineStepRow.key == key, PipelineStepRow.state == State.COMPLETED
    )
    return session.scalars(query.order_by(PipelineStepRow.ended_at.desc()).limit(5)).all()


def is_running(session: Session, key: str) -> bool:
    """Whether a step that will make the same is being carried out."""
    query = select(PipelineStepRow.position).where(
        PipelineStepRow.key == key, PipelineStepRow.state == State.RUNNING
    )
    return session.scalars(query.limit(1)).first() is not None


def users_of(session: Session, folder: str, pipeline_id: str) -> str | None:
    """Another pipeline, or a task, that reads files of a folder."""
    path = TaskRow.inputs["train_path"].as_string()
    evaluation = TaskRow.inputs["eval_path"].as_string()
    used = TaskRow.inputs["data_path"].as_string()
    task = session.scalars(
        select(TaskRow.id)
        .where(
            or_(
                path.startswith(folder, autoescape=True),
                evaluation.startswith(folder, autoescape=True),
                # What uses a model reads its rows only until it is over.
                TaskRow.state.in_(_LIVE) & used.startswith(folder, autoescape=True),
            )
        )
        .limit(1)
    ).first()
    if task is not None:
        return task
    others = select(PipelineStepRow).where(PipelineStepRow.pipeline_id != pipeline_id)
    for row in session.scalars(others.where(PipelineStepRow.is_reused)):
        if any(str(output["path"]).startswith(folder) for output in row.outputs.values()):
            return row.pipeline_id
    return None
