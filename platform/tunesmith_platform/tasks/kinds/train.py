"""Training, as the platform asks it: what it is given, what its attempts are handed, what goes on from it."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from tunesmith.errors import Conflict, InvalidInput
from tunesmith.job import JobDocument
from tunesmith.lifecycle import Desired, State
from tunesmith.spec.base import Notice, Spec
from tunesmith.spec.evaluation import DEFAULT_SAMPLES
from tunesmith.spec.parameter import names_with
from tunesmith.spec.pipeline import Step
from tunesmith.spec.roles import Role
from tunesmith.spec.task import MoreSteps, NewTask, new_task
from tunesmith.spec.training import TrainSpec
from tunesmith.spec.variables import variables_in
from tunesmith.storage import local_path
from tunesmith.templates import chosen
from tunesmith_platform.backends.protocols import RowsUsed
from tunesmith_platform.dataset_names import is_name
from tunesmith_platform.db.tables import CheckpointRow, TaskRow
from tunesmith_platform.sandbox.error_fields import at
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks.find_inputs import find_model
from tunesmith_platform.tasks.inputs import TrainInputs, check_train_inputs
from tunesmith_platform.tasks.kinds.base import KindBehaviour, Pinned, Prepared, rows_of_file
from tunesmith_platform.tasks.later import look_as_later
from tunesmith_platform.tasks.outputs import resolved_output

_OF_ONE_TASK = frozenset(names_with(TrainSpec, Role.ONE_TASK))
"""Parameters that a new stage does not take over: where the task wrote, and what it started from."""


class Training(KindBehaviour):
    """Tasks that train a model."""

    def look_at(self, scope: Scope, spec: TrainSpec) -> TrainInputs:
        """Look at what a training is given.

        Raises:
            InvalidInput: It cannot be trained on.
        """
        parts = self.parts
        return check_train_inputs(
            spec,
            parts.settings,
            parts.models.seen_by(scope),
            parts.datasets.seen_by(scope),
            compute=parts.compute.look(),
        )

    def prepare(self, scope: Scope, new: NewTask, task_id: str, rows_dir: Path | None = None) -> Prepared:
        """Look at everything that a new training is given."""
        spec = cast(TrainSpec, new.spec)
        inputs = self.look_at(scope, spec)
        self._look_at_samples(scope, new.project, inputs)
        prepared = _prepared(new, inputs)
        if spec.evaluate_checkpoints and not self._leaves_room(spec):
            message = (
                "Scores come when the training has ended, unless another node has room: it takes all processors of a "
                "node. `tunesmith up --spare-cpus 1` leaves one to evaluations."
            )
            notice = Notice(field="evaluate_checkpoints", message=message)
            return replace(prepared, notices=(*prepared.notices, notice))
        return prepared

    def _leaves_room(self, spec: TrainSpec) -> bool:
        """Whether there is a processor beside a training, as far as that is known."""
        is_on_gpu = self.parts.compute.look().uses_gpu(spec.device)
        return bool(is_on_gpu or spec.resources_per_worker or self.parts.settings.spare_cpus)

    def document(self, task: TaskRow, number: int) -> JobDocument:
        """What an attempt is handed."""
        return JobDocument(**self.attempt(task, number), artifact_uri=str(task.artifact_uri), **task.inputs)

    def rows_used(self, task: TaskRow) -> list[RowsUsed]:
        """The rows that it trains on, and those that it is evaluated on."""
        given = TrainInputs.model_validate(task.inputs)
        used = [
            rows_of_file(
                given.train_path, given.train_dataset, given.train_sha256, context="training", rows=given.rows
            )
        ]
        if given.eval_path:
            used.append(
                rows_of_file(given.eval_path, given.eval_dataset, given.eval_sha256, context="evaluation")
            )
        return used

    def go_on(self, scope: Scope, task: TaskRow, more: MoreSteps, *, has_state: bool) -> Prepared:
        """An ended training with what is left of it, or with more steps."""
        new = new_task(task.kind, _with_more(task, more))
        spec = cast(TrainSpec, new.spec)
        # Its files may have gone meanwhile; what it once went on from may: it has a state of its own.
        gone = {"resume_from_checkpoint": None} if has_state else {}
        inputs = self.look_at(scope, spec.model_copy(update=gone))
        self._look_at_samples(scope, task.project, inputs)
        return _prepared(new, inputs)

    def _look_at_samples(self, scope: Scope, project: str | None, inputs: TrainInputs) -> None:
        """See that its checkpoints' evaluations, which a loop submits, will find the samples that it names."""
        samples = inputs.samples_dataset
        if samples is not None:
            with at("spec.evaluation_sample_file"):
                look_as_later(scope, project, lambda own: self.parts.datasets.seen_by(own).find(samples))

    def stage(
        self, task: TaskRow, checkpoint: CheckpointRow, over: Mapping[str, Any], *, is_newest: bool
    ) -> dict[str, Any]:
        """The parameters of a training that starts from a checkpoint's weights."""
        weights = _weights(task, checkpoint, is_final=is_newest)
        clash = sorted(set(weights) & set(TrainSpec.canonical(over)[0]))
        if clash:
            raise InvalidInput(
                f"`{clash[0]}` is what a new stage sets by itself.",
                field=f"spec.{clash[0]}",
                hint="Leave it out, or clone the task.",
            )
        under = {name: value for name, value in chosen(task.spec).items() if name not in _OF_ONE_TASK}
        return TrainSpec.merged(under | weights, over)

    def as_training(self, new: NewTask) -> TrainSpec:
        """The training itself."""
        return cast(TrainSpec, new.spec)

    def look_ahead(self, scope: Scope, step: Step) -> None:
        """See that there is what it names by a registry's name; a path may be made by another step."""
        models, datasets = self.parts.models.seen_by(scope), self.parts.datasets.seen_by(scope)
        for field, given in _written(step, ("model_name_or_path", "tokenizer_name_or_path")):
            if not Path(given).is_absolute():
                with at(field):
                    find_model(given, self.parts.settings, models)
        for field, given in _written(step, names_with(TrainSpec, Role.DATASET)):
            if is_name(given) and given != DEFAULT_SAMPLES:
                with at(field):
                    datasets.find(given)

    def pinned(self, scope: Scope, spec: Spec, given: Mapping[str, Any]) -> Pinned:
        """A training with the versions of its data sets, told by its model's files too."""
        assert isinstance(spec, TrainSpec)
        named = ["train_file", "eval_file"]
        if spec.evaluation_sample_file != DEFAULT_SAMPLES:
            named.append("evaluation_sample_file")
        versions: dict[str, Any] = self.parts.datasets.seen_by(scope).pinned(spec, named)
        told_by = {**given, **versions}
        with contextlib.suppress(InvalidInput):  # who makes the task says what is wrong
            found = find_model(spec.model_name_or_path, self.parts.settings, self.parts.models.seen_by(scope))
            told_by["model_name_or_path"] = str(found)
        return Pinned(spec.model_copy(update=versions).model_dump(exclude_unset=True), told_by)


def _written(step: Step, fields: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Those parameters of a step that are written out, and come from no other step."""
    for field in fields:
        given = step.parameters.get(field)
        if isinstance(given, str) and given and not any(variables_in(given)):
            yield field, given


def _prepared(new: NewTask, inputs: TrainInputs) -> Prepared:
    return Prepared(
        spec=new.spec.model_dump(mode="json") | inputs.pinned(),
        inputs=inputs.model_dump(mode="json"),
        notices=(
            *new.spec.notices,
            *resolved_output(cast(TrainSpec, new.spec).output_dir, inputs.output_dir),
            *inputs.told(),
        ),
        output_dir=inputs.output_dir,
    )


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
    known = {name: value for name, value in task.spec.items() if name in TrainSpec.model_fields}
    return known | wanted
