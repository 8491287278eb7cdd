"""Packaging a model, as the platform asks it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from tunesmith.artifacts import FINAL_MODEL, PACKAGE, checkpoint_name
from tunesmith.errors import InvalidInput
from tunesmith.model_step import ModelDocument
from tunesmith.spec.base import Notice, Spec
from tunesmith.spec.package import CUSTOM, PRESETS, PackageSpec
from tunesmith.spec.task import NewTask
from tunesmith.spec.training import TrainSpec
from tunesmith.storage import local_path
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.sandbox import checks
from tunesmith_platform.sandbox.error_fields import at, at_spec
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks.kinds.base import Pinned, Prepared
from tunesmith_platform.tasks.kinds.model_use import ModelUse
from tunesmith_platform.tasks.kinds.resolve_model import FoundModel
from tunesmith_platform.tasks.outputs import check_output, output_folder


class Packaging(ModelUse):
    """Tasks that write a complete model folder, or GGUF files."""

    def output_of(self, spec: PackageSpec, found: FoundModel) -> Path | None:
        """The folder in which the result is published too."""
        if spec.output_dir is None:
            return None
        with at("output_dir"):
            output = output_folder(spec.output_dir, self.parts.settings)
            assert output is not None
            reads = {
                "its model": local_path(found.uri),
                "its base": found.base,
                "its tokenizer": found.tokenizer,
            }
            check_output(output, reads, self.parts.settings)
        return output

    def look_at_rows(
        self, spec: PackageSpec, training: TrainSpec, found: FoundModel, data: Path | None
    ) -> None:
        """See that what is to be written is there, and that a file can hold it; rows are none.

        Raises:
            InvalidInput: There is no LoRA, the model gives no text, or llama.cpp would compute something else.
        """
        if not spec.makes_gguf:
            return
        if found.base is None and (spec.export_lora_gguf or spec.export_adapter_zip):
            raise InvalidInput(
                "The model is a whole one: there is no LoRA to write.",
                hint="Use `preset: merge_and_quantize`, or name a task that trained a LoRA.",
                field="export_adapter_zip" if spec.export_adapter_zip else "preset",
            )
        if training.training_type == "classification":
            raise InvalidInput(
                "The model classifies: a GGUF file for llama.cpp is of one that gives text.",
                hint="Use `preset: model_folder`.",
                field="preset",
            )
        place = local_path(found.uri)
        model = found.base or place
        if model is not None:
            with at("preset"):
                checks.check_gguf(
                    model, found.tokenizer or found.encoder, place if spec.export_lora_gguf else None
                )

    def prepare(self, scope: Scope, new: NewTask, task_id: str, rows_dir: Path | None = None) -> Prepared:
        """As of every model, with a place for what is written."""
        spec = cast(PackageSpec, new.spec)
        notices = list(spec.notices)
        with at_spec():
            chosen = self._with_checkpoint(scope, spec, notices)
        made = super().prepare(scope, new.model_copy(update={"spec": chosen}), task_id, rows_dir)
        storage = self.parts.settings.storage_uri.rstrip("/")
        return replace(
            made,
            spec=_shown(spec),
            notices=tuple(notices),
            artifact_uri=f"{storage}/tasks/{task_id}/artifacts",
            results=(PACKAGE,) if spec.makes_gguf else (FINAL_MODEL,),
        )

    def _with_checkpoint(self, scope: Scope, spec: PackageSpec, notices: list[Notice]) -> PackageSpec:
        """A step with the checkpoint that is packaged, and a notice of which that is where none was given."""
        if not spec.makes_gguf or spec.task_id is None or spec.checkpoint is not None:
            return spec
        step, why = self._finder.best_step(scope, spec.task_id)
        which = f"`{checkpoint_name(step)}`" if step is not None else "The final model"
        notices.append(
            Notice(field="checkpoint", message=f"No checkpoint is given. {which} is packaged: {why}.")
        )
        return spec.model_copy(update={"checkpoint": step})

    def pinned(self, scope: Scope, spec: Spec, given: Mapping[str, Any]) -> Pinned:
        """As of every model; of GGUF files with the checkpoint that would be taken today."""
        assert isinstance(spec, PackageSpec)
        chosen = self._with_checkpoint(scope, spec, [])
        fixed = {} if chosen.checkpoint == spec.checkpoint else {"checkpoint": chosen.checkpoint}
        return super().pinned(scope, chosen, {**given, **fixed})

    def document(self, task: TaskRow, number: int) -> ModelDocument:
        """As of every model; weights are merged in main memory."""
        return super().document(task, number).model_copy(update={"use_gpu": False})


def _shown(spec: PackageSpec) -> dict[str, Any]:
    """A task's parameters without those that its preset decides: a clone with another preset takes that one's."""
    decided = PRESETS.get(spec.preset, {}) if spec.preset != CUSTOM else {}
    return spec.model_dump(mode="json", exclude=set(decided))
