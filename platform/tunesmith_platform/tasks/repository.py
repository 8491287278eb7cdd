"""The tasks' queries."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, cast

from sqlalchemy import ColumnElement, String, Table, and_, func, insert, or_, select, type_coerce
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session, make_transient_to_detached
from sqlalchemy.orm.interfaces import ORMOption

from tunesmith.activity import Activity
from tunesmith.artifacts import RESULTS, checkpoint_step
from tunesmith.chat.wire import PackagedGguf
from tunesmith.errors import Conflict, NotFound
from tunesmith.lifecycle import Desired, State
from tunesmith.packaged import FilePart
from tunesmith.spec.checkpoint_scores import SCORE_TAG
from tunesmith.spec.kinds import Feature, in_room, kind_of, kinds
from tunesmith.spec.kinds import supporting as of_feature
from tunesmith_platform.db.engine import advisory_lock, json_text
from tunesmith_platform.db.scoping import expect, get, within
from tunesmith_platform.db.tables import (
    AttemptRow,
    ChatFileRow,
    ChatRow,
    CheckpointRow,
    CheckpointScoreRow,
    CheckpointUseRow,
    MirrorRow,
    PackageRow,
    TaskRow,
)
from tunesmith_platform.scope import Scope

ACTIVITY = "activity"
"""Where a task's progress holds what its job is busy with."""
SERVING = "serving"
"""The same of how the model is that it serves, and which names it has loaded."""
_WITHOUT = {
    Feature.CHECKPOINTS: "it saves no checkpoints",
    Feature.CLONE: "it is not made again from its parameters",
    Feature.RUN: "it has no run in MLflow",
    Feature.WARM: "no warm runner does its work",
}
_TASKS = cast(Table, TaskRow.__table__)
_COLUMNS = tuple(_TASKS.columns.keys())
_ADD = insert(_TASKS)
_WHOSE = (TaskRow.owner, TaskRow.project)
LIVE = (State.PENDING, State.RUNNING, State.STOPPING)


@dataclass(frozen=True)
class Filter:
    """Which tasks a list shows."""

    states: Sequence[State] = ()
    kind: str | None = None
    project: str | None = None
    name: str | None = None
    tag: str | None = None
    without_tags: Sequence[str] = ()
    after: str | None = None
    limit: int = field(default=50)


def known(session: Session, scope: Scope, task_id: str, *, locked: bool = False) -> TaskRow | None:
    """A task, its row held until the transaction ends where it is `locked`; None where there is none."""
    return get(session, scope, TaskRow, task_id, with_for_update=locked)


def require(session: Session, scope: Scope, task_id: str) -> TaskRow:
    """A task.

    Raises:
        NotFound: There is none with this id.
    """
    task = known(session, scope, task_id)
    if task is None:
        raise missing(task_id)
    return task


def packaged_at(session: Session, scope: Scope, uri: str) -> ChatFileRow | None:
    """The packaged file that lies there, of those that chats may load; None where none does."""
    query = (
        select(ChatFileRow)
        .join(TaskRow, TaskRow.id == ChatFileRow.package_id)
        .join(PackageRow, PackageRow.task_id == ChatFileRow.package_id, isouter=True)
        .where(ChatFileRow.owner == scope.owner, ChatFileRow.uri == uri, PackageRow.removed_at.is_(None))
    )
    return session.scalars(within(query, scope, ChatFileRow)).first()


def file_of(row: ChatFileRow) -> PackagedGguf:
    """A packaged file as chats are told of it."""
    return PackagedGguf(
        uri=row.uri,
        sha256=row.sha256,
        bytes=row.bytes,
        type=row.file_type,
        parts=[FilePart.model_validate(part) for part in row.parts],
    )


def chat_of(session: Session, scope: Scope, task_id: str) -> ChatRow | None:
    """The base that a task serves; None where it serves none that is asked for."""
    return session.scalars(within(select(ChatRow).where(ChatRow.task_id == task_id), scope, ChatRow)).first()


def missing(task_id: str) -> NotFound:
    """What is said of a task that is not there."""
    return NotFound(f"There is no task `{task_id}`.", hint="`tunesmith tasks list` shows them.")


def activity_of(task: TaskRow) -> Activity | None:
    """What a task's job said last that it is busy with."""
    said = (task.progress or {}).get(ACTIVITY)
    return Activity.model_validate(said) if said else None


def forget_activity(task: TaskRow) -> None:
    """What a job was busy with is over with it, and so is what it served."""
    if {ACTIVITY, SERVING} & set(task.progress or {}):
        task.progress = {
            name: value for name, value in task.progress.items() if name not in (ACTIVITY, SERVING)
        }


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


def locked(session: Session, scope: Scope, task_id: str, *options: ORMOption) -> TaskRow:
    """A task, its row held until the transaction ends."""
    task = get(session, scope, TaskRow, task_id, options=options, with_for_update=True)
    if task is None:
        raise missing(task_id)
    return task


def find(session: Session, scope: Scope, wanted: Filter) -> Sequence[TaskRow]:
    """Tasks, newest first; one more than the limit, to tell whether there are more."""
    # The ids first, from the index alone: sorting or passing over whole rows reads all their parameters too.
    ids = select(TaskRow.id).order_by(TaskRow.id.desc()).limit(wanted.limit + 1)
    ids = within(ids, scope, TaskRow)
    if wanted.states:
        ids = ids.where(TaskRow.state.in_([state.value for state in wanted.states]))
    if wanted.kind:
        ids = ids.where(TaskRow.kind == wanted.kind)
    if wanted.project:
        ids = ids.where(TaskRow.project == wanted.project)
    if wanted.tag:
        ids = ids.where(_has_tag(session, wanted.tag))
    for tag in wanted.without_tags:
        ids = ids.where(~_has_tag(session, tag))
    if wanted.name:
        is_plain = wanted.name.isascii() and session.get_bind().dialect.name == "sqlite"
        # SQLite's own `LIKE` passes over the case of ASCII letters; `lower` is Python for each row.
        match = TaskRow.name.contains if is_plain else TaskRow.name.icontains
        ids = ids.where(match(wanted.name, autoescape=True))
    if wanted.after:
        ids = ids.where(TaskRow.id < wanted.after)
    found = session.scalars(ids).all()
    return session.scalars(select(TaskRow).where(TaskRow.id.in_(found)).order_by(TaskRow.id.desc())).all()


def mirror_of(session: Session, scope: Scope, task_id: str) -> MirrorRow | None:
    """How far the mirror of a task is; None where it was not begun."""
    return get(session, scope, MirrorRow, task_id)


def attempt_of(session: Session, scope: Scope, task_id: str, number: int) -> AttemptRow | None:
    """A start of a task; None where there is none with this number."""
    return get(session, scope, AttemptRow, (task_id, number))


def require_attempt(session: Session, scope: Scope, task_id: str, number: int) -> AttemptRow:
    """A start of a task.

    Raises:
        NotFound: There is none with this number.
    """
    row = attempt_of(session, scope, task_id, number)
    if row is None:
        raise NotFound(f"Task `{task_id}` has no attempt {number}.")
    return row


def that_saved(session: Session, scope: Scope, place: str, folder: str | None) -> TaskRow | None:
    """A task whose model lies at a place, or whose files lie in a folder; of a kind that saves checkpoints."""
    there = [TaskRow.model_uri == place]
    if folder is not None:
        there.append(TaskRow.artifact_uri == folder)
    query = select(TaskRow).where(TaskRow.kind.in_(of_feature(Feature.CHECKPOINTS)), or_(*there)).limit(1)
    return session.scalars(within(query, scope, TaskRow)).one_or_none()


def add(session: Session, scope: Scope, task: TaskRow) -> None:
    """Store a new task's row, of which every column is set; the row is in the session afterwards.

    Past the unit of work, which takes several times as long for one row.
    """
    expect(session, scope, task)
    session.connection().execute(_ADD, {name: getattr(task, name) for name in _COLUMNS})
    make_transient_to_detached(task)
    session.add(task)


def use(session: Session, scope: Scope, task: TaskRow, checkpoints: Iterable[tuple[str, int]]) -> None:
    """Note which checkpoints a new task uses, each by its task and its step: they are spared until it is over."""
    expect(session, scope, task)
    rows = [
        {"task_id": task.id, "of_task_id": of_task, "step": step}
        for of_task, step in sorted(set(checkpoints))
    ]
    if rows:
        session.execute(insert(CheckpointUseRow), rows)


def scoring(session: Session, scope: Scope, task_id: str) -> Sequence[str]:
    """The evaluations that score a training's checkpoints for it, and that nobody else asked for.

    Those of checkpoints that were saved anew since are known by their tag alone.
    """
    now = select(CheckpointScoreRow.evaluation_id).where(CheckpointScoreRow.task_id == task_id)
    made = and_(TaskRow.parent_id == task_id, _has_tag(session, SCORE_TAG))
    query = select(TaskRow.id).where(or_(TaskRow.id.in_(within(now, scope, CheckpointScoreRow)), made))
    return session.scalars(within(query.order_by(TaskRow.id), scope, TaskRow)).all()


def _has_tag(session: Session, tag: str) -> ColumnElement[bool]:
    if session.get_bind().dialect.name == "postgresql":
        return type_coerce(TaskRow.tags, JSONB).contains([tag])  # found by its index
    # Tags are a JSON list of strings: the tag as JSON is there, or it is not. `LIKE` would pass over its case.
    return func.instr(TaskRow.tags.cast(String), json_text([tag])[1:-1]) > 0


def refuse_shared_output(
    session: Session, scope: Scope, output_dir: str | None, but: str | None = None
) -> None:
    """Let one task at a time write into a folder, and none into what another saves; others' are not named.

    Raises:
        Conflict: A task that is not over writes there, or inside of what it will save; or a task's files lie above.
    """
    if output_dir is None:
        return
    advisory_lock(session, "output_dir")  # two that come at once would each find nobody there
    above = [str(folder) for folder in (PurePath(output_dir), *PurePath(output_dir).parents)]
    theirs = TaskRow.inputs["output_dir"].as_string()
    is_near = or_(theirs.in_(above), theirs.startswith(f"{output_dir}/", autoescape=True))
    live = select(TaskRow.id, TaskRow.name, theirs.label("output_dir"), *_WHOSE).where(
        TaskRow.state.in_([state.value for state in LIVE]), is_near, TaskRow.id != (but or "")
    )
    for other in session.execute(live):
        if _lands_in(output_dir, other.output_dir) or _lands_in(other.output_dir, output_dir):
            raise Conflict(
                f"{_named('Task', other, scope)} writes into `{other.output_dir}` and is not over.",
                hint="Give another `output_dir`, or wait until that task is over.",
                field="spec.output_dir",
            )
    saved = select(TaskRow.id, TaskRow.name, *_WHOSE).where(TaskRow.artifact_uri.in_(above)).limit(1)
    holder = session.execute(saved).first()
    if holder is not None:
        raise Conflict(
            f"`{output_dir}` lies in the files of {_named('task', holder, scope)}.",
            hint="Give another `output_dir`.",
            field="spec.output_dir",
        )


def _named(noun: str, other: Any, scope: Scope) -> str:
    """A task that was found on behalf of all, as it is called to a caller who may not see it."""
    if not scope.sees(other.owner, other.project):
        return f"{noun} of another user"
    return f"{noun} `{other.name}` ({other.id})"


def _lands_in(inner: str, outer: str) -> bool:
    """Whether a folder is one that a task writes into, or lies in a result that the task lays there."""
    below = PurePath(inner).relative_to(outer).parts if PurePath(inner).is_relative_to(outer) else None
    return below is not None and (not below or below[0] in RESULTS or checkpoint_step(below[0]) is not None)


def refuse_needed_files(session: Session, scope: Scope, task: TaskRow, folders: Sequence[str]) -> None:
    """Keep files on which other tasks are built; others' are not named.

    Raises:
        Conflict: Another task's base model or adapter lies there, or it has yet to start from there.
    """
    expect(session, scope, task)
    places = (TaskRow.inputs["model_path"].as_string(), TaskRow.spec["attach_lora_path"].as_string())
    lies_there = [condition for place in places for condition in _inside(place, folders)]
    if not lies_there:
        return
    # What uses a model needs it only until it is over.
    uses = select(CheckpointUseRow.task_id).where(CheckpointUseRow.of_task_id == task.id)
    in_use = and_(
        TaskRow.state.in_([state.value for state in LIVE]),
        or_(*_inside(TaskRow.inputs["model_uri"].as_string(), folders), TaskRow.id.in_(uses)),
    )
    query = select(TaskRow.name, *_WHOSE).where(TaskRow.id != task.id, or_(*lies_there, in_use))
    users = session.execute(query.order_by(TaskRow.id).limit(4)).all()
    names = [row.name if scope.sees(row.owner, row.project) else "another user's" for row in users]
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


def checkpoint_of(session: Session, scope: Scope, task_id: str, step: int) -> CheckpointRow | None:
    """A task's checkpoint of a step; None where there is none."""
    return get(session, scope, CheckpointRow, (task_id, step))


def checkpoints_of(session: Session, scope: Scope, task_id: str) -> Sequence[CheckpointRow]:
    """A task's checkpoints in the order of their steps."""
    query = select(CheckpointRow).where(CheckpointRow.task_id == task_id).order_by(CheckpointRow.step)
    return session.scalars(within(query, scope, CheckpointRow)).all()


def newest_checkpoint(session: Session, scope: Scope, task_id: str) -> CheckpointRow | None:
    """A task's newest checkpoint."""
    query = select(CheckpointRow).where(CheckpointRow.task_id == task_id)
    query = within(query.order_by(CheckpointRow.step.desc()).limit(1), scope, CheckpointRow)
    return session.scalars(query).one_or_none()


def queue_place(session: Session, scope: Scope, task: TaskRow) -> int | None:
    """The place of a task among everybody's that wait for its room, from 1; None where it does not wait for one.

    Raises:
        OutOfScope: It is another's.
    """
    expect(session, scope, task)
    kind = kinds().get(task.kind)  # one that is not installed any more waits for no room
    if kind is None or task.state != State.PENDING or task.is_attempt_open or task.desired != Desired.RUN:
        return None
    is_before = or_(
        TaskRow.priority > task.priority, and_(TaskRow.priority == task.priority, TaskRow.id < task.id)
    )
    query = (
        select(func.count())
        .select_from(TaskRow)
        .where(
            is_before,
            TaskRow.state == State.PENDING,
            TaskRow.kind.in_(in_room(kind.room)),
            TaskRow.is_attempt_open.is_(False),
            TaskRow.desired == Desired.RUN,
        )
    )
    return 1 + (session.scalar(query) or 0)


def count_by_state(session: Session, scope: Scope) -> dict[str, int]:
    """How many tasks are in each state."""
    query = select(TaskRow.state, func.count()).group_by(TaskRow.state)
    rows = session.execute(within(query, scope, TaskRow)).all()
    return {str(state): int(number) for state, number in rows}
