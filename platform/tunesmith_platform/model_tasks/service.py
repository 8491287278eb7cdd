"""Tasks that use a model: what is asked for is looked at, made a task, and handed to a job.

The work is done by a job (`tunesmith_jobs.model_entry`), which says in its events what came of it. Knows which model
and which rows; knows nothing of weights.
"""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from tunesmith import views
from tunesmith.artifacts import FINAL_MODEL
from tunesmith.data_step import DataOutput
from tunesmith.errors import InvalidData, InvalidInput
from tunesmith.events import DatasetMade
from tunesmith.job import read_secret, report_token
from tunesmith.model_step import METRIC_PREFIX, MODEL_STEPS, ModelDocument, ModelOrigin
from tunesmith.spec.evaluation import EvaluateSpec
from tunesmith.spec.generate import GenerateSpec
from tunesmith.spec.model_task import ModelUseSpec
from tunesmith.spec.package import PackageSpec
from tunesmith.spec.task import Kind, NewModelTask
from tunesmith.spec.training import TrainSpec
from tunesmith.storage import local_path
from tunesmith_platform.clock import new_id, now
from tunesmith_platform.datasets.service import DatasetService
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.events import repository as events
from tunesmith_platform.file_state import state_of_folder
from tunesmith_platform.idempotency import sent_as
from tunesmith_platform.model_tasks.resolve_model import Finder, FoundModel
from tunesmith_platform.sandbox import checks
from tunesmith_platform.sandbox.error_fields import at
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks.inputs import Models, check_further_paths, find_file, look_at_rows
from tunesmith_platform.tasks.insert import new_row
from tunesmith_platform.tasks.outputs import check_output, output_folder, refuse_taken
from tunesmith_platform.tasks.service import TaskService


class ModelInputs(BaseModel):
    """What a task that uses a model reads and where its files go, resolved."""

    model_uri: str
    step: int = 0
    training: dict[str, Any] = Field(description="See `ModelDocument.training`.")
    encoder_path: str
    tokenizer_path: str | None = None
    classes: list[str] = Field(default_factory=list)
    dataset: str | None = Field(
        None, description="`name@number` of the data set that the rows were named by."
    )
    data_path: str | None = None
    rows_dir: str | None = None
    output_dir: str | None = None
    origin: ModelOrigin = Field(default_factory=ModelOrigin)
    reads: list[str] = Field(default_factory=list, description="Files and folders that are there to be read.")


class ModelTaskService:
    """Makes tasks that use a model, and says what came of them."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        tasks: TaskService,
        datasets: DatasetService,
        models: Models,
    ) -> None:
        self._database = database
        self._settings = settings
        self._tasks = tasks
        self._datasets = datasets
        self._finder = Finder(database, settings, models)

    def create(
        self, new: NewModelTask, principal: str, key: str | None, *, rows_dir: Path | None = None
    ) -> tuple[views.TaskView, bool]:
        """Make a task that uses a model; the same `key` and body again give the same task.

        Args:
            new: What to do.
            principal: Who asks.
            key: The `Idempotency-Key`.
            rows_dir: The folder for rows that are made; the task's own when None.

        Returns:
            The task, and whether it was made now.

        Raises:
            InvalidInput: There is no such model, its rows cannot be used, or a parameter is not right.
            IdempotencyConflict: The key was used with another body.
        """
        body = sent_as(str(new.kind), new)
        replayed = self._tasks.replayed(principal, key, body)
        if replayed is not None:
            return replayed, False
        spec = MODEL_STEPS[new.kind].read(new.parameters)
        inputs = self.look_at(spec)
        refuse_taken(inputs.output_dir, results=(FINAL_MODEL,))
        task_id = new_id("task")
        if isinstance(spec, GenerateSpec):
            inputs.rows_dir = str(rows_dir or self._settings.pipelines_dir / task_id)
        is_package = isinstance(spec, PackageSpec)
        task = new_row(
            new,
            new.kind,
            task_id,
            now(),
            spec=spec.model_dump(mode="json"),
            inputs=inputs.model_dump(mode="json"),
            notices=[notice.model_dump() for notice in spec.notices],
            parent_id=inputs.origin.task_id,
            parent_step=inputs.step if inputs.origin.task_id else None,
            artifact_uri=f"{self._settings.storage_uri.rstrip('/')}/tasks/{task_id}/artifacts"
            if is_package
            else None,
        )
        return self._tasks.add(task, principal, key, body)

    def look_at(self, spec: ModelUseSpec) -> ModelInputs:
        """Look at everything that a step is given. No transaction may be open.

        Raises:
            InvalidInput: With the problem, its place and cure.
        """
        found = self._finder.find(spec)
        data, dataset = self._rows_of(spec, found)
        adapter = found.uri if found.base is not None else None
        training = spec.as_training(
            found.trained, base=str(found.base or found.uri), adapter=adapter, data=str(data or "-")
        )
        check_further_paths(training.model_copy(update={"attach_lora_path": None}), self._settings)
        self._look_at_rows(spec, training, found, data)
        output = None
        if isinstance(spec, PackageSpec) and spec.output_dir is not None:
            with at("output_dir"):
                output = output_folder(spec.output_dir, self._settings)
                assert output is not None
                reads = {
                    "its model": local_path(found.uri),
                    "its base": found.base,
                    "its tokenizer": found.tokenizer,
                }
                check_output(output, reads, self._settings)
        return ModelInputs(
            model_uri=found.uri,
            step=found.step,
            training=training.model_dump(mode="json"),
            encoder_path=str(found.encoder),
            tokenizer_path=str(found.tokenizer) if found.tokenizer else None,
            classes=found.classes if training.training_type == "classification" else [],
            dataset=dataset,
            data_path=str(data) if data else None,
            output_dir=str(output) if output else None,
            origin=found.origin,
            reads=[path for path in (found.uri, str(found.base or ""), str(data or "")) if path],
        )

    def _rows_of(self, spec: ModelUseSpec, found: FoundModel) -> tuple[Path | None, str | None]:
        """The file that a step reads, and its data set's version where it was named by one."""
        if isinstance(spec, EvaluateSpec):
            field, given = "eval_file", spec.eval_file
            if given is None and found.eval_path is not None:
                return Path(found.eval_path), found.eval_dataset
        elif isinstance(spec, GenerateSpec):
            field, given = "dataset", spec.dataset
        else:
            return None, None
        if given is None:
            if isinstance(spec, GenerateSpec):
                return None, None
            with at(field):
                raise InvalidInput(
                    "Which rows to evaluate on is not given, and the model was trained without an evaluation file.",
                    hint="Write `dataset: ${jobs.<id>.output}`, a file, or a data set's name.",
                )
        with at(field):
            path, stored = find_file(given, self._settings, self._datasets)
            if not path.is_file():
                raise InvalidData(f"There is no file `{given}`.", hint="Check the path.")
        return path, stored.version if stored else None

    def _look_at_rows(
        self, spec: ModelUseSpec, training: TrainSpec, found: FoundModel, data: Path | None
    ) -> None:
        if isinstance(spec, EvaluateSpec):
            assert data is not None
            tokenizer = state_of_folder(found.tokenizer) if found.tokenizer else None
            look_at_rows("eval_file", data, training, state_of_folder(found.encoder), tokenizer)
        elif isinstance(spec, GenerateSpec):
            if training.training_type == "classification":
                with at("model_name_or_path"):
                    raise InvalidInput(
                        "The model sorts texts into classes: it gives no answers.", hint="Evaluate it."
                    )
            with at("chat_template"):
                checks.check_chat_template(found.encoder, found.tokenizer, training.chat_template)
            if data is not None:
                with at("dataset"):
                    checks.check_asked(data, spec.prompt_column)

    def pinned(self, spec: ModelUseSpec) -> dict[str, Any]:
        """What a step names that may become something else later, named for good: versions and checkpoints.

        Raises:
            InvalidInput: There is no such task, or it has no checkpoint.
            NotFound: There is no such data set.
        """
        found: dict[str, Any] = {}
        if spec.task_id is not None and spec.checkpoint is None:
            step = self._finder.newest_step(spec.task_id)
            if step is not None:
                found["checkpoint"] = step
        return found | self._datasets.pinned(spec, ("eval_file", "dataset"))

    def place(self, spec: ModelUseSpec) -> dict[str, Any]:
        """Where the model of a task lies, which tells what it is today from what it may be tomorrow.

        Raises:
            InvalidInput: There is no such task, or it has no checkpoint.
        """
        return {"model_name_or_path": self._finder.find(spec).uri} if spec.task_id is not None else {}

    def document(self, task: TaskRow, number: int) -> ModelDocument:
        """What an attempt of a task is handed."""
        settings = self._settings
        inputs = ModelInputs.model_validate(task.inputs)
        return ModelDocument(
            task_id=task.id,
            attempt=number,
            kind=Kind(task.kind),
            name=task.name,
            spec=task.spec,
            api_url=settings.api_url,
            token=report_token(read_secret(settings.report_secret_file), task.id, number),
            silent_seconds=settings.silent_worker_seconds,
            stuck_seconds=settings.stuck_worker_seconds,
            work_dir=f"{settings.work_dir}/{task.id}",
            submitted_at=now(),
            artifact_uri=task.artifact_uri,
            **inputs.model_dump(exclude={"dataset", "reads"}),
        )

    def result(self, task: views.TaskView) -> tuple[dict[str, DataOutput], Any]:
        """The files of rows that a completed task made, and what it hands on to later steps."""
        if task.kind is Kind.PACKAGE:
            return {}, task.model_uri
        with self._database.read() as session:
            kind = "metrics" if task.kind is Kind.EVALUATE else "dataset_made"
            last = events.last_of_kind(session, task.id, kind, 1)
        if task.kind is Kind.EVALUATE:
            values = last[0].payload["values"] if last else {}
            return {}, {
                "metrics": {name.removeprefix(METRIC_PREFIX): value for name, value in values.items()}
            }
        made = [DatasetMade.model_validate(row.payload) for row in last]
        outputs = {one.output: DataOutput.model_validate(one.model_dump()) for one in made}
        return outputs, outputs["data"].path if outputs else None
