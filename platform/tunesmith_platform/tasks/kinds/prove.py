"""Proving that a served model is the model, as the platform asks it."""

from tunesmith.chat.document import ProveDocument
from tunesmith.errors import InvalidInput
from tunesmith.spec.model_task import ModelUseSpec
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.sandbox.error_fields import at
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks.kinds.model_use import ModelInputs, ModelUse


class Proving(ModelUse):
    """Tasks that hold what llama.cpp computes of a model against the model itself."""

    def look_at(self, scope: Scope, spec: ModelUseSpec) -> ModelInputs:
        """As of every model.

        Raises:
            InvalidInput: It is not there, or sorts texts into classes.
        """
        inputs = super().look_at(scope, spec)
        if inputs.training.get("training_type") == "classification":
            with at("model_name_or_path"):
                raise InvalidInput(
                    "The model sorts texts into classes: it gives no answers to prove.", hint="Evaluate it."
                )
        return inputs

    def document(self, task: TaskRow, number: int) -> ProveDocument:
        """What an attempt of a task is handed."""
        made = super().document(task, number)
        return ProveDocument(
            **made.model_copy(update={"use_gpu": False}).model_dump(),
            cache_dir=f"{self.parts.settings.work_dir}/served",
        )
