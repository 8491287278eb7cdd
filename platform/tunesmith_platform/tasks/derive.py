"""What is made from tasks that are there: a clone, a new stage, the continuation of one, a comparison of two.

A clone and a new stage are new tasks and go the way of every new task; a continued task keeps its files, its run and
its log. Nothing here reads weights: a stage is two paths in a spec.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from tunesmith import views
from tunesmith.errors import Conflict, InvalidInput, NotFound
from tunesmith.lifecycle import Desired, State, WaitsFor
from tunesmith.spec.base import Notice
from tunesmith.spec.parameter import about, names_with
from tunesmith.spec.roles import Role
from tunesmith.spec.task import Kind, MoreSteps, NewStage, NewTask, TaskCopy, TaskRequest
from tunesmith.spec.training import TrainSpec
from tunesmith.storage import local_path
from tunesmith.templates import chosen
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import CheckpointRow, MirrorRow, TaskRow
from tunesmith_platform.events.hub import Hub
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks import repository
from tunesmith_platform.tasks.outputs import refuse_taken
from tunesmith_platform.tasks.service import Origin, TaskService, move
from tunesmith_platform.tasks.view import task_view
from tunesmith_platform.templates.service import TemplateService

_NAME_CHARACTERS = 120
_COPY = " (copy)"
_OF_ONE_TASK = frozenset(names_with(TrainSpec, Role.ONE_TASK))
"""Parameters that a new stage does not take over: where the task wrote, and what it started from."""


class TaskVerbs:
    """Submit with a template, clone, continue, new stage, compare."""

    def __init__(
        self, database: Database, hub: Hub, settings: Settings, tasks: TaskService, templates: TemplateService
    ) -> None:
        self._database = database
        self._hub = hub
        self._settings = settings
        self._tasks = tasks
        self._templates = templates

    def submit(self, request: TaskRequest, principal: str, key: str | None) -> tuple[views.TaskView, bool]:
        """Make a task; of a template it takes a copy. See `TaskService.create`.

        Raises:
            NotFound: There is no such template.
        """
        body = _body("submit", request)
        # A repeat answers the same task, whatever became of its template.
        replayed = self._tasks.replayed(principal, key, body)
        if replayed is not None:
            return replayed, False
        return self._tasks.create(self._templates.complete(request), principal, key, body=body)

    def clone(
        self, task_id: str, changes: TaskCopy, principal: str, key: str | None
    ) -> tuple[views.TaskView, bool]:
        """Make a task with another one's parameters, some of them changed. See `TaskService.create`."""
        body = _body(f"clone {task_id}", changes)
        replayed = self._tasks.replayed(principal, key, body)
        if replayed is not None:
            return replayed, False
        with self._database.read() as session:
            source = repository.trains(repository.require(session, task_id))
        name = changes.name or source.name[: _NAME_CHARACTERS - len(_COPY)] + _COPY
        # Defaults that depend on others follow what is changed; with nothing changed it is the same to the letter.
        under = chosen(source.spec) if changes.spec else _known(source.spec)
        output_dir = under.pop("output_dir", None)
        new = _copied(source, changes, TrainSpec.merged(under, changes.spec), name)
        notices: tuple[Notice, ...] = ()
        if output_dir is not None and "output_dir" not in new.spec.model_fields_set:
            message = (
                f"`output_dir` was left out: there lie the files of `{source.name}`. Set it to publish too."
            )
            notices = (Notice(field="output_dir", message=message),)
        origin = Origin(source.id, notices=notices)
        return self._tasks.create(new, principal, key, body=body, origin=origin)

    def new_stage(
        self, task_id: str, stage: NewStage, principal: str, key: str | None
    ) -> tuple[views.TaskView, bool]:
        """Make a task that starts from the weights of another one's checkpoint. See `TaskService.create`.

        Raises:
            NotFound: There is no such checkpoint.
            Conflict: The checkpoint lies where a job cannot take it from.
        """
        body = _body(f"new-stage {task_id}", stage)
        replayed = self._tasks.replayed(principal, key, body)
        if replayed is not None:
            return replayed, False
        with self._database.read() as session:
            source = repository.trains(repository.require(session, task_id))
            checkpoint = (
                repository.newest_checkpoint(session, task_id)
                if stage.step is None
                else session.get(CheckpointRow, (task_id, stage.step))
            )
            newest = repository.newest_checkpoint(session, task_id)
        if checkpoint is None or newest is None:
            which = f"of step {stage.step}" if stage.step is not None else "yet"
            raise NotFound(
                f"Task `{source.name}` has no checkpoint {which}.",
                hint=f"`tunesmith tasks checkpoints {task_id}` shows those there are.",
            )
        weights = _weights(source, checkpoint, is_final=checkpoint.step == newest.step)
        clash = sorted(set(weights) & set(TrainSpec.canonical(stage.spec)[0]))
        if clash:
            raise InvalidInput(
                f"`{clash[0]}` is what a new stage sets by itself.",
                field=f"spec.{clash[0]}",
                hint="Leave it out, or clone the task.",
            )
        under = chosen(source.spec)
        under = {name: value for name, value in under.items() if name not in _OF_ONE_TASK} | weights
        new = _copied(source, stage, TrainSpec.merged(under, stage.spec), stage.name)
        origin = Origin(source.id, checkpoint.step)
        return self._tasks.create(new, principal, key, body=body, origin=origin)

    def carry_on(self, task_id: str, more: MoreSteps) -> views.TaskView:
        """Let an ended task go on at its newest checkpoint, as a further attempt of the same task.

        Raises:
            Conflict: It is not over, or has nothing left to do.
            InvalidInput: Not more steps than it had.
        """
        with self._database.read() as session:
            seen = repository.require(session, task_id)
        if seen.kind != Kind.TRAIN:
            return self._again(seen, more)
        spec = _with_more(seen, more)
        new = TaskRequest(spec={}).complete(spec)
        with self._database.read() as session:
            has_state = repository.newest_checkpoint(session, task_id) is not None
        # Its files may have gone meanwhile; what it once went on from may: it has a state of its own.
        gone = {"resume_from_checkpoint": None} if has_state else {}
        inputs = self._tasks.look_at(new.model_copy(update={"spec": new.spec.model_copy(update=gone)}))
        refuse_taken(inputs.output_dir, task_id)
        with self._database.write() as session:
            task = repository.locked(session, task_id)
            if (task.state, task.attempt, task.spec) != (seen.state, seen.attempt, seen.spec):
                raise Conflict("The task was changed at this moment.", hint="Look at it, then try again.")
            repository.refuse_shared_output(session, inputs.output_dir, but=task_id)
            newest = repository.newest_checkpoint(session, task_id)
            task.spec = new.spec.model_dump(mode="json") | inputs.pinned()
            task.inputs = inputs.model_dump(mode="json")
            task.desired = Desired.RUN
            task.stop_requested_at = task.retry_at = task.ended_at = task.heartbeat_at = None
            task.attempts_before = task.attempt
            where = f"at step {newest.step}" if newest else "from the start: it has no checkpoint"
            move(session, task, State.PENDING, message=f"Continued by its user, {where}.", is_continued=True)
            task.waits_for = WaitsFor.START
            view = task_view(task, session.get(MirrorRow, task_id), self._settings)
        self._hub.notify(task_id)
        return view

    def _again(self, seen: TaskRow, more: MoreSteps) -> views.TaskView:
        """Let a task on data that failed or was stopped work on its rows again, from the first one."""
        if more.model_dump(exclude_none=True):
            raise InvalidInput("A task that does not train has no steps to add to.", hint="Leave them out.")
        with self._database.write() as session:
            task = repository.locked(session, seen.id)
            if State(task.state) not in (State.FAILED, State.STOPPED):
                raise Conflict(
                    f"Task `{task.name}` is {task.state}: only one that failed or was stopped is done again.",
                    hint="Run the operation anew.",
                )
            task.desired = Desired.RUN
            task.stop_requested_at = task.retry_at = task.ended_at = task.heartbeat_at = None
            task.attempts_before = task.attempt
            move(session, task, State.PENDING, message="Done again for its user.", is_continued=True)
            task.waits_for = WaitsFor.START
            view = task_view(task, session.get(MirrorRow, task.id), self._settings)
        self._hub.notify(seen.id)
        return view

    def diff(self, a: str, b: str) -> views.TaskDiff:
        """The parameters in which two tasks differ."""
        with self._database.read() as session:
            tasks = [repository.trains(repository.require(session, task_id)) for task_id in (a, b)]
            shown = [task_view(task, session.get(MirrorRow, task.id), self._settings) for task in tasks]
        # What one of them was made without has the default.
        left, right = (TrainSpec.stored(task.spec).model_dump(mode="json") for task in tasks)
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
                for name, info in TrainSpec.model_fields.items()
                if left[name] != right[name]
            ],
        )


def _body(verb: str, sent: BaseModel) -> str:
    """What was sent, in one form: what an `Idempotency-Key` is held against."""
    return f"{verb} " + json.dumps(sent.model_dump(mode="json"), sort_keys=True)


def _copied(source: TaskRow, changes: TaskCopy, values: Mapping[str, Any], name: str | None) -> NewTask:
    """A new task in the image of another, with parameters of its own."""
    request = TaskRequest.model_validate(
        {
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


def _known(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in spec.items() if name in TrainSpec.model_fields}


def _weights(source: TaskRow, checkpoint: CheckpointRow, *, is_final: bool) -> dict[str, Any]:
    """The parameters that make a new task start from a checkpoint's weights."""
    uri = checkpoint.uri
    is_lora = bool(TrainSpec.stored(source.spec).use_lora)
    if not is_lora and is_final and source.state == State.COMPLETED and source.model_uri:
        uri = source.model_uri  # the same weights
    folder = local_path(uri)
    if folder is None:
        raise Conflict(
            f"The checkpoint lies at `{uri}`: a new stage starts from a folder.",
            hint="Copy it into an allowed folder, and name that as the model or the adapter.",
        )
    if is_lora:
        return {"attach_lora_path": str(folder)}
    return {"model_name_or_path": str(folder)}


def _with_more(task: TaskRow, more: MoreSteps) -> dict[str, Any]:
    """An ended task's parameters with more steps."""
    if not State(task.state).is_terminal:
        raise Conflict(
            f"Task `{task.name}` is {task.state}: only one that is over can be continued.",
            hint=f"Stop it first: `tunesmith stop {task.id}`." if task.desired == Desired.RUN else None,
        )
    spec = TrainSpec.stored(task.spec)
    done, total = int(task.progress.get("step", 0)), int(task.progress.get("total_steps", 0))
    wanted = more.model_dump(exclude_none=True)
    if len(wanted) > 1:
        raise InvalidInput("`max_steps` wins over `num_train_epochs`: give one of them.", field="max_steps")
    if "num_train_epochs" in wanted and spec.max_steps > 0:
        raise InvalidInput(
            f"The task trains for `max_steps` {spec.max_steps}; epochs have no effect.",
            field="num_train_epochs",
            hint="Give a larger `max_steps`.",
        )
    least: dict[str, float] = {
        "num_train_epochs": spec.num_train_epochs,
        "max_steps": max(total, spec.max_steps, done),
    }
    for name, value in wanted.items():
        if value <= least[name]:
            raise InvalidInput(
                f"`{name}` is to be more than the task has: {least[name]:g} (given: {value:g}).",
                field=name,
                hint="Only more steps can be asked for; anything else is a clone or a new stage.",
            )
    if task.state == State.COMPLETED and not wanted:
        raise Conflict(
            f"Task `{task.name}` has completed its {total} steps.",
            hint=f"Ask for more (`max_steps` over {total}"
            + (f", or `num_train_epochs` over {spec.num_train_epochs:g}" if spec.max_steps <= 0 else "")
            + "), or start a new stage from its weights.",
        )
    return _known(task.spec) | wanted
