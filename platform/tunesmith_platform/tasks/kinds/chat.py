"""Serving a base model for chats, as the platform asks it. Which adapters are asked for comes with the questions."""

import datetime as dt
from typing import Any, cast

from tunesmith.chat.document import ChatDocument
from tunesmith.chat.wire import PackagedGguf
from tunesmith.errors import InvalidInput, InvalidModel
from tunesmith.spec.chat import ChatSpec
from tunesmith.spec.model_task import ModelUseSpec
from tunesmith_platform.clock import now
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.sandbox import checks
from tunesmith_platform.sandbox.error_fields import at
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks import repository as tasks
from tunesmith_platform.tasks.inputs import check_further_paths
from tunesmith_platform.tasks.kinds.model_use import ModelInputs, ModelUse

_ASKED = dt.timedelta(seconds=30)
"""Whoever waits for an answer asks again within this."""


class ChatInputs(ModelInputs):
    """What a task that serves a model reads, resolved."""

    file: PackagedGguf | None = None


class Chatting(ModelUse):
    """Tasks that serve a base model."""

    def look_at(self, scope: Scope, spec: ModelUseSpec) -> ModelInputs:
        """Look at the model; of an adapter or of a task, at the base under it. No transaction may be open.

        Raises:
            InvalidInput: With the problem, its place and cure.
        """
        if (packaged := self._packaged(scope, spec)) is not None:
            return packaged
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

    def _packaged(self, scope: Scope, spec: ModelUseSpec) -> ModelInputs | None:
        """What a packaged file reads: as its package's task was told of the model; None where none is meant.

        Raises:
            InvalidInput: No package of the user's holds such a file.
        """
        given = spec.model_name_or_path
        if given is None or not given.endswith(".gguf"):
            return None
        with self.parts.database.read() as session:
            found = tasks.packaged_at(session, scope, given)
            task = tasks.known(session, scope, found.package_id) if found is not None else None
        if found is None or task is None:
            raise InvalidModel(
                f"`{given}` is a file of no package here.",
                hint="Package the model with `tunesmith package`; `tunesmith chats names` lists its files.",
                field="model_name_or_path",
            )
        inputs = ModelInputs.model_validate(task.inputs)
        more = {"model_uri": given, "reads": [given], "output_dir": None, "file": tasks.file_of(found)}
        return ChatInputs.model_validate(inputs.model_dump() | more)

    def document(self, task: TaskRow, number: int) -> ChatDocument:
        """What an attempt of a task is handed."""
        inputs, settings = ChatInputs.model_validate(task.inputs), self.parts.settings
        return ChatDocument(
            **self.attempt(task, number),
            **inputs.model_dump(exclude={"dataset", "reads"}),
            serve_host=settings.serve_bind,
            serve_port=settings.serve_port,
            cache_dir=f"{settings.work_dir}/served",
            **self._to_load(task),
        )

    def _to_load(self, task: TaskRow) -> dict[str, Any]:
        """What is loaded before anybody asks: what was asked when the task was begun, and what is pinned."""
        with self.parts.database.read() as session:
            row = tasks.chat_of(session, Scope.acting_for(task), task.id)
        if row is None:
            return {}
        return {"first": row.first or None, "pinned": row.pinned}

    def is_wanted(self, task: TaskRow) -> bool:
        """Not where nobody waits for it: the next question begins another task. What is pinned stays loaded."""
        with self.parts.database.read() as session:
            row = tasks.chat_of(session, Scope.acting_for(task), task.id)
        if row is None or row.pinned or not ChatSpec.stored(task.spec).idle_timeout:
            return True
        return now() - row.asked_at < _ASKED
