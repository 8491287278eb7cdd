"""What tasks that use a model have in common, as the platform asks them: the model is found, its rows are looked at.

The work is done by a job (`tunesmith_jobs.model_work`), which says in its events what came of it. Knows which model
and which rows; knows nothing of weights.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, Field

from tunesmith.errors import InvalidData
from tunesmith.model_step import ModelDocument, ModelOrigin
from tunesmith.spec.base import Spec
from tunesmith.spec.model_task import ModelUseSpec
from tunesmith.spec.pipeline import Step
from tunesmith.spec.task import NewTask
from tunesmith.spec.training import TrainSpec
from tunesmith.spec.variables import variables_in
from tunesmith_platform.backends.protocols import RowsUsed
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.sandbox.error_fields import at, at_spec
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks.find_inputs import find_file
from tunesmith_platform.tasks.inputs import check_further_paths
from tunesmith_platform.tasks.kinds.base import KindBehaviour, Pinned, Prepared, rows_of_file
from tunesmith_platform.tasks.kinds.resolve_model import Finder, FoundModel


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


class ModelUse(KindBehaviour):
    """Tasks that use a model. A kind says which rows it reads, and looks at them."""

    def __post_init__(self) -> None:
        """Make what finds models."""
        super().__post_init__()
        self._finder = Finder(self.parts.database, self.parts.settings, self.parts.models)

    # --- what differs

    def rows_of(self, _scope: Scope, _spec: Any, _found: FoundModel) -> tuple[Path | None, str | None]:
        """The file that a task reads, and its data set's version where it was named by one."""
        return None, None

    def look_at_rows(self, spec: Any, training: TrainSpec, found: FoundModel, data: Path | None) -> None:
        """Look at the rows.

        Raises:
            InvalidInput: They cannot be used with this model.
        """

    def output_of(self, _spec: Any, _found: FoundModel) -> Path | None:
        """The folder of its user's in which it publishes, looked at."""
        return None

    # --- what is the same

    def prepare(self, scope: Scope, new: NewTask, task_id: str, rows_dir: Path | None = None) -> Prepared:
        """Look at everything that a new task is given."""
        with at_spec():
            inputs = self.look_at(scope, cast(ModelUseSpec, new.spec))
        return Prepared(
            spec=new.spec.model_dump(mode="json"),
            inputs=inputs.model_dump(mode="json"),
            notices=tuple(new.spec.notices),
            parent=(inputs.origin.task_id, inputs.step) if inputs.origin.task_id else None,
            output_dir=inputs.output_dir,
            uses=((inputs.origin.task_id, inputs.step),) if inputs.origin.task_id else (),
        )

    def look_at(self, scope: Scope, spec: ModelUseSpec) -> ModelInputs:
        """Look at everything that a step is given. No transaction may be open.

        Raises:
            InvalidInput: With the problem, its place and cure.
        """
        found = self._finder.find(scope, spec)
        data, dataset = self.rows_of(scope, spec, found)
        adapter = found.uri if found.base is not None else None
        training = spec.as_training(
            found.trained, base=str(found.base or found.uri), adapter=adapter, data=str(data or "-")
        )
        check_further_paths(training.model_copy(update={"attach_lora_path": None}), self.parts.settings)
        self.look_at_rows(spec, training, found, data)
        output = self.output_of(spec, found)
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

    def rows_used(self, task: TaskRow) -> list[RowsUsed]:
        """The rows that the model is used on."""
        given = ModelInputs.model_validate(task.inputs)
        if not given.data_path:
            return []
        return [rows_of_file(given.data_path, given.dataset, None, context="evaluation")]

    def file_of(self, scope: Scope, field: str, given: str) -> tuple[Path, str | None]:
        """The file of a path or a data set's name, and the version that the name stands for.

        Raises:
            InvalidInput: There is none.
        """
        with at(field):
            path, stored = find_file(given, self.parts.settings, self.parts.datasets.seen_by(scope))
            if not path.is_file():
                raise InvalidData(f"There is no file `{given}`.", hint="Check the path.")
        return path, stored.version if stored else None

    def look_ahead(self, scope: Scope, step: Step) -> None:
        """Look at a step whose model and rows no other step makes."""
        if not any(variables_in(step.parameters)):
            self.look_at(scope, cast(ModelUseSpec, self.kind.spec.read(step.parameters)))

    def pinned(self, scope: Scope, spec: Spec, given: Mapping[str, Any]) -> Pinned:
        """A step with its checkpoint and its data set's version; told by where a task's model lies today."""
        assert isinstance(spec, ModelUseSpec)
        fixed: dict[str, Any] = {}
        if spec.task_id is not None and spec.checkpoint is None:
            newest = self._finder.newest_step(scope, spec.task_id)
            if newest is not None:
                fixed["checkpoint"] = newest
        fixed |= self.parts.datasets.seen_by(scope).pinned(spec, ("eval_file", "dataset"))
        place = {"model_name_or_path": self._finder.find(scope, spec).uri} if spec.task_id is not None else {}
        parameters = {**given, **fixed}
        return Pinned(parameters, parameters | place)

    def document(self, task: TaskRow, number: int) -> ModelDocument:
        """What an attempt of a task is handed."""
        inputs = ModelInputs.model_validate(task.inputs)
        return ModelDocument(
            **self.attempt(task, number),
            artifact_uri=task.artifact_uri,
            **inputs.model_dump(exclude={"dataset", "reads"}),
        )
