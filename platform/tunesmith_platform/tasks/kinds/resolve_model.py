"""Which model a step means: a task's, a folder's or a name's; with its base, and how it was trained.

Knows tasks, checkpoints and folders; loads no weights.
"""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from tunesmith.artifacts import CHECKPOINTS, FINAL_MODEL, checkpoint_step
from tunesmith.errors import InvalidInput, InvalidModel, NotFound
from tunesmith.lifecycle import State
from tunesmith.model_step import ModelOrigin
from tunesmith.spec.kinds import Feature, kind_of
from tunesmith.spec.model_task import ModelUseSpec
from tunesmith.spec.training import TrainSpec
from tunesmith.storage import local_path
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.sandbox import checks
from tunesmith_platform.sandbox.error_fields import at
from tunesmith_platform.scope import Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks import repository
from tunesmith_platform.tasks.find_inputs import AllModels, find_model
from tunesmith_platform.tasks.inputs import facts_of

_ADAPTER_CONFIG = "adapter_config.json"
_LOSS = "eval_loss"


class FoundModel(BaseModel):
    """A model that a step uses."""

    uri: str = Field(description="The weights: a whole model's folder, or an adapter's.")
    base: Path | None = Field(None, description="The base, where the weights are an adapter's.")
    encoder: Path = Field(description="The folder with its tokenizer and chat template.")
    tokenizer: Path | None = Field(None, description="Another folder whose tokenizer it was trained with.")
    step: int = 0
    trained: dict[str, Any] = Field(
        default_factory=dict, description="The parameters that it was trained with."
    )
    classes: list[str] = Field(default_factory=list)
    eval_path: str | None = Field(None, description="The evaluation file that it was trained with.")
    eval_dataset: str | None = None
    origin: ModelOrigin
    started_from: Path | None = Field(None, description="The base model, of whatever was trained from one.")
    train_path: str | None = Field(None, description="The file that it was trained on.")


class Finder:
    """Finds models.

    Args:
        database: Knows the tasks and their checkpoints.
        settings: Which folders may be used.
        models: The registry of base models.
    """

    def __init__(self, database: Database, settings: Settings, models: AllModels) -> None:
        self._database = database
        self._settings = settings
        self._models = models

    def find(self, scope: Scope, spec: ModelUseSpec) -> FoundModel:
        """The model that a step means.

        Raises:
            InvalidInput: There is none, it lies where it may not be read, or its base is not known.
        """
        if spec.task_id is not None:
            return self._of_task(scope, spec.task_id, spec.checkpoint, spec.base_model_path)
        given = str(spec.model_name_or_path)
        if local_path(given) is None or Path(given).is_absolute():
            found = self._saved_by_task(scope, given, spec.base_model_path)
            if found is not None:
                return found
        if local_path(given) is None:
            raise InvalidModel(
                f"`{given}` is the model of no task here.",
                hint="Give a folder inside an allowed root, or the task that trained it (`task_id`).",
                field="model_name_or_path",
            )
        with at("model_name_or_path"):
            return self._in_folder(
                scope,
                find_model(given, self._settings, self._models.seen_by(scope)),
                given,
                spec.base_model_path,
            )

    def steps_of(self, scope: Scope, task_id: str) -> tuple[list[int], bool]:
        """The steps of a task's checkpoints, oldest first; and whether it has a final model.

        Raises:
            InvalidInput: There is no such task, or it trains no model.
        """
        with self._database.read() as session:
            task = _task(session, scope, task_id)
            steps = sorted(row.step for row in repository.checkpoints_of(session, scope, task_id))
        return steps, bool(task.state == State.COMPLETED and task.model_uri)

    def name_of(self, scope: Scope, task_id: str) -> str:
        """A task's name."""
        with self._database.read() as session:
            return str(_task(session, scope, task_id).name)

    def newest_step(self, scope: Scope, task_id: str) -> int | None:
        """The step of the checkpoint that a task's model is now; None where its final model stands for good."""
        with self._database.read() as session:
            task = _task(session, scope, task_id)
            if task.state == State.COMPLETED and task.model_uri:
                return None
            newest = repository.newest_checkpoint(session, scope, task_id)
        if newest is None:
            raise _no_checkpoint(task, None, [])
        return newest.step

    def best_step(self, scope: Scope, task_id: str) -> tuple[int | None, str]:
        """The step of the checkpoint to hand on: the recommended one, else the best by its loss, else the last.

        Returns:
            It, and why it is; None for the step where that is the final model.
        """
        with self._database.read() as session:
            task = _task(session, scope, task_id)
            saved = repository.checkpoints_of(session, scope, task_id)
        recommended = next((row.step for row in saved if row.is_recommended), None)
        if recommended is not None:
            return recommended, "an evaluation recommends it"
        measured = [row for row in saved if _LOSS in row.metrics]
        if measured:
            best = min(measured, key=lambda row: (row.metrics[_LOSS], row.step))
            return best.step, f"it has the lowest evaluation loss, {best.metrics[_LOSS]:.4g}"
        if task.state == State.COMPLETED and task.model_uri:
            return None, "the training ended with it, and no evaluation tells its checkpoints apart"
        if not saved:
            raise _no_checkpoint(task, None, [])
        return max(row.step for row in saved), "it is the last"

    def _of_task(self, scope: Scope, task_id: str, step: int | None, base: str | None) -> FoundModel:
        with self._database.read() as session:
            task = _task(session, scope, task_id)
            saved = {row.step: row for row in repository.checkpoints_of(session, scope, task_id)}
        if step is None and task.state == State.COMPLETED and task.model_uri:
            return self._found(
                scope, task, task.model_uri, max(saved, default=_last_step(task)), is_final=True, base=base
            )
        if step is None and saved:
            step = max(saved)
        if step not in saved:
            raise _no_checkpoint(task, step, list(saved))
        return self._found(scope, task, saved[step].uri, step, is_final=False, base=base)

    def _saved_by_task(self, scope: Scope, given: str, base: str | None) -> FoundModel | None:
        """The model at a place that a task saved into; None where no task did."""
        place = given.rstrip("/")
        folder, _, name = place.rpartition("/")
        step = checkpoint_step(name)
        if step is not None:
            folder = folder.removesuffix(f"/{CHECKPOINTS}")
        is_in_files = step is not None or name == FINAL_MODEL
        with self._database.read() as session:
            task = repository.that_saved(session, scope, place, folder if is_in_files else None)
        if task is None:
            return None
        return self._found(
            scope,
            task,
            place,
            step if step is not None else _last_step(task),
            is_final=step is None,
            base=base,
        )

    def _found(
        self, scope: Scope, task: TaskRow, uri: str, step: int, *, is_final: bool, base: str | None
    ) -> FoundModel:
        trained = TrainSpec.stored(task.spec)
        is_merged = is_final and trained.merge_lora_after_training
        is_adapter = trained.use_lora and not is_merged
        model, tokenizer = Path(str(task.inputs["model_path"])), task.inputs.get("tokenizer_path")
        folder = local_path(uri)
        if base is not None:
            with at("base_model_path"):
                model = find_model(base, self._settings, self._models.seen_by(scope))
        for needed in (folder, model if is_adapter else None):
            if needed is not None and not needed.is_dir():
                raise InvalidModel(
                    f"`{needed}` is gone: task `{task.name}` left it, or was trained from it.",
                    hint="Bring the folder back, or name another model.",
                )
        parameters = trained.model_dump(mode="json")
        encoder: Path = model
        if folder is not None and not is_adapter:
            # Its tokenizer and its template were laid beside the weights.
            encoder, tokenizer = folder, None
            parameters["chat_template"] = None
        with self._database.read() as session:
            started = events.last_of_kind(session, scope, task.id, "training_started", 1)
        facts = started[0].payload.get("facts", {}) if started else {}
        named = [task.inputs.get("train_dataset") or Path(str(task.inputs.get("train_path", ""))).name]
        return FoundModel(
            uri=uri,
            base=model if is_adapter else None,
            encoder=encoder,
            tokenizer=Path(tokenizer) if tokenizer else None,
            step=step,
            trained=parameters,
            classes=facts.get("classes", []),
            eval_path=task.inputs.get("eval_path"),
            eval_dataset=task.inputs.get("eval_dataset"),
            started_from=model,
            train_path=task.inputs.get("train_path"),
            origin=ModelOrigin(
                base=base or str(task.spec.get("model_name_or_path", model)),
                task_id=task.id,
                task_name=task.name,
                datasets=[name for name in named if name],
            ),
        )

    def _in_folder(self, scope: Scope, folder: Path, given: str, base: str | None) -> FoundModel:
        """A model that no task of ours made."""
        if not (folder / _ADAPTER_CONFIG).is_file():
            facts_of(folder)
            return FoundModel(uri=str(folder), encoder=folder, origin=ModelOrigin(base=given))
        checks.check_adapter(folder, "model_name_or_path")
        named = base or checks.adapter_base(folder / _ADAPTER_CONFIG)
        if named is None:
            raise InvalidModel(
                f"`{given}` is an adapter and does not say of which model.", hint="Give `base_model_path`."
            )
        with at("base_model_path"):
            model = find_model(named, self._settings, self._models.seen_by(scope))
            facts_of(model)
        return FoundModel(
            uri=str(folder), base=model, encoder=model, started_from=model, origin=ModelOrigin(base=named)
        )


def _task(session: Session, scope: Scope, task_id: str) -> TaskRow:
    try:
        task = repository.require(session, scope, task_id)
    except NotFound as error:
        raise InvalidInput(error.message, hint=error.hint, field="task_id") from error
    if Feature.CHECKPOINTS not in kind_of(task.kind).supports:
        raise InvalidInput(
            f"Task `{task.name}` trains no model: it is a task of kind `{task.kind}`.",
            hint="Name one that trains: `tunesmith tasks list`.",
            field="task_id",
        )
    return task


def _last_step(task: TaskRow) -> int:
    return int((task.progress or {}).get("step", 0))


def _no_checkpoint(task: TaskRow, step: int | None, there: list[int]) -> InvalidInput:
    which = f"of step {step}" if step is not None else "yet"
    listed = ", ".join(map(str, there[-10:]))
    return InvalidInput(
        f"Task `{task.name}` has no checkpoint {which}.",
        hint=f"It has those of the steps {listed}." if listed else "Wait until it has saved one.",
        field="checkpoint",
    )
