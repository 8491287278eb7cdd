"""The models' queries."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tunesmith.errors import NotFound
from tunesmith_platform.db.scoping import get, within
from tunesmith_platform.db.tables import ModelRow, TaskRow
from tunesmith_platform.scope import Scope

_MODEL_PATH = TaskRow.inputs["model_path"].as_string()


def require(session: Session, scope: Scope, model: str) -> ModelRow:
    """A model by its id or name.

    Raises:
        NotFound: There is none.
    """
    row = find(session, scope, model) or by_name(session, scope, model)
    if row is None:
        raise NotFound(f"There is no model `{model}`.", hint="`tunesmith models list` shows them.")
    return row


def find(session: Session, scope: Scope, model_id: str) -> ModelRow | None:
    """A model by its id; None where it was forgotten."""
    return get(session, scope, ModelRow, model_id)


def by_name(session: Session, scope: Scope, name: str) -> ModelRow | None:
    """The model with a name."""
    query = select(ModelRow).where(ModelRow.name == name)
    return session.scalars(within(query, scope, ModelRow)).one_or_none()


def by_path(session: Session, scope: Scope, path: str) -> ModelRow | None:
    """The model in a folder."""
    query = select(ModelRow).where(ModelRow.path == path)
    return session.scalars(within(query, scope, ModelRow)).one_or_none()


def by_hub_id(session: Session, scope: Scope, hub_id: str) -> ModelRow | None:
    """The oldest model with a hub id; the hub passes over case."""
    query = select(ModelRow).where(func.lower(ModelRow.hub_id) == hub_id.lower())
    query = within(query.order_by(ModelRow.id).limit(1), scope, ModelRow)
    return session.scalars(query).one_or_none()


def every(session: Session, scope: Scope) -> Sequence[ModelRow]:
    """All models by name. They are few: each is gigabytes."""
    return session.scalars(within(select(ModelRow).order_by(ModelRow.name), scope, ModelRow)).all()


def unread(session: Session, scope: Scope) -> Sequence[str]:
    """The models that can be read and whose fingerprint is not known yet."""
    rows = session.scalars(within(select(ModelRow).where(ModelRow.sha256.is_(None)), scope, ModelRow))
    return [row.id for row in rows if row.facts]


def free_name(session: Session, scope: Scope, wanted: str) -> str:
    """A name that no model has, anybody's: the wanted one, or that with a number."""
    scope = scope.everything()
    name, number = wanted[:110], 1
    while by_name(session, scope, name) is not None:
        number += 1
        name = f"{wanted[:110]}-{number}"
    return name


def count_tasks(session: Session, scope: Scope) -> dict[str, int]:
    """How many tasks start from each model folder."""
    query = within(select(_MODEL_PATH, func.count()).group_by(_MODEL_PATH), scope, TaskRow)
    return {str(path): int(number) for path, number in session.execute(query).all()}


def count_tasks_of(session: Session, scope: Scope, path: str) -> int:
    """How many tasks start from a model folder."""
    query = select(func.count()).select_from(TaskRow).where(path == _MODEL_PATH)
    return session.scalar(within(query, scope, TaskRow)) or 0


def tasks_of(session: Session, scope: Scope, path: str, limit: int) -> Sequence[TaskRow]:
    """The newest tasks that start from a model folder."""
    query = select(TaskRow).where(path == _MODEL_PATH).order_by(TaskRow.id.desc()).limit(limit)
    return session.scalars(within(query, scope, TaskRow)).all()


def live_tasks_without_sum(session: Session, scope: Scope, path: str) -> Sequence[TaskRow]:
    """The tasks that start from a model folder whose fingerprint was not known when they were made."""
    query = select(TaskRow).where(path == _MODEL_PATH, TaskRow.ended_at.is_(None)).with_for_update()
    found = session.scalars(within(query, scope, TaskRow))
    return [task for task in found if not task.inputs.get("model_sha256")]
