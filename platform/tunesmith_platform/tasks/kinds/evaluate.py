"""Evaluating a model, as the platform asks it."""

from pathlib import Path
from typing import Any

from tunesmith import views
from tunesmith.errors import InvalidInput
from tunesmith.model_step import METRIC_PREFIX
from tunesmith.spec.evaluation import EvaluateSpec
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.file_state import state_of_folder
from tunesmith_platform.sandbox.error_fields import at
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks.inputs import look_at_rows
from tunesmith_platform.tasks.kinds.base import Result
from tunesmith_platform.tasks.kinds.model_use import ModelUse
from tunesmith_platform.tasks.kinds.resolve_model import FoundModel


class Evaluation(ModelUse):
    """Tasks that measure a model's loss on rows."""

    def rows_of(self, scope: Scope, spec: EvaluateSpec, found: FoundModel) -> tuple[Path | None, str | None]:
        """The rows that are measured: those that the model was trained to be evaluated on where none are given."""
        if spec.eval_file is not None:
            return self.file_of(scope, "eval_file", spec.eval_file)
        if found.eval_path is not None:
            return Path(found.eval_path), found.eval_dataset
        with at("eval_file"):
            raise InvalidInput(
                "Which rows to evaluate on is not given, and the model was trained without an evaluation file.",
                hint="Write `dataset: ${jobs.<id>.output}`, a file, or a data set's name.",
            )

    def look_at_rows(self, _spec: Any, training: TrainSpec, found: FoundModel, data: Path | None) -> None:
        """See that every row can be encoded as the model was trained."""
        assert data is not None
        tokenizer = state_of_folder(found.tokenizer) if found.tokenizer else None
        look_at_rows("eval_file", data, training, state_of_folder(found.encoder), tokenizer)

    def result(self, scope: Scope, task: views.TaskView) -> Result:
        """What was measured, under the names that charts have without their prefix."""
        with self.parts.database.read() as session:
            last = events.last_of_kind(session, scope, task.id, "metrics", 1)
        values = last[0].payload["values"] if last else {}
        measured = {name.removeprefix(METRIC_PREFIX): value for name, value in values.items()}
        return Result({}, {"metrics": measured})
