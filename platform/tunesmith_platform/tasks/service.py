"""What users do with tasks. Each method is one transaction; files are looked at before it begins."""

import contextlib
from pathlib import Path
from typing import NamedTuple

from pydantic import Field
from sqlalchemy.orm import Session

from tunesmith import views
from tunesmith.errors import Conflict, NotFound
from tunesmith.events import LogLine
from tunesmith.lifecycle import Desired, State
from tunesmith.spec.base import Notice
from tunesmith.spec.given import Given
from tunesmith.spec.task import Name, NewTask, Tag
from tunesmith_platform.clock import new_id, now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import MirrorRow, TaskRow
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.hub import Hub
from tunesmith_platform.idempotency import Keyed, sent
from tunesmith_platform.scope import Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks import files, repository, stop_markers
from tunesmith_platform.tasks.insert import enter, new_row
from tunesmith_platform.tasks.kinds.registry import Kinds
from tunesmith_platform.tasks.moves import Moves
from tunesmith_platform.tasks.outputs import refuse_taken
from tunesmith_platform.tasks.view import task_view


class TaskChange(Given):
    """What of a task may be changed after it was made; its parameters are frozen."""

    name: Name | None = None
    notes: str | None = Field(None, max_length=10_000)
    tags: list[Tag] | None = Field(None, max_length=20)
    priority: int | None = Field(None, ge=-100, le=100)


class Origin(NamedTuple):
    """Where a task comes from, besides its user: the task it was cloned from, or whose weights it starts from."""

    parent_id: str | None = None
    parent_step: int | None = None
    notices: tuple[Notice, ...] = ()


class TaskService:
    """Tasks: create, list, show, change, stop, delete. What is made from other tasks: `derive`."""

    def __init__(
        self,
        database: Database,
        hub: Hub,
        settings: Settings,
        kinds: Kinds,
        moves: Moves,
    ) -> None:
        self._database = database
        self._hub = hub
        self._settings = settings
        self.kinds = kinds
        self.moves = moves

    def replayed(self, scope: Scope, key: str | None, body: str) -> views.TaskView | None:
        """The task that this key and body made before.

        Raises:
            IdempotencyConflict: The key was used with another body.
        """
        if key is None:
            return None
        with self._database.read() as session:
            return self._call(scope, key, body).before(session)

    def create(
        self,
        scope: Scope,
        new: NewTask,
        key: str | None,
        *,
        body: str | None = None,
        origin: Origin = Origin(),  # noqa: B008  (a constant)
        rows_dir: Path | None = None,
    ) -> tuple[views.TaskView, bool]:
        """Make a task; the same `key` and body again give the same task.

        Args:
            scope: Who asks.
            new: What to do.
            key: The `Idempotency-Key`.
            body: What was sent, where that is not `new` itself.
            origin: The task it was made from.
            rows_dir: The folder for rows that it makes for a pipeline.

        Returns:
            The task, and whether it was made now.

        Raises:
            InvalidInput: What it is given cannot be worked on.
            IdempotencyConflict: The key was used with another body.
            Conflict: Another task writes into its `output_dir` now.
            NotOurs: Something that is not its own stands where its results would go.
            QuotaExceeded: Its project's quota does not cover the checkpoints that it plans.
        """
        body = sent(new) if body is None else body
        replayed = self.replayed(scope, key, body)
        if replayed is not None:
            return replayed, False
        call, task_id = self._call(scope, key, body), new_id("task")
        # Reads files: no transaction is open.
        prepared = self.kinds.of(new.kind).prepare(scope, new, task_id, rows_dir)
        refuse_taken(prepared.output_dir, results=prepared.results)
        parent = prepared.parent or (origin.parent_id, origin.parent_step)
        moment = now()

        def enter_task(session: Session) -> tuple[views.TaskView, bool]:
            replayed = call.before(session)
            if replayed is not None:
                return replayed, False
            repository.refuse_shared_output(session, scope, prepared.output_dir)
            task = new_row(
                new,
                task_id,
                moment,
                **scope.stamp(new.project),
                spec=prepared.spec,
                inputs=prepared.inputs,
                notices=[notice.model_dump() for notice in (*prepared.notices, *origin.notices)],
                parent_id=parent[0],
                parent_step=parent[1],
                artifact_uri=prepared.artifact_uri,
            )
            enter(session, scope, task)
            repository.use(session, scope, task, prepared.uses)
            call.remember(session, task_id, task.project, moment)
            self.moves.reserve(session, scope, task, by=scope.owner)
            return self._view(task, None), True

        view, is_new = self._database.retry_on_conflict(enter_task)
        if is_new:
            self._hub.notify(view.id)
        return view, is_new

    def check(self, scope: Scope, new: NewTask) -> views.TaskCheck:
        """Look at everything that a new task is given, and make none.

        What only the moment of the submit can say is not looked at: whether the quota covers it, and whether it waits.

        Raises:
            InvalidInput: What it is given cannot be worked on.
            Conflict: Another task writes into its `output_dir` now.
            NotOurs: Something that is not its own stands where its results would go.
        """
        prepared = self.kinds.of(new.kind).prepare(scope, new, new_id("task"))
        refuse_taken(prepared.output_dir, results=prepared.results)
        with self._database.read() as session:
            repository.refuse_shared_output(session, scope, prepared.output_dir)
        return views.TaskCheck(
            kind=new.kind,
            spec=prepared.spec,
            notices=list(prepared.notices),
            rows=prepared.inputs.get("rows"),
        )

    def _call(self, scope: Scope, key: str | None, body: str) -> Keyed[views.TaskView]:
        def shown(session: Session, task_id: str) -> views.TaskView:
            task = repository.known(session, scope, task_id)
            if task is None:
                raise NotFound(f"The task `{task_id}` that this key made was deleted.")
            return self._view(task, repository.mirror_of(session, scope, task_id))

        return Keyed(scope, key, body, what="task", shown=shown)

    def _view(self, task: TaskRow, mirror: MirrorRow | None) -> views.TaskView:
        return task_view(task, mirror, self._settings)

    def page(self, scope: Scope, wanted: repository.Filter) -> views.Page[views.TaskView]:
        """Tasks, newest first."""
        with self._database.read() as session:
            rows = repository.find(session, scope, wanted)
            found = [self._view(row, None) for row in rows]
        return views.Page.of(found, wanted.limit, lambda task: task.id)

    def get(self, scope: Scope, task_id: str) -> views.TaskView:
        """A task as it stands."""
        with self._database.read() as session:
            task = repository.require(session, scope, task_id)
            view = self._view(task, repository.mirror_of(session, scope, task_id))
            view.queue_place = repository.queue_place(session, scope, task)
            return view

    def change(self, scope: Scope, task_id: str, change: TaskChange) -> views.TaskView:
        """Change a task's name, notes, tags or priority.

        Raises:
            Conflict: Another priority, and it is past the queue.
        """
        with self._database.write() as session:
            task = repository.locked(session, scope, task_id)
            for field, value in change.model_dump(exclude_none=True).items():
                before = getattr(task, field)
                if value == before:
                    continue
                if field == "priority" and task.state != State.PENDING:
                    raise Conflict(
                        f"The priority of a {task.state} task means nothing: only what waits is ordered by it.",
                        hint="Leave `priority` out.",
                    )
                setattr(task, field, value)
                if field in ("name", "priority"):
                    say(session, scope, task, f"Its {field} is `{value}` now; it was `{before}`.")
            view = self._view(task, repository.mirror_of(session, scope, task_id))
        self._hub.notify(task_id)
        return view

    def stop(self, scope: Scope, task_id: str) -> views.TaskView:
        """Ask for a task's stop. Asking again, or for one that has ended, changes nothing.

        A task that waits is stopped at once; of a running one, the reconciler sees to it. Once this returns, its job
        finds the stop also where it does not reach the API.
        """
        with self._database.write() as session:
            task = repository.locked(session, scope, task_id)
            self.moves.request_stop(session, scope, task)
            is_open = task.is_attempt_open and task.desired == Desired.STOP
            view = self._view(task, repository.mirror_of(session, scope, task_id))
        if is_open:
            stop_markers.leave(self._settings, task_id, view.attempt)
        self._hub.notify(task_id)
        return view

    def delete(self, scope: Scope, task_id: str, with_files: bool) -> None:
        """Delete a task's records and, if asked, its files; never its base model.

        The evaluations that score its checkpoints go with it.

        Raises:
            Conflict: It is not over, such an evaluation is still stopping, or another task needs the files.
        """
        with self._database.read() as session:
            task = repository.require(session, scope, task_id)
            left = files.of_task(task, repository.mirror_of(session, scope, task_id), self._settings)
            scoring = repository.scoring(session, scope, task_id) if State(task.state).is_terminal else []
        for evaluation_id in scoring:  # nobody asked for them but this task
            self.stop(scope, evaluation_id)
        with self._database.read() as session:
            for evaluation_id in scoring:
                under_way = repository.known(session, scope, evaluation_id)
                if under_way is not None and not State(under_way.state).is_terminal:
                    raise Conflict(
                        f"`{under_way.name}`, which scores its checkpoints, is still stopping.",
                        hint="It was told to stop: delete the task again in a moment.",
                    )
        folders = left.folders() if with_files else []  # looks at files: no transaction is open
        with self._database.write() as session:
            task = repository.locked(session, scope, task_id)
            if not State(task.state).is_terminal:
                raise Conflict(
                    f"A {task.state} task cannot be deleted.",
                    hint=f"Stop it first: `tunesmith stop {task_id}`.",
                )
            repository.refuse_needed_files(session, scope, task, folders)
            session.delete(task)
        files.remove_records(left)
        if with_files:
            files.remove(left)
        self._hub.notify(task_id)
        for evaluation_id in scoring:
            with contextlib.suppress(NotFound):  # deleted by its user meanwhile
                self.delete(scope, evaluation_id, with_files)


def say(session: Session, scope: Scope, task: TaskRow, message: str) -> None:
    """Leave a line in a task's log."""
    line = LogLine(source="platform", message=message)
    events.append_own(session, scope, task, line.model_dump(mode="json"))
