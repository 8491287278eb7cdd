"""The short path in a notebook or script: one call that trains, shows progress and returns the finished task.

`finetune` is that call. `TrainingConfig` and `ModelTrainer` do the same in two steps, as SimpleFoundation's documents
use them. Knows the client and the terminal's progress view; whatever else a task can do, `Client` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Self

from tunesmith import views
from tunesmith.cli.output import out, say, show_notices
from tunesmith.cli.train import absolute, read_config, task_and_parameters
from tunesmith.cli.watching import watch_task
from tunesmith.client import Client
from tunesmith.errors import Fault, InvalidInput, TunesmithError
from tunesmith.lifecycle import State
from tunesmith.spec.parameter import about
from tunesmith.spec.task import NewTrainTask
from tunesmith.spec.training import TrainSpec
from tunesmith.storage import local_path

_TASK_FIELDS = set(NewTrainTask.model_fields) - {"kind", "spec"}
_STAND_IN = "-"


class TrainingFailed(TunesmithError):
    """A training that was waited for did not complete; `task` is the task as it ended."""

    code = "training_failed"

    def __init__(self, task: views.TaskView) -> None:
        why = f": {task.message}" if task.message else "."
        super().__init__(
            f"Task `{task.name}` ({task.id}) is {task.state}{why}",
            hint=task.next_step or f"See `tunesmith tasks logs {task.id}`.",
            details={"task_id": task.id, "reason": task.reason},
        )
        self.task = task
        self.fault = task.fault or Fault.USER  # type: ignore[misc]  # each failure has its own


@dataclass(frozen=True)
class FinishedTask:
    """A training that completed, and what it left."""

    task: views.TaskView
    """The task as it ended."""
    checkpoint: str | None
    """The final checkpoint: a folder, or a URI where the files lie elsewhere."""
    model_path: str | None
    """The final model: a folder, or a URI where the files lie elsewhere."""
    metrics: dict[str, float]
    """The last value of every curve, as `loss` and `eval_loss`."""

    @property
    def id(self) -> str:
        """The task's id."""
        return self.task.id

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.name


def finetune(
    model: str | PathLike[str] | None = None,
    train_file: str | PathLike[str] | None = None,
    eval_file: str | PathLike[str] | None = None,
    *,
    client: Client | None = None,
    progress: bool | None = None,
    **parameters: Any,
) -> FinishedTask:
    """Train a model, wait until it is done, and return what came of it.

    With `eval_file`, and unless `eval_strategy` says otherwise, the loss on it is measured every `eval_steps`.

    Args:
        model: A folder, or the name of a pulled model.
        train_file: The rows to learn from.
        eval_file: Rows held out.
        client: The platform; found by itself when not given.
        progress: Whether to show progress; by default on a terminal and in a notebook.
        parameters: Any parameter of `tunesmith parameters`, and `name`, `project`, `priority`, `tags`, `notes` or
            `template`.

    Raises:
        InvalidInput: A parameter is wrong; each problem names its place and its cure.
        TrainingFailed: The task failed or was stopped; the error says why and what to do.
        CannotConnect: No platform answers: start one with `tunesmith up`.
    """
    given = {"model_name_or_path": model, "train_file": train_file, "eval_file": eval_file}
    spec = parameters | {name: _text(value) for name, value in given.items() if value is not None}
    task = {name: spec.pop(name) for name in _TASK_FIELDS & spec.keys()}
    return _run(spec, task, client, progress)


class TrainingConfig:
    """Parameters of a training, checked when it is made; each can be read as an attribute.

    Takes every name that `tunesmith train` takes, so also SimpleFoundation's.

    Args:
        parameters: By name. Data files may be left to `ModelTrainer.train`.

    Raises:
        InvalidInput: A parameter is wrong; each problem names its place and its cure.
    """

    def __init__(self, **parameters: Any) -> None:
        self._task = {name: parameters.pop(name) for name in _TASK_FIELDS & parameters.keys()}
        self._given = parameters
        mapped, _ = TrainSpec.canonical(parameters)
        # Files come only with `train`; until then something stands in, so that the rest can be checked.
        self._spec = TrainSpec.read({"train_file": _STAND_IN, "eval_file": _STAND_IN} | mapped)

    @classmethod
    def from_file(cls, file: str | PathLike[str], **parameters: Any) -> Self:
        """Parameters of a JSON or YAML file, with others over them.

        Raises:
            InvalidInput: The file cannot be read, or a parameter is wrong.
        """
        task, found = task_and_parameters(read_config(Path(file)))
        task.pop("kind", None)
        return cls(**task | TrainSpec.merged(found, parameters))

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            canonical = next((known for known in TrainSpec.model_fields if name in _spellings(known)), None)
            if canonical is not None:
                return getattr(self._spec, canonical)
        raise AttributeError(f"`TrainingConfig` has no parameter `{name}`.")

    def __repr__(self) -> str:
        return f"TrainingConfig({', '.join(f'{name}={value!r}' for name, value in self._given.items())})"


class ModelTrainer:
    """Trains with a configuration. `task` is the finished task once `train` has returned.

    Args:
        config: The parameters.
        client: The platform; found by itself when not given.
    """

    def __init__(self, config: TrainingConfig, client: Client | None = None) -> None:
        self.config = config
        self.task: FinishedTask | None = None
        self._client = client

    def train(
        self,
        train_file: str | PathLike[str] | None = None,
        eval_file: str | PathLike[str] | None = None,
        *,
        progress: bool | None = None,
    ) -> str | None:
        """Train, and wait until it is done.

        Args:
            train_file: The rows to learn from; the configuration's when not given.
            eval_file: Rows held out.
            progress: Whether to show progress; by default on a terminal and in a notebook.

        Returns:
            The final checkpoint.

        Raises:
            InvalidInput: No rows are given, or they do not fit the parameters.
            TrainingFailed: The task failed or was stopped; the error says why and what to do.
        """
        files = {"train_file": train_file, "eval_file": eval_file}
        over = {name: _text(value) for name, value in files.items() if value is not None}
        spec = TrainSpec.merged(self.config._given, over)
        self.task = _run(spec, self.config._task, self._client, progress)
        return self.task.checkpoint


def _spellings(parameter: str) -> tuple[str, ...]:
    return (parameter, *about(TrainSpec.model_fields[parameter]).aliases)


def _text(path: str | PathLike[str]) -> str:
    return str(path) if isinstance(path, str) else str(Path(path))


def _run(
    parameters: Mapping[str, Any], task: Mapping[str, Any], client: Client | None, progress: bool | None
) -> FinishedTask:
    found = absolute({name: str(v) if isinstance(v, PathLike) else v for name, v in parameters.items()})
    if "template" not in task:
        _check(found)
    if client is not None:
        return _watched(client, {**task, "spec": found}, progress)
    with Client() as own:
        return _watched(own, {**task, "spec": found}, progress)


def _check(parameters: Mapping[str, Any]) -> None:
    try:
        TrainSpec.read(parameters)
    except InvalidInput as error:
        for problem in error.problems:
            if problem.message.startswith("Field required"):
                name = "model" if problem.field == "model_name_or_path" else problem.field
                problem.message, problem.hint = "It must be given.", f"Give `{name}=...`."
        if len(error.problems) + error.more_problems == 1:
            only = error.problems[0]
            error.message, error.hint = f"{only.field}: {only.message}", only.hint
            error.args = (error.message,)
        raise


def _watched(client: Client, body: Mapping[str, Any], progress: bool | None) -> FinishedTask:
    view = client.create_task(body)
    shows = progress if progress is not None else out().is_terminal or out().is_jupyter
    if shows:
        show_notices(view.notices)
        try:
            view = watch_task(client, view.id, out())
        except KeyboardInterrupt:
            say(f"Task `{view.name}` goes on. Follow it with `tunesmith watch {view.id}`.")
            raise
    else:
        view = client.wait(view.id)
    if view.state is not State.COMPLETED:
        raise TrainingFailed(view)
    checkpoints = client.checkpoints(view.id)
    newest = max(checkpoints, key=lambda found: found.step, default=None)
    series = client.metrics(view.id).series
    return FinishedTask(
        task=view,
        checkpoint=_place(newest.uri) if newest else None,
        model_path=_place(view.model_uri) if view.model_uri else None,
        metrics={name: points[-1].value for name, points in series.items() if points},
    )


def _place(uri: str) -> str:
    return str(local_path(uri) or uri)
