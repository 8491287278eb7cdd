"""Operations on data sets, as the platform asks them: what they are given, what their attempts are handed.

The rows are worked on by a job (`tunesmith_jobs.data`), which leaves its files where they stay and says so in an event.
Knows operations and the registry; knows nothing of rows.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from tunesmith import views
from tunesmith.data_step import FOLDER, DataDocument, DataOutput
from tunesmith.errors import InvalidInput
from tunesmith.events import DatasetMade
from tunesmith.spec.base import Spec
from tunesmith.spec.dataset import INTO, DatasetSpec, read_operation
from tunesmith.spec.loading import refuse_bare_token
from tunesmith.spec.pipeline import Step, check_environment
from tunesmith.spec.task import NewTask
from tunesmith.spec.variables import variables_in
from tunesmith.storage import local_path
from tunesmith_platform.dataset_names import name_of, split
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.paths import allowed_uri
from tunesmith_platform.sandbox.error_fields import at
from tunesmith_platform.scope import Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks.inputs import DataInputs
from tunesmith_platform.tasks.kinds.base import KindBehaviour, Pinned, Prepared, Result
from tunesmith_platform.tasks.step_paths import StepPaths, flat, is_name, located

_SOURCES = ("dataset", "datasets", "path", "data_files", "data_dir")
"""The parameters that say what is worked on."""
_NOT_IN_NAMES = re.compile(r"[^\w\-]+")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ROWS = ("dataset", "datasets")
_FILES = ("data_files", "data_dir", "path")


class DataPaths(StepPaths):
    """An operation's paths: rows may be a data set's name, files may lie in a bucket or the Hub."""

    def of(self, step: Step) -> Iterable[str]:
        """The step's parameters that hold paths of this machine."""
        if step.method != "load":
            return _ROWS
        if not _is_hub(step):
            return (*_FILES, "cache_dir")
        return ("cache_dir",) if _is_hub_id(step) else ("path", "cache_dir")

    def files_of(self, step: Step) -> Iterable[str]:
        """The parameters whose files' content tells what the step makes."""
        return () if step.method == "load" and _is_hub_id(step) else (*_ROWS, *_FILES)

    def elsewhere(
        self, name: str, given: str, settings: Settings, registered: Callable[[str], Path]
    ) -> str | None:
        """The file of a data set's name, or a bucket's address."""
        if name in _ROWS and is_name(given):
            return str(registered(given))
        if name in _FILES and local_path(given) is None:
            return allowed_uri(given, settings.allowed_uris)
        return None

    def check(self, step: Step, found: Mapping[str, Any]) -> None:
        """See that the files of a data set of the Hub are its own."""
        for name in ("data_files", "data_dir") if _is_hub(step) else ():
            for given in flat(found.get(name)):
                if given.startswith(("/", "\\")) or ".." in Path(given).parts or "://" in given:
                    raise InvalidInput(
                        f"`{given}` lies outside the data set.",
                        hint="Name files of the data set itself.",
                        field=name,
                    )

    def is_repeatable(self, step: Step, parameters: Mapping[str, Any]) -> bool:
        """Whether it names a commit, where it loads from the Hub."""
        return not _is_hub_id(step) or _COMMIT.fullmatch(str(parameters.get("revision", ""))) is not None


def _is_hub(step: Step) -> bool:
    provider = step.parameters.get("provider", step.parameters.get("driver", "huggingface"))
    return step.method == "load" and provider == "huggingface"


def _is_hub_id(step: Step) -> bool:
    return _is_hub(step) and _HUB_ID.fullmatch(str(step.parameters.get("path", ""))) is not None


class DataWork(KindBehaviour):
    """Tasks that work on data."""

    def __post_init__(self) -> None:
        """Take up which of an operation's parameters are paths."""
        self.paths = DataPaths(self.kind.spec)

    def prepare(self, scope: Scope, new: NewTask, task_id: str, rows_dir: Path | None = None) -> Prepared:
        """Look at an operation; with `rows_dir` its rows go there, make no version of a data set, and were located."""
        given = cast(DatasetSpec, new.spec)
        if rows_dir is None:
            spec, inputs = self._look_at(scope, given, str(self.parts.settings.work_dir / task_id / "rows"))
            if inputs.into is not None and given.operation != "split":  # whose parts have names of their own
                with at(INTO):
                    self.parts.datasets.seen_by(scope.within(new.project)).expect_free(inputs.into)
        else:
            read = read_operation(given.operation, given.parameters)
            spec = read.model_dump(mode="json", exclude_unset=True)
            inputs = DataInputs(
                parameters=given.parameters, rows_dir=str(rows_dir), reads=_files(given.parameters)
            )
        shown = {"operation": given.operation, **spec, **({"into": inputs.into} if inputs.into else {})}
        return Prepared(spec=shown, inputs=inputs.model_dump(mode="json"))

    def _look_at(self, scope: Scope, new: DatasetSpec, rows_dir: str) -> tuple[dict[str, Any], DataInputs]:
        """The parameters as they are shown, each data set with its version; and all that the job needs."""
        parameters = dict(new.parameters)
        given = {"provider", "driver"} & parameters.keys()
        if new.operation == "load" and not given:
            parameters["provider"] = "local" if _is_local(parameters) else "huggingface"
        refuse_bare_token(parameters)
        check_environment(parameters, token=True)
        for variable in variables_in(parameters):
            if variable.source != "env" or variable.path[0] not in self.parts.settings.pipeline_environment:
                raise InvalidInput(
                    f"`{variable.text}` may not be read here.",
                    hint="`TUNESMITH_PIPELINE_ENVIRONMENT` sets which variables may.",
                )
        spec = read_operation(new.operation, parameters).model_dump(mode="json", exclude_unset=True)
        versions: dict[str, str] = {}

        def registered(name: str) -> Path:
            stored = self.parts.datasets.seen_by(scope).find(name)
            versions[name] = stored.version
            return stored.path

        step = Step(
            id=new.operation,
            kind=self.kind.name,
            component="",
            method=new.operation,
            parameters=parameters,
        )
        found = located(step, self.paths, self.parts.settings, registered)
        shown = {
            name: _versioned(value, versions) if name in _SOURCES else value for name, value in spec.items()
        }
        sources = [text for name in _SOURCES for text in flat(shown.get(name))]
        into = new.into or _name(new.operation, sources)
        inputs = DataInputs(
            parameters=found, into=into, rows_dir=rows_dir, sources=sources, reads=_files(found)
        )
        return shown, inputs

    def document(self, task: TaskRow, number: int) -> DataDocument:
        """What an attempt of a task is handed."""
        settings = self.parts.settings
        inputs = DataInputs.model_validate(task.inputs)
        return DataDocument(
            **self.attempt(task, number),
            operation=str(task.spec["operation"]),
            parameters=inputs.parameters,
            environment=settings.pipeline_environment,
            rows_dir=inputs.rows_dir,
            store_uri=f"{settings.storage_uri.rstrip('/')}/{FOLDER}" if inputs.into else None,
            file_name=inputs.into or "rows",
        )

    def result(self, scope: Scope, task: views.TaskView) -> Result:
        """The files that a task made, by their names, those of its last attempt; and the file, or each part's."""
        with self.parts.database.read() as session:
            rows = events.last_of_kind(session, scope, task.id, "dataset_made", 10)
        made = [DatasetMade.model_validate(row.payload) for row in rows]
        outputs = {one.output: DataOutput.model_validate(one.model_dump()) for one in made}
        if list(outputs) == ["data"]:
            return Result(outputs, outputs["data"].path)
        return Result(outputs, {name: output.path for name, output in outputs.items()})

    def read_step(self, step: Step, _environment: Mapping[str, str | None]) -> Spec:
        """The operation's parameters, checked once more; its job reads the environment where it runs."""
        return read_operation(step.method, step.parameters)

    def look_again(self, scope: Scope, step: Step, before: Mapping[str, Any]) -> None:
        """See that no path leads out, now that what the step takes from others is known: its task looks no more."""
        datasets = self.parts.datasets.seen_by(scope)
        step.parameters = located(
            step,
            self.paths,
            self.parts.settings,
            lambda name: datasets.find(name).path,
            known=flat(before),
        )

    def pinned(self, _scope: Scope, _spec: Spec, given: Mapping[str, Any]) -> Pinned:
        """The parameters as they were located: names stand for files by now."""
        return Pinned(dict(given), dict(given))

    def of_step(self, step: Step, parameters: dict[str, Any]) -> dict[str, Any]:
        """The operation with its parameters."""
        return {"operation": step.method, "parameters": parameters}


def _is_local(parameters: Mapping[str, Any]) -> bool:
    path = parameters.get("path")
    return path is None or str(path).startswith("/") or "://" in str(path)


def _versioned(value: Any, versions: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return versions.get(value, value)
    if isinstance(value, list):
        return [_versioned(inner, versions) for inner in value]
    return value


def _files(parameters: Mapping[str, Any]) -> list[str]:
    return [text for name in _SOURCES for text in flat(parameters.get(name)) if local_path(text) is not None]


def _name(operation: str, sources: list[str]) -> str:
    """What is made is called after what it is made of."""
    first = sources[0] if sources else "data"
    stem = name_of(first.rstrip("/").rpartition("/")[2]) if "/" in first else split(first)[0]
    stem = _NOT_IN_NAMES.sub("-", stem)[:80]
    return stem if operation == "load" else f"{stem}-{operation}"
