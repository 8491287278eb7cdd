"""The short path in a notebook or script: one call that trains, shows progress and returns the finished task.

`finetune` is that call. `TrainingConfig` and `ModelTrainer` do the same in two steps, as SimpleFoundation's documents
use them. Knows the client and the terminal's progress view; whatever else a task can do, `Client` does.
"""

import hashlib
import inspect
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Self, Unpack

from tunesmith import views
from tunesmith.cli.given import put_together
from tunesmith.cli.output import out, say, show_notices, talk
from tunesmith.cli.train import FILES
from tunesmith.cli.watching import watch_task
from tunesmith.client import Client
from tunesmith.errors import Fault, InvalidInput, NotFound, TunesmithError
from tunesmith.lifecycle import State
from tunesmith.other_tools.reading import ConfigFile, read_file
from tunesmith.parameter_types import TrainParameters
from tunesmith.spec.parameter import about
from tunesmith.spec.task import NewTrainTask
from tunesmith.spec.training import TrainSpec
from tunesmith.storage import local_path

_TASK_FIELDS = set(NewTrainTask.model_fields) - {"kind", "spec"}
_STAND_IN = "-"
Rows = str | PathLike[str] | Sequence[str | PathLike[str]] | Iterable[Mapping[str, Any]]
"""A file or a data set by its name, or several; or the rows themselves: a list of mappings, a `datasets.Dataset`."""


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
        self.args = (self.in_a_line(),)
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
    train_file: Rows | None = None,
    eval_file: Rows | None = None,
    *,
    client: Client | None = None,
    progress: bool | None = None,
    **parameters: Unpack[TrainParameters],
) -> FinishedTask:
    """Train a model, wait until it is done, and return what came of it.

    With `eval_file`, and unless `eval_strategy` says otherwise, the loss on it is measured every `eval_steps`.

    Args:
        model: A folder, or the name of a pulled model.
        train_file: The rows to learn from: a file, a data set's name, `org/name` of the Hub; several of them, each with
            its weight as in `a.jsonl:0.7`; or the rows themselves (a list of mappings, a `datasets.Dataset`), which
            become a data set of the platform's.
        eval_file: Rows held out, given in the same ways.
        client: The platform; found by itself when not given.
        progress: Whether to show progress: a bar on a terminal and in a notebook, else a line every ten seconds to the
            error output.
        parameters: Any parameter of `tunesmith parameters`, and `name`, `project`, `priority`, `tags`, `notes` or
            `template`.

    Raises:
        InvalidInput: A parameter is wrong; each problem names its place and its cure.
        TrainingFailed: The task failed or was stopped; the error says why and what to do.
        CannotConnect: No platform answers: start one with `tunesmith up`.
    """
    given = {"model_name_or_path": model, "train_file": train_file, "eval_file": eval_file}
    spec: dict[str, Any] = {**parameters}
    spec |= {name: value for name, value in given.items() if value is not None}
    task = {name: spec.pop(name) for name in _TASK_FIELDS & spec.keys()}
    return _run(spec, task, client, progress)


class TrainingConfig:
    """Parameters of a training, checked when it is made; each can be read as an attribute.

    Takes every name that `tunesmith train` takes, so also SimpleFoundation's.

    Args:
        given: By name. Data files may be left to `ModelTrainer.train`.

    Raises:
        InvalidInput: A parameter is wrong; each problem names its place and its cure.
    """

    def __init__(self, **given: Unpack[TrainParameters]) -> None:
        parameters: dict[str, Any] = {**given}
        self._task = {name: parameters.pop(name) for name in _TASK_FIELDS & parameters.keys()}
        self._given = parameters
        mapped, _ = TrainSpec.canonical(parameters)
        # Files come only with `train`; until then something stands in, so that the rest can be checked.
        stand_ins = {name: _STAND_IN for name in FILES if not isinstance(mapped.get(name), str)}
        self._spec = TrainSpec.read(mapped | stand_ins)

    @classmethod
    def from_file(cls, file: str | PathLike[str], **parameters: Any) -> Self:
        """Parameters of a JSON or YAML file, with others over them.

        Raises:
            InvalidInput: The file cannot be read, or a parameter is wrong.
        """
        found = read_file(Path(file))
        task = {name: value for name, value in found.task.items() if name != "kind"}
        under = TrainSpec.merged(found.assumed, found.parameters)
        show_notices(found.notices)
        return cls(**task | TrainSpec.merged(under, parameters))

    def __dir__(self) -> list[str]:
        """What can be read: every parameter, by each of its names."""
        names = [spelling for known in TrainSpec.model_fields for spelling in _spellings(known)]
        return sorted({*super().__dir__(), *names})

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
        train_file: Rows | None = None,
        eval_file: Rows | None = None,
        *,
        progress: bool | None = None,
    ) -> str | None:
        """Train, and wait until it is done.

        Args:
            train_file: The rows to learn from, as `finetune` takes them; the configuration's when not given.
            eval_file: Rows held out.
            progress: Whether to show progress; see `finetune`.

        Returns:
            The final checkpoint.

        Raises:
            InvalidInput: No rows are given, or they do not fit the parameters.
            TrainingFailed: The task failed or was stopped; the error says why and what to do.
        """
        files = {"train_file": train_file, "eval_file": eval_file}
        given = {name: value for name, value in files.items() if value is not None}
        over = {name: _text(value) for name, value in given.items() if isinstance(value, str | PathLike)}
        rows = {name: value for name, value in given.items() if name not in over}
        spec = TrainSpec.merged(self.config._given, over) | rows
        self.task = _run(spec, self.config._task, self._client, progress)
        return self.task.checkpoint


def _spellings(parameter: str) -> tuple[str, ...]:
    return (parameter, *about(TrainSpec.model_fields[parameter]).aliases)


def _text(path: str | PathLike[str]) -> str:
    return str(path) if isinstance(path, str) else str(Path(path))


def _run(
    parameters: Mapping[str, Any], task: Mapping[str, Any], client: Client | None, progress: bool | None
) -> FinishedTask:
    rows = {name: value for name, value in parameters.items() if _is_rows(value)}
    named = {name: _named(value) for name, value in parameters.items() if name not in rows}
    given = put_together(ConfigFile(), named)
    if "template" not in task:
        _check(given.parameters | dict.fromkeys(rows, _STAND_IN))

    def ready(found: Client) -> dict[str, Any]:
        return {**task, "spec": given.ready(found, shows=progress) | _kept(found, rows, task)}

    if client is not None:
        return _watched(client, ready(client), progress)
    with Client() as own:
        return _watched(own, ready(own), progress)


def _named(value: Any) -> Any:
    """The same with paths as texts, in a list of data sets too."""
    if isinstance(value, list | tuple):
        return [_named(item) for item in value]
    return str(value) if isinstance(value, PathLike) else value


def _is_rows(value: Any) -> bool:
    """Whether rows themselves were given where a file may be named."""
    if isinstance(value, str | bytes | PathLike | Mapping) or not isinstance(value, Iterable):
        return False
    return (isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Mapping)) or hasattr(
        value, "features"
    )


def _kept(client: Client, rows: Mapping[str, Any], task: Mapping[str, Any]) -> dict[str, str]:
    """Rows as data sets of the platform's, under a name that tells them: the same rows are sent once."""
    names = {}
    for field, given in rows.items():
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{field}.jsonl"
            digest = hashlib.sha256()
            with file.open("wb") as stream:
                for number, row in enumerate(given, 1):
                    try:
                        line = json.dumps(dict(row), ensure_ascii=False, allow_nan=False).encode() + b"\n"
                    except (TypeError, ValueError) as error:
                        raise InvalidInput(
                            f"Row {number} is nothing that JSON holds: {error}.",
                            hint="Make its values texts, numbers, lists and mappings first.",
                            field=field,
                        ) from error
                    digest.update(line)
                    stream.write(line)
            name = f"{field.replace('_file', '')}-rows-{digest.hexdigest()[:12]}"
            try:
                client.datasets.show(name)
            except NotFound:
                client.datasets.upload(file, name)
            names[field] = name
    return names


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
        error.args = (error.in_a_line(),)
        raise


def _watched(client: Client, body: Mapping[str, Any], progress: bool | None) -> FinishedTask:
    view = client.create_task(body)
    if progress is None or progress:
        show_notices(view.notices)
        console = out() if progress or out().is_terminal or out().is_jupyter else talk()
        if not console.is_terminal:
            say(f"Task `{view.name}` ({view.id}) is submitted.")
        try:
            view = watch_task(client, view.id, console)
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


def _signature() -> inspect.Signature:
    """What a notebook completes after `finetune(`: every parameter by its own name."""
    shown = inspect.signature(finetune)
    own = [one for one in shown.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    known = {one.name for one in own} | {"model_name_or_path"}
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in TrainParameters.__annotations__.items()
        if name in TrainSpec.model_fields.keys() | _TASK_FIELDS and name not in known
    ]
    rest = [one for one in shown.parameters.values() if one.kind is inspect.Parameter.VAR_KEYWORD]
    return shown.replace(parameters=[*own, *more, *rest])


finetune.__signature__ = _signature()  # type: ignore[attr-defined]


def _place(uri: str) -> str:
    return str(local_path(uri) or uri)
