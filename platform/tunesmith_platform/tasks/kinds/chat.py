"""Serving a base model for chats, as the platform asks it. Which adapters are asked for comes with the questions."""

from typing import cast

from tunesmith.chat.document import ChatDocument
from tunesmith.errors import InvalidInput
from tunesmith.spec.chat import ChatSpec
from tunesmith.spec.model_task import ModelUseSpec
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.sandbox import checks
from tunesmith_platform.sandbox.error_fields import at
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks.inputs import check_further_paths
from tunesmith_platform.tasks.kinds.model_use import ModelInputs, ModelUse


class Chatting(ModelUse):
    """Tasks that serve a base model."""

    def look_at(self, scope: Scope, spec: ModelUseSpec) -> ModelInputs:
        """Look at the model; of an adapter or of a task, at the base under it. No transaction may be open.

        Raises:
            InvalidInput: With the problem, its place and cure.
        """
        found = self._finder.find(scope, spec)
        if found.base is not None:
            whole = {"model_name_or_path": str(found.base), "task_id": None, "checkpoint": None}
            found = self._finder.find(scope, spec.model_copy(update=whole | {"base_model_path": None}))
        training = spec.as_training(found.trained, base=found.uri, adapter=None, data="-")
        if training.training_type == "classification":
            with at("model_name_or_path"):
                raise InvalidInput(
                    "The model sorts texts into classes: it gives no answers.", hint="Evaluate it."
                )
        check_further_paths(training, self.parts.settings)
        if cast(ChatSpec, spec).chat_template is not None:
            with at("chat_template"):
                checks.check_chat_template(found.encoder, found.tokenizer, training.chat_template)
        return ModelInputs(
            model_uri=found.uri,
            step=found.step,
            training=training.model_dump(mode="json"),
            encoder_path=str(found.encoder),
            tokenizer_path=str(found.tokenizer) if found.tokenizer else None,
            origin=found.origin,
            reads=[found.uri],
        )

    def document(self, task: TaskRow, number: int) -> ChatDocument:
        """What an attempt of a task is handed."""
        inputs, settings = ModelInputs.model_validate(task.inputs), self.parts.settings
        return ChatDocument(
            **self.attempt(task, number),
            **inputs.model_dump(exclude={"dataset", "reads"}),
            serve_host=settings.serve_host,
            serve_port=settings.serve_port,
            cache_dir=f"{settings.work_dir}/served",
        )
