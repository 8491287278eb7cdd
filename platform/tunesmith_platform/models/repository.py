"""The models' queries."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tunesmith.errors import NotFound
from tunesmith_platform.db.tables import ModelRow, TaskRow

_MODEL_PATH = TaskRow.inputs["model_path"].as_string()


def require(session: Session, model: str) -> ModelRow:
    """A model by its id or name.

    Raises:
        NotFound: There is none.
    """
    row = session.get(ModelRow, model) or by_name(session, model)
    if row is None:
        raise NotFound(f"There is no model `{model}`.", hint="`tunesmith models list` shows them.")
    return row


def by_name(session: Session, name: str) -> ModelRow | None:
    """The model with a name."""
    return session.scalars(select(ModelRow).where(ModelRow.name == name)).one_or_none()


def by_path(session: Session, path: str) -> ModelRow | None:
    """The model in a folder."""
    return session.scalars(select(ModelRow).where(ModelRow.path == path)).one_or_none()


def by_hub_id(session: Session, hub_id: str) -> ModelRow | None:
    """The oldest model with a hub id; the hub passes over case."""
    query = select(ModelRow).where(func.lower(ModelRow.hub_id) == hub_id.lower())
    return session.scalars(query.order_by(ModelRow.id).limit(1)).one_or_none()


def every(session: Session) -> Sequence[ModelRow]:
    """All models by name. They are few: each is gigabytes."""
    return session.scalars(select(ModelRow).order_by(ModelRow.name)).all()


def free_name(session: Session, wanted: str) -> str:
    """A name that no model has: the wanted one, or that with a number."""
    name, number = wanted[:110], 1
    while by_name(session, name) is not None:
        number += 1
        name = f"{wanted[:110]}-{number}"
    return name


def count_tasks(session: Session) -> dict[str, int]:
    """How many tasks start from each model folder."""
    query = select(_MODEL_PATH, func.count()).group_by(_MODEL_PATH)
    return {str(path): int(number) for path, number in session.execute(query).all()}


def count_tasks_of(session: Session, path: str) -> int:
    """How many tasks start from a model folder."""
    return session.scalar(select(func.count()).select_from(TaskRow).where(path == _MODEL_PATH)) or 0


def tasks_of(session: Session, path: str, limit: int) -> Sequence[TaskRow]:
    """The newest tasks that start from a model folder."""
    query = select(TaskRow).where(path == _MODEL_PATH).order_by(TaskRow.id.desc()).limit(limit)
    return session.scalars(query).all()


def live_tasks_without_sum(session: Session, path: str) -> Sequence[TaskRow]:
    """The tasks that start from a model folder whose fingerprint was not known when they were made."""
    found = session.scalars(
        select(TaskRow).where(path == _MODEL_PATH, TaskRow.ended_at.is_(None)).with_for_update()
    )
    return [task for task in found if not task.inputs.get("model_sha256")]
