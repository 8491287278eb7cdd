"""Letting a model answer prompts, as the platform asks it."""

from dataclasses import replace
from pathlib import Path

from tunesmith import views
from tunesmith.data_step import DataOutput
from tunesmith.errors import InvalidInput
from tunesmith.events import DatasetMade
from tunesmith.spec.generate import GenerateSpec
from tunesmith.spec.task import NewTask
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.sandbox import checks, sample_checks
from tunesmith_platform.sandbox.error_fields import at
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks.kinds.base import Prepared, Result
from tunesmith_platform.tasks.kinds.model_use import ModelUse
from tunesmith_platform.tasks.kinds.resolve_model import FoundModel


class Generation(ModelUse):
    """Tasks that make rows of answers."""

    def rows_of(self, scope: Scope, spec: GenerateSpec, _found: FoundModel) -> tuple[Path | None, str | None]:
        """The rows whose questions are asked, where they are not given as a list."""
        return (None, None) if spec.dataset is None else self.file_of(scope, "dataset", spec.dataset)

    def look_at_rows(
        self, spec: GenerateSpec, training: TrainSpec, found: FoundModel, data: Path | None
    ) -> None:
        """See that the model answers, that its template can be rendered, and that the rows hold questions."""
        if training.training_type == "classification":
            with at("model_name_or_path"):
                raise InvalidInput(
                    "The model sorts texts into classes: it gives no answers.", hint="Evaluate it."
                )
        with at("chat_template"):
            checks.check_chat_template(found.encoder, found.tokenizer, training.chat_template)
        if data is not None:
            with at("dataset"):
                sample_checks.check_asked(data, spec.prompt_column)

    def prepare(self, scope: Scope, new: NewTask, task_id: str, rows_dir: Path | None = None) -> Prepared:
        """As of every model, with a place for the answers."""
        made = super().prepare(scope, new, task_id, rows_dir)
        place = str(rows_dir or self.parts.settings.pipelines_dir / task_id)
        return replace(made, inputs=made.inputs | {"rows_dir": place})

    def result(self, scope: Scope, task: views.TaskView) -> Result:
        """The answers."""
        with self.parts.database.read() as session:
            last = events.last_of_kind(session, scope, task.id, "dataset_made", 1)
        made = [DatasetMade.model_validate(row.payload) for row in last]
        outputs = {one.output: DataOutput.model_validate(one.model_dump()) for one in made}
        return Result(outputs, outputs["data"].path if outputs else None)
