"""The tasks' queries."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from sqlalchemy import ColumnElement, String, and_, func, or_, select, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.interfaces import ORMOption

from tunesmith.activity import Activity
from tunesmith.artifacts import FINAL_MODEL, checkpoint_step
from tunesmith.errors import Conflict, NotFound
from tunesmith.lifecycle import Desired, State
from tunesmith.spec.kinds import Feature, Room, in_room, kind_of
from tunesmith_platform.db.engine import advisory_lock
from tunesmith_platform.db.tables import CheckpointRow, IdempotencyRow, TaskRow

ACTIVITY = "activity"
"""Where a task's progress holds what its job is busy with."""
_WITHOUT = {
    Feature.CHECKPOINTS: "it saves no checkpoints",
    Feature.CLONE: "it is not made again from its parameters",
    Feature.RUN: "it has no run in MLflow",
}
LIVE = (State.PENDING, State.RUNNING, State.STOPPING)


@dataclass(frozen=True)
class Filter:
    """Which tasks a list shows."""

    states: Sequence[State] = ()
    kind: str | None = None
    project: str | None = None
    name: str | None = None
    tag: str | None = None
    after: str | None = None
    limit: int = field(default=50)


def require(session: Session, task_id: str) -> TaskRow:
    """A task.

    Raises:
        NotFound: There is none with this id.
    """
    task = session.get(TaskRow, task_id)
    if task is None:
        raise missing(task_id)
    return task


def missing(task_id: str) -> NotFound:
    """What is said of a task that is not there."""
    return NotFound(f"There is no task `{task_id}`.", hint="`tunesmith tasks list` shows them.")


def activity_of(task: TaskRow) -> Activity | None:
    """What a task's job said last that it is busy with."""
    said = (task.progress or {}).get(ACTIVITY)
    return Activity.model_validate(said) if said else None


def forget_activity(task: TaskRow) -> None:
    """What a job was busy with is over with it."""
    if ACTIVITY in (task.progress or {}):
        task.progress = {name: value for name, value in task.progress.items() if name != ACTIVITY}


def supporting(task: TaskRow, feature: Feature) -> TaskRow:
    """A task of a kind that supports something.

    Raises:
        Conflict: Its kind does not.
    """
    if feature not in kind_of(task.kind).supports:
        raise Conflict(
            f"Task `{task.name}` is of kind `{task.kind}`: {_WITHOUT[feature]}.",
            hint="`tunesmith tasks list` says what kind each task is.",
        )
    return task


def locked(session: Session, task_id: str, *options: ORMOption) -> TaskRow:
    """A task, its row held until the transaction ends."""
    task = session.get(TaskRow, task_id, options=options, with_for_update=True)
    if task is None:
        raise missing(task_id)
    return task


def find(session: Session, wanted: Filter) -> Sequence[TaskRow]:
    """Tasks, newest first; one more than the limit, to tell whether there are more."""
    # The ids first, from the index alone: sorting or passing over whole rows reads all their parameters too.
    ids = select(TaskRow.id).order_by(TaskRow.id.desc()).limit(wanted.limit + 1)
    if wanted.states:
        ids = ids.where(TaskRow.state.in_([state.value for state in wanted.states]))
    if wanted.kind:
        ids = ids.where(TaskRow.kind == wanted.kind)
    if wanted.project:
        ids = ids.where(TaskRow.project == wanted.project)
    if wanted.tag:
        # Tags are a JSON list of strings: the quoted word is there, or it is not.
        ids = ids.where(TaskRow.tags.cast(String).contains(f'"{wanted.tag}"', autoescape=True))
    if wanted.name:
        is_plain = wanted.name.isascii() and session.get_bind().dialect.name == "sqlite"
        # SQLite's own `LIKE` passes over the case of ASCII letters; `lower` is Python for each row.
        match = TaskRow.name.contains if is_plain else TaskRow.name.icontains
        ids = ids.where(match(wanted.name, autoescape=True))
    if wanted.after:
        ids = ids.where(TaskRow.id < wanted.after)
    found = session.scalars(ids).all()
    return session.scalars(select(TaskRow).where(TaskRow.id.in_(found)).order_by(TaskRow.id.desc())).all()


def idempotent(session: Session, principal: str, key: str) -> IdempotencyRow | None:
    """What an `Idempotency-Key` made before."""
    return session.get(IdempotencyRow, (principal, key))


def refuse_shared_output(session: Session, output_dir: str | None, but: str | None = None) -> None:
    """Let one task at a time write into a folder, and none into what another saves.

    Raises:
        Conflict: A task that is not over writes there, or inside of what it will save; or a task's files lie above.
    """
    if output_dir is None:
        return
    advisory_lock(session, "output_dir")  # two that come at once would each find nobody there
    above = [str(folder) for folder in (PurePath(output_dir), *PurePath(output_dir).parents)]
    theirs = TaskRow.inputs["output_dir"].as_string()
    is_near = or_(theirs.in_(above), theirs.startswith(f"{output_dir}/", autoescape=True))
    live = select(TaskRow.id, TaskRow.name, theirs.label("output_dir")).where(
        TaskRow.state.in_([state.value for state in LIVE]), is_near, TaskRow.id != (but or "")
    )
    for other in session.execute(live):
        if _lands_in(output_dir, other.output_dir) or _lands_in(other.output_dir, output_dir):
            raise Conflict(
                f"Task `{other.name}` ({other.id}) writes into `{other.output_dir}` and is not over.",
                hint="Give another `output_dir`, or wait until that task is over.",
                field="spec.output_dir",
            )
    owner = session.execute(
        select(TaskRow.id, TaskRow.name, TaskRow.artifact_uri).where(TaskRow.artifact_uri.in_(above)).limit(1)
    ).first()
    if owner is not None:
        raise Conflict(
            f"`{output_dir}` lies in the files of task `{owner.name}` ({owner.id}).",
            hint="Give another `output_dir`.",
            field="spec.output_dir",
        )


def _lands_in(inner: str, outer: str) -> bool:
    """Whether a folder is one that a task writes into, or lies in a result that the task lays there."""
    below = PurePath(inner).relative_to(outer).parts if PurePath(inner).is_relative_to(outer) else None
    return below is not None and (
        not below or below[0] == FINAL_MODEL or checkpoint_step(below[0]) is not None
    )


def refuse_needed_files(session: Session, task: TaskRow, folders: Sequence[str]) -> None:
    """Keep files on which other tasks are built.

    Raises:
        Conflict: Another task's base model or adapter lies there, or it has yet to start from there.
    """
    places = (TaskRow.inputs["model_path"].as_string(), TaskRow.spec["attach_lora_path"].as_string())
    lies_there = [condition for place in places for condition in _inside(place, folders)]
    if not lies_there:
        return
    # What uses a model needs it only until it is over.
    in_use = and_(
        TaskRow.state.in_([state.value for state in LIVE]),
        or_(*_inside(TaskRow.inputs["model_uri"].as_string(), folders)),
    )
    query = select(TaskRow.name).where(TaskRow.id != task.id, or_(*lies_there, in_use)).order_by(TaskRow.id)
    names = session.scalars(query.limit(4)).all()
    if names:
        shown = ", ".join(f"`{name}`" for name in names[:3]) + (" and more" if len(names) > 3 else "")
        raise Conflict(
            f"The files of `{task.name}` are what {shown} started from.",
            hint="Delete those tasks first, or delete this one without its files.",
        )


def _inside(place: ColumnElement[str], folders: Sequence[str]) -> list[ColumnElement[bool]]:
    """Whether a path is one of some folders, or lies in it."""
    return [
        condition
        for folder in folders
        for condition in (place == folder, place.startswith(f"{folder}/", autoescape=True))
    ]


def newest_checkpoint(session: Session, task_id: str) -> CheckpointRow | None:
    """A task's newest checkpoint."""
    query = select(CheckpointRow).where(CheckpointRow.task_id == task_id)
    return session.scalars(query.order_by(CheckpointRow.step.desc()).limit(1)).one_or_none()


def count_open(session: Session, room: Room) -> int:
    """How many attempts that share a room are on Ray, or on their way there."""
    query = (
        select(func.count())
        .select_from(TaskRow)
        .where(TaskRow.is_attempt_open, TaskRow.kind.in_(in_room(room)))
    )
    return session.scalar(query) or 0


def open_names(session: Session, room: Room, limit: int) -> Sequence[str]:
    """What the tasks are called that hold a room's places."""
    query = select(TaskRow.name).where(TaskRow.is_attempt_open, TaskRow.kind.in_(in_room(room)))
    return session.scalars(query.order_by(TaskRow.id).limit(limit)).all()


def open_ids(session: Session, room: Room) -> frozenset[str]:
    """The tasks of a room that are on Ray, or on their way there."""
    query = select(TaskRow.id).where(TaskRow.is_attempt_open, TaskRow.kind.in_(in_room(room)))
    return frozenset(session.scalars(query))


def queue(
    session: Session, moment: dt.datetime, limit: int, room: Room, *, but_message: str | None = None
) -> Sequence[str]:
    """The tasks of a room that may start next: by priority, then by age.

    Args:
        session: The caller's.
        moment: Those that wait until later are left out.
        limit: How many at the most.
        room: Which room.
        but_message: Leave out those whose message is this.
    """
    query = (
        select(TaskRow.id)
        .where(
            *([] if but_message is None else [TaskRow.message != but_message]),
            TaskRow.state == State.PENDING,
            TaskRow.kind.in_(in_room(room)),
            TaskRow.is_attempt_open.is_(False),
            TaskRow.desired == Desired.RUN,
            or_(TaskRow.retry_at.is_(None), TaskRow.retry_at <= moment),
        )
        .order_by(TaskRow.priority.desc(), TaskRow.id)
        .limit(limit)
    )
    return session.scalars(query).all()


def to_reconcile(session: Session) -> Sequence[str]:
    """The tasks that have something to look after: an open attempt, or a stop that has not happened yet."""
    open_attempts = select(TaskRow.id).where(TaskRow.is_attempt_open)
    stops = select(TaskRow.id).where(
        TaskRow.state.in_([s.value for s in LIVE]), TaskRow.desired == Desired.STOP
    )
    return session.scalars(open_attempts.union(stops)).all()


def live_with_message(session: Session, beginning: str) -> Sequence[str]:
    """The tasks that are not over and whose message begins so."""
    return session.scalars(
        select(TaskRow.id).where(
            TaskRow.state.in_([s.value for s in LIVE]), TaskRow.message.startswith(beginning, autoescape=True)
        )
    ).all()


def claim(session: Session, task_id: str, owner: str, moment: dt.datetime, until: dt.datetime) -> bool:
    """Take a task's lease, unless another holds it."""
    result = session.execute(
        update(TaskRow)
        .where(
            TaskRow.id == task_id,
            or_(TaskRow.lease_owner.is_(None), TaskRow.lease_owner == owner, TaskRow.lease_until < moment),
        )
        .values(lease_owner=owner, lease_until=until)
    )
    return bool(result.rowcount)  # type: ignore[attr-defined]


def count_by_state(session: Session) -> dict[str, int]:
    """How many tasks are in each state."""
    rows = session.execute(select(TaskRow.state, func.count()).group_by(TaskRow.state)).all()
    return {str(state): int(number) for state, number in rows}
