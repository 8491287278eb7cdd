"""Operations on data sets as tasks: what is asked for is checked, made a task, and handed to a job.

The rows are worked on by a job (`tunesmith_jobs.data`), which leaves its files where they stay and says so in an event.
Knows operations and the registry; knows nothing of rows.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith import views
from tunesmith.data_step import FOLDER, DataDocument, DataOutput
from tunesmith.errors import InvalidInput
from tunesmith.events import DatasetMade
from tunesmith.job import read_secret, report_token
from tunesmith.spec.dataset import read_operation
from tunesmith.spec.loading import refuse_bare_token
from tunesmith.spec.pipeline import Step, StepKind, check_environment
from tunesmith.spec.task import Kind, NewDataTask
from tunesmith.spec.variables import variables_in
from tunesmith.storage import local_path
from tunesmith_platform.clock import new_id, now
from tunesmith_platform.datasets.lineage import DataInputs
from tunesmith_platform.datasets.naming import name_of, split
from tunesmith_platform.datasets.service import DatasetService
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.events import repository as events
from tunesmith_platform.idempotency import sent_as
from tunesmith_platform.pipelines.resolve_paths import flat, located
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks.insert import new_row
from tunesmith_platform.tasks.service import TaskService

_SOURCES = ("dataset", "datasets", "path", "data_files", "data_dir")
"""The parameters that say what is worked on."""
_NOT_IN_NAMES = re.compile(r"[^\w\-]+")


class DataTaskService:
    """Makes tasks that work on data, and says what came of them."""

    def __init__(
        self, database: Database, settings: Settings, tasks: TaskService, datasets: DatasetService
    ) -> None:
        self._database = database
        self._settings = settings
        self._tasks = tasks
        self._datasets = datasets

    def create(
        self, new: NewDataTask, principal: str, key: str | None, *, rows_dir: Path | None = None
    ) -> tuple[views.TaskView, bool]:
        """Make a task that works on data; the same `key` and body again give the same task.

        Args:
            new: What to do.
            principal: Who asks.
            key: The `Idempotency-Key`.
            rows_dir: Leave the rows in this folder, and make no version of a data set. Its parameters were located.

        Returns:
            The task, and whether it was made now.

        Raises:
            InvalidInput: A parameter is not right, or names what may not be read.
            IdempotencyConflict: The key was used with another body.
        """
        body = sent_as("data", new)
        replayed = self._tasks.replayed(principal, key, body)
        if replayed is not None:
            return replayed, False
        moment = now()
        task_id = new_id("task")
        if rows_dir is None:
            spec, inputs = self._look_at(new, str(self._settings.work_dir / task_id / "rows"))
        else:
            spec = read_operation(new.operation, new.parameters).model_dump(mode="json", exclude_unset=True)
            inputs = DataInputs(
                parameters=new.parameters, rows_dir=str(rows_dir), reads=_files(new.parameters)
            )
        shown = {"operation": new.operation, **spec, **({"into": inputs.into} if inputs.into else {})}
        task = new_row(new, Kind.DATASET, task_id, moment, spec=shown, inputs=inputs.model_dump(mode="json"))
        return self._tasks.add(task, principal, key, body)

    def _look_at(self, new: NewDataTask, rows_dir: str) -> tuple[dict[str, Any], DataInputs]:
        """The parameters as they are shown, each data set with its version; and all that the job needs."""
        parameters = dict(new.parameters)
        given = {"provider", "driver"} & parameters.keys()
        if new.operation == "load" and not given:
            parameters["provider"] = "local" if _is_local(parameters) else "huggingface"
        refuse_bare_token(parameters)
        check_environment(parameters, StepKind.DATASET)
        for variable in variables_in(parameters):
            if variable.source != "env" or variable.path[0] not in self._settings.pipeline_environment:
                raise InvalidInput(
                    f"`{variable.text}` may not be read here.",
                    hint="`TUNESMITH_PIPELINE_ENVIRONMENT` sets which variables may.",
                )
        spec = read_operation(new.operation, parameters).model_dump(mode="json", exclude_unset=True)
        versions: dict[str, str] = {}

        def registered(name: str) -> Path:
            stored = self._datasets.find(name)
            versions[name] = stored.version
            return stored.path

        step = Step(
            id=new.operation, kind=StepKind.DATASET, component="", method=new.operation, parameters=parameters
        )
        found = located(step, self._settings, registered)
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
        settings = self._settings
        inputs = DataInputs.model_validate(task.inputs)
        return DataDocument(
            task_id=task.id,
            attempt=number,
            kind=Kind.DATASET,
            name=task.name,
            spec=task.spec,
            api_url=settings.api_url,
            token=report_token(read_secret(settings.report_secret_file), task.id, number),
            work_dir=f"{settings.work_dir}/{task.id}",
            submitted_at=now(),
            operation=str(task.spec["operation"]),
            parameters=inputs.parameters,
            environment=settings.pipeline_environment,
            rows_dir=inputs.rows_dir,
            store_uri=f"{settings.storage_uri.rstrip('/')}/{FOLDER}" if inputs.into else None,
            file_name=inputs.into or "rows",
        )

    def outputs(self, task_id: str) -> dict[str, DataOutput]:
        """The files that a task made, by their names; those of its last attempt."""
        with self._database.read() as session:
            rows = events.last_of_kind(session, task_id, "dataset_made", 10)
        made = [DatasetMade.model_validate(row.payload) for row in rows]
        return {one.output: DataOutput.model_validate(one.model_dump()) for one in made}


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
