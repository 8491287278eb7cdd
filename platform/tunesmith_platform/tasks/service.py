"""What users do with tasks. Each method is one transaction; files are looked at before it begins."""

import hashlib
import shutil
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from tunesmith import views
from tunesmith.errors import Conflict, IdempotencyConflict, NotFound
from tunesmith.events import StateChanged
from tunesmith.lifecycle import REASONS, Desired, Reason, State, WaitsFor, may_move
from tunesmith.spec.task import Name, NewTask, Tag
from tunesmith.storage import open_storage
from tunesmith_platform.clock import new_id, now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import IdempotencyRow, MirrorRow, TaskRow
from tunesmith_platform.events import repository as events
from tunesmith_platform.events.hub import Hub
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks import repository
from tunesmith_platform.tasks.inputs import TrainInputs
from tunesmith_platform.tasks.view import task_view


class TaskChange(BaseModel):
    """What of a task may be changed after it was made; its parameters are frozen."""

    model_config = ConfigDict(extra="forbid")
    name: Name | None = None
    notes: str | None = Field(None, max_length=10_000)
    tags: list[Tag] | None = Field(None, max_length=20)
    priority: int | None = Field(None, ge=-100, le=100)


class TaskService:
    """Tasks: create, list, show, change, stop, delete."""

    def __init__(
        self,
        database: Database,
        hub: Hub,
        settings: Settings,
        check: Callable[[NewTask], TrainInputs],
    ) -> None:
        self._database = database
        self._hub = hub
        self._settings = settings
        self._check = check

    def create(self, new: NewTask, principal: str, key: str | None) -> tuple[views.TaskView, bool]:
        """Make a task; the same `key` and body again give the same task.

        Returns:
            The task, and whether it was made now.

        Raises:
            InvalidInput: What it is given cannot be trained on.
            IdempotencyConflict: The key was used with another body.
        """
        body_sha256 = hashlib.sha256(new.model_dump_json().encode()).hexdigest()
        if key is not None:
            with self._database.read() as session:
                replayed = self._replay(session, principal, key, body_sha256)
            if replayed is not None:
                return replayed, False
        inputs = self._check(new)  # reads files: no transaction is open
        moment = now()
        with self._database.write() as session:
            if key is not None:
                replayed = self._replay(session, principal, key, body_sha256)
                if replayed is not None:
                    return replayed, False
            task = TaskRow(
                id=new_id("task"),
                kind=new.kind,
                name=new.name or new.default_name(moment),
                project=new.project,
                priority=new.priority,
                tags=new.tags,
                notes=new.notes,
                spec=new.spec.model_dump(mode="json"),
                inputs=inputs.model_dump(mode="json"),
                notices=[notice.model_dump() for notice in new.spec.notices],
                state=State.PENDING,
                desired=Desired.RUN,
                waits_for=WaitsFor.START,
                message="Waiting to be started.",
                attempt=0,
                is_attempt_open=False,
                events=0,
                progress={},
                created_at=moment,
            )
            session.add(task)
            session.flush()
            if key is not None:
                session.add(
                    IdempotencyRow(
                        principal=principal,
                        key=key,
                        body_sha256=body_sha256,
                        task_id=task.id,
                        created_at=moment,
                    )
                )
            events.append_state(session, task, StateChanged(state=State.PENDING, message=task.message))
            view = self._view(task, None)
        self._hub.notify(task.id)
        return view, True

    def _replay(self, session: Session, principal: str, key: str, body_sha256: str) -> views.TaskView | None:
        used = repository.idempotent(session, principal, key)
        if used is None:
            return None
        if used.body_sha256 != body_sha256:
            raise IdempotencyConflict(
                "This `Idempotency-Key` was used with another body.", hint="Use a new key for a new task."
            )
        task = session.get(TaskRow, used.task_id)
        if task is None:
            raise NotFound(f"The task `{used.task_id}` that this key made was deleted.")
        return self._view(task, session.get(MirrorRow, task.id))

    def _view(self, task: TaskRow, mirror: MirrorRow | None) -> views.TaskView:
        return task_view(task, mirror, self._settings)

    def page(self, wanted: repository.Filter) -> views.Page[views.TaskView]:
        """Tasks, newest first."""
        with self._database.read() as session:
            rows = repository.find(session, wanted)
            data = [self._view(row, None) for row in rows[: wanted.limit]]
        more = len(rows) > wanted.limit
        return views.Page(data=data, has_more=more, next=data[-1].id if more else None)

    def get(self, task_id: str) -> views.TaskView:
        """A task as it stands."""
        with self._database.read() as session:
            task = repository.require(session, task_id)
            return self._view(task, session.get(MirrorRow, task_id))

    def change(self, task_id: str, change: TaskChange) -> views.TaskView:
        """Change a task's name, notes, tags or priority."""
        with self._database.write() as session:
            task = repository.locked(session, task_id)
            for field, value in change.model_dump(exclude_none=True).items():
                setattr(task, field, value)
            view = self._view(task, session.get(MirrorRow, task_id))
        self._hub.notify(task_id)
        return view

    def stop(self, task_id: str) -> views.TaskView:
        """Ask for a task's stop. Asking again, or for one that has ended, changes nothing.

        A task that waits is stopped at once; of a running one, the reconciler sees to it.
        """
        with self._database.write() as session:
            task = repository.locked(session, task_id)
            state = State(task.state)
            if not state.is_terminal and task.desired == Desired.RUN:
                task.desired = Desired.STOP
                task.stop_requested_at = now()
                if state is State.PENDING and not task.is_attempt_open:
                    reason = Reason.STOPPED_BY_USER if task.attempt else Reason.STOPPED_BEFORE_START
                    move(session, task, State.STOPPED, reason)
                elif state is State.RUNNING:
                    move(
                        session, task, State.STOPPING, message="Stopping: it saves a checkpoint, then leaves."
                    )
                else:
                    task.message = "Stopping before it has started."
            view = self._view(task, session.get(MirrorRow, task_id))
        self._hub.notify(task_id)
        return view

    def delete(self, task_id: str, with_files: bool) -> None:
        """Delete a task's records and, if asked, its files; never its base model.

        Raises:
            Conflict: It is not over.
        """
        with self._database.write() as session:
            task = repository.locked(session, task_id)
            if not State(task.state).is_terminal:
                raise Conflict(
                    f"A {task.state} task cannot be deleted.",
                    hint=f"Stop it first: `tunesmith stop {task_id}`.",
                )
            artifact_uri = task.artifact_uri
            session.delete(task)
        shutil.rmtree(self._settings.work_dir / task_id, ignore_errors=True)
        if with_files and artifact_uri:
            open_storage(artifact_uri).remove()
        self._hub.notify(task_id)


def move(
    session: Session, task: TaskRow, state: State, reason: Reason | None = None, message: str = ""
) -> None:
    """Move a task to another state: the only place that does."""
    assert may_move(State(task.state), state), f"{task.state} -> {state}"
    task.state = state
    task.reason = reason
    task.message = message or (REASONS[reason].words if reason else "")
    task.waits_for = None
    if state.is_terminal:
        task.ended_at = now()
    if state is State.RUNNING and task.started_at is None:
        task.started_at = now()
    events.append_state(session, task, StateChanged(state=state, reason=reason, message=task.message))
