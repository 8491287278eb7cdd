"""What is made from tasks that are there: a clone, a new stage, the continuation of one, a comparison of two.

A clone and a new stage are new tasks and go the way of every new task; a continued task keeps its files, its run and
its log. Nothing here reads weights: a stage is two paths in a spec.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from tunesmith import views
from tunesmith.errors import Conflict, InvalidInput, NotFound
from tunesmith.lifecycle import Desired, State, WaitsFor
from tunesmith.spec.base import Notice, Spec
from tunesmith.spec.kinds import Feature, kind_of
from tunesmith.spec.parameter import about
from tunesmith.spec.task import MoreSteps, NewStage, NewTask, TaskCopy, TaskRequest
from tunesmith.templates import chosen
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.hub import Hub
from tunesmith_platform.idempotency import sent_in_order
from tunesmith_platform.scope import Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks import repository
from tunesmith_platform.tasks.outputs import refuse_taken
from tunesmith_platform.tasks.service import Origin, TaskService
from tunesmith_platform.tasks.view import task_view

_NAME_CHARACTERS = 120
_COPY = " (copy)"


class Templates(Protocol):
    """The templates, as far as they are asked here."""

    def complete(self, scope: Scope, request: TaskRequest) -> NewTask:
        """What a request asks for, with the parameters of the template that it names."""


class TaskVerbs:
    """Submit with a template, clone, continue, new stage, compare."""

    def __init__(
        self,
        database: Database,
        hub: Hub,
        settings: Settings,
        tasks: TaskService,
        templates: Templates,
    ) -> None:
        self._kinds = tasks.kinds
        self._database = database
        self._hub = hub
        self._settings = settings
        self._tasks = tasks
        self._templates = templates

    def submit(self, scope: Scope, request: TaskRequest, key: str | None) -> tuple[views.TaskView, bool]:
        """Make a task; of a template it takes a copy. See `TaskService.create`.

        Raises:
            NotFound: There is no such template.
        """
        body = sent_in_order("submit", request)
        # A repeat answers the same task, whatever became of its template.
        replayed = self._tasks.replayed(scope, key, body)
        if replayed is not None:
            return replayed, False
        return self._tasks.create(scope, self._templates.complete(scope, request), key, body=body)

    def check(self, scope: Scope, request: TaskRequest) -> views.TaskCheck:
        """What a request would make of a task. See `TaskService.check`.

        Raises:
            NotFound: There is no such template.
        """
        return self._tasks.check(scope, self._templates.complete(scope, request))

    def clone(
        self, scope: Scope, task_id: str, changes: TaskCopy, key: str | None
    ) -> tuple[views.TaskView, bool]:
        """Make a task with another one's parameters, some of them changed. See `TaskService.create`."""
        body = sent_in_order(f"clone {task_id}", changes)
        replayed = self._tasks.replayed(scope, key, body)
        if replayed is not None:
            return replayed, False
        with self._database.read() as session:
            source = repository.supporting(repository.require(session, scope, task_id), Feature.CLONE)
        name = changes.name or source.name[: _NAME_CHARACTERS - len(_COPY)] + _COPY
        form = kind_of(source.kind).spec
        # Defaults that depend on others follow what is changed; with nothing changed it is the same to the letter.
        under = chosen(source.spec, source.kind) if changes.spec else _known(source.spec, form)
        output_dir = under.pop("output_dir", None)
        new = _copied(source, changes, form.merged(under, changes.spec), name)
        notices: tuple[Notice, ...] = ()
        if output_dir is not None and "output_dir" not in new.spec.model_fields_set:
            message = (
                f"`output_dir` was left out: there lie the files of `{source.name}`. Set it to publish too."
            )
            notices = (Notice(field="output_dir", message=message),)
        origin = Origin(source.id, notices=notices)
        return self._tasks.create(scope, new, key, body=body, origin=origin)

    def new_stage(
        self, scope: Scope, task_id: str, stage: NewStage, key: str | None
    ) -> tuple[views.TaskView, bool]:
        """Make a task that starts from the weights of another one's checkpoint. See `TaskService.create`.

        Raises:
            NotFound: There is no such checkpoint.
            Conflict: The checkpoint lies where a job cannot take it from.
        """
        body = sent_in_order(f"new-stage {task_id}", stage)
        replayed = self._tasks.replayed(scope, key, body)
        if replayed is not None:
            return replayed, False
        with self._database.read() as session:
            source = repository.supporting(repository.require(session, scope, task_id), Feature.CHECKPOINTS)
            checkpoint = (
                repository.newest_checkpoint(session, scope, task_id)
                if stage.step is None
                else repository.checkpoint_of(session, scope, task_id, stage.step)
            )
            newest = repository.newest_checkpoint(session, scope, task_id)
        if checkpoint is None or newest is None:
            which = f"of step {stage.step}" if stage.step is not None else "yet"
            raise NotFound(
                f"Task `{source.name}` has no checkpoint {which}.",
                hint=f"`tunesmith tasks checkpoints {task_id}` shows those there are.",
            )
        parameters = self._kinds.of(source.kind).stage(
            source, checkpoint, stage.spec, is_newest=checkpoint.step == newest.step
        )
        new = _copied(source, stage, parameters, stage.name)
        origin = Origin(source.id, checkpoint.step)
        return self._tasks.create(scope, new, key, body=body, origin=origin)

    def carry_on(self, scope: Scope, task_id: str, more: MoreSteps) -> views.TaskView:
        """Let an ended task go on at its newest checkpoint, as a further attempt of the same task.

        Raises:
            Conflict: It is not over, or has nothing left to do.
            InvalidInput: Not more steps than it had.
        """
        with self._database.read() as session:
            seen = repository.require(session, scope, task_id)
        if Feature.CHECKPOINTS not in kind_of(seen.kind).supports:
            return self._again(scope, seen, more)
        with self._database.read() as session:
            has_state = repository.newest_checkpoint(session, scope, task_id) is not None
        prepared = self._kinds.of(seen.kind).go_on(scope, seen, more, has_state=has_state)
        refuse_taken(prepared.output_dir, task_id, results=prepared.results)
        with self._database.write() as session:
            task = repository.locked(session, scope, task_id)
            if (task.state, task.attempt, task.spec) != (seen.state, seen.attempt, seen.spec):
                raise Conflict("The task was changed at this moment.", hint="Look at it, then try again.")
            repository.refuse_shared_output(session, scope, prepared.output_dir, but=task_id)
            newest = repository.newest_checkpoint(session, scope, task_id)
            task.spec, task.inputs = prepared.spec, prepared.inputs
            task.desired = Desired.RUN
            task.stop_requested_at = task.retry_at = task.ended_at = task.heartbeat_at = None
            task.early_stop = None
            task.attempts_before = task.attempt
            where = f"at step {newest.step}" if newest else "from the start: it has no checkpoint"
            self._tasks.moves.move(
                session,
                scope,
                task,
                State.PENDING,
                message=f"Continued by its user, {where}.",
                is_continued=True,
            )
            task.waits_for = WaitsFor.START
            view = task_view(task, repository.mirror_of(session, scope, task_id), self._settings)
        self._hub.notify(task_id)
        return view

    def _again(self, scope: Scope, seen: TaskRow, more: MoreSteps) -> views.TaskView:
        """Let a task that saves no checkpoints, and failed or was stopped, do its work again from the beginning."""
        if more.model_dump(exclude_none=True):
            raise InvalidInput(
                f"A task of kind `{seen.kind}` has no steps to add to.", hint="Leave them out."
            )
        with self._database.write() as session:
            task = repository.locked(session, scope, seen.id)
            if State(task.state) not in (State.FAILED, State.STOPPED):
                raise Conflict(
                    f"Task `{task.name}` is {task.state}: only one that failed or was stopped is done again.",
                    hint="Make a new one.",
                )
            task.desired = Desired.RUN
            task.stop_requested_at = task.retry_at = task.ended_at = task.heartbeat_at = None
            task.attempts_before = task.attempt
            self._tasks.moves.move(
                session, scope, task, State.PENDING, message="Done again for its user.", is_continued=True
            )
            task.waits_for = WaitsFor.START
            view = task_view(task, repository.mirror_of(session, scope, task.id), self._settings)
        self._hub.notify(seen.id)
        return view

    def diff(self, scope: Scope, a: str, b: str) -> views.TaskDiff:
        """The parameters in which two tasks differ."""
        with self._database.read() as session:
            tasks = [
                repository.supporting(repository.require(session, scope, task_id), Feature.CLONE)
                for task_id in (a, b)
            ]
            shown = [
                task_view(task, repository.mirror_of(session, scope, task.id), self._settings)
                for task in tasks
            ]
        if tasks[0].kind != tasks[1].kind:
            raise Conflict(
                f"One is of kind `{tasks[0].kind}`, the other of `{tasks[1].kind}`: they have other parameters."
            )
        form = kind_of(tasks[0].kind).spec
        # What one of them was made without has the default.
        left, right = (form.stored(task.spec).model_dump(mode="json") for task in tasks)
        return views.TaskDiff(
            a=shown[0],
            b=shown[1],
            differences=[
                views.ParameterDifference(
                    name=name,
                    label_en=about(info).label_en,
                    label_zh=about(info).label_zh,
                    a=left[name],
                    b=right[name],
                )
                for name, info in form.model_fields.items()
                if left[name] != right[name]
            ],
        )


def _copied(source: TaskRow, changes: TaskCopy, values: Mapping[str, Any], name: str | None) -> NewTask:
    """A new task in the image of another, with parameters of its own."""
    request = TaskRequest.model_validate(
        {
            "kind": source.kind,
            "name": name,
            "project": changes.project or source.project,
            "priority": changes.priority,
            "tags": source.tags if changes.tags is None else changes.tags,
            "notes": source.notes if changes.notes is None else changes.notes,
            "template": source.template,
            "spec": {},
        }
    )
    return request.complete(values)


def _known(spec: Mapping[str, Any], form: type[Spec]) -> dict[str, Any]:
    return {name: value for name, value in spec.items() if name in form.model_fields}
