"""Packaging a model, as the platform asks it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from tunesmith.artifacts import FINAL_MODEL, PACKAGE, checkpoint_name
from tunesmith.errors import InvalidInput, NotConvertible
from tunesmith.events import PackageMade
from tunesmith.gguf.converter import found_converter
from tunesmith.lifecycle import State
from tunesmith.model_step import MadeBefore, ModelDocument
from tunesmith.spec.base import Notice, Spec
from tunesmith.spec.model_task import ModelUseSpec
from tunesmith.spec.package import TRAINING_ROWS, PackageSpec
from tunesmith.spec.package_choices import CUSTOM, PRESETS
from tunesmith.spec.package_problems import as_texts, without_matrix
from tunesmith.spec.task import NewTask
from tunesmith.spec.training import TrainSpec
from tunesmith.storage import local_path
from tunesmith_platform.backends.protocols import RowsUsed
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.file_state import state_of_folder
from tunesmith_platform.sandbox import checks
from tunesmith_platform.sandbox.error_fields import at, at_spec
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks import repository
from tunesmith_platform.tasks.inputs import look_at_rows
from tunesmith_platform.tasks.kinds.base import Pinned, Prepared
from tunesmith_platform.tasks.kinds.converter_offer import leave_to_converter
from tunesmith_platform.tasks.kinds.license_terms import license_of, terms_told
from tunesmith_platform.tasks.kinds.model_use import ModelInputs, ModelUse
from tunesmith_platform.tasks.kinds.resolve_model import FoundModel
from tunesmith_platform.tasks.outputs import check_output, output_folder

_LOOKED_BACK = 50
"""Packages among which a file of the same inputs is looked for."""


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

    def rows_of(self, scope: Scope, spec: PackageSpec, found: FoundModel) -> tuple[Path | None, str | None]:
        """The rows of the importance matrix: the training's own, a file, or a data set's version."""
        wanted = spec.matrix_rows
        if wanted is None:
            return None, None
        if wanted != TRAINING_ROWS:
            return self.file_of(scope, "importance_matrix", wanted)
        if found.train_path is not None and Path(found.train_path).is_file():
            return Path(found.train_path), None
        if spec.can_go_without_matrix:
            return None, None
        why = (
            "nobody here knows what the model was trained on"
            if found.train_path is None
            else f"the rows that the model was trained on are gone (`{Path(found.train_path).name}`)"
        )
        problem = without_matrix(spec, why)
        raise InvalidInput(problem.message, hint=problem.hint, field=problem.field)

    def look_at_rows(
        self, spec: PackageSpec, training: TrainSpec, found: FoundModel, data: Path | None
    ) -> None:
        """See that what is to be written is there, and that a file can hold it; and that what its importance matrix is
        computed of can be read.

        Raises:
            InvalidInput: There is no LoRA, the model gives no text, llama.cpp would compute something else, or no row
                can be encoded.
        """
        if not spec.makes_gguf:
            return
        if data is not None:
            _look_at_matrix_rows(data, training, found)
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
            try:
                with at("preset"):
                    checks.check_gguf(
                        model, found.tokenizer or found.encoder, place if spec.export_lora_gguf else None
                    )
            except NotConvertible as error:
                leave_to_converter(spec, error, self.parts.settings.gguf_converter)

    def prepare(self, scope: Scope, new: NewTask, task_id: str, rows_dir: Path | None = None) -> Prepared:
        """As of every model, with a place for what is written."""
        spec = cast(PackageSpec, new.spec)
        notices = list(spec.notices)
        with at_spec():
            chosen = self._with_checkpoint(scope, spec, notices)
            found = self._finder.find(scope, chosen)
            if chosen.can_go_without_matrix and self.rows_of(scope, chosen, found)[0] is None:
                spec, chosen = spec.without_matrix(), chosen.without_matrix()
                notices.append(_NO_ROWS)
            notices[:0] = terms_told(spec, found, new.name)
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
        fixed: dict[str, Any] = (
            {} if chosen.checkpoint == spec.checkpoint else {"checkpoint": chosen.checkpoint}
        )
        if spec.matrix_rows not in (None, TRAINING_ROWS):
            fixed |= self.parts.datasets.seen_by(scope).pinned(spec, ("importance_matrix",))
        return super().pinned(scope, chosen, {**given, **fixed})

    def rows_used(self, task: TaskRow) -> list[RowsUsed]:
        """The rows of its importance matrix."""
        return [dataclasses.replace(one, context="importance_matrix") for one in super().rows_used(task)]

    def look_at(self, scope: Scope, spec: ModelUseSpec) -> ModelInputs:
        """As of every model; with the license of what it was made of."""
        inputs = super().look_at(scope, spec)
        inputs.origin.license = license_of(self._finder.find(scope, spec))
        return inputs

    def document(self, task: TaskRow, number: int) -> ModelDocument:
        """As of every model; weights are merged in main memory."""
        given = self.parts.settings.gguf_converter
        may_convert = task.spec.get("external_converter", False)
        update = {
            "use_gpu": False,
            "made_before": self._made_before(task),
            "converter": found_converter(given) or given if may_convert else [],
        }
        return super().document(task, number).model_copy(update=update)

    def _made_before(self, task: TaskRow) -> list[MadeBefore]:
        """Proven files of its owner's packages, the newest first."""
        own = Scope.acting_for(task).own()
        wanted = repository.Filter((State.COMPLETED,), self.kind.name, limit=_LOOKED_BACK)
        found = []
        with self.parts.database.read() as session:
            for earlier in repository.find(session, own, wanted):
                for event in events.last_of_kind(session, own, earlier.id, "package_made", 1):
                    made = PackageMade.model_validate(event.payload)
                    found += [
                        MadeBefore(
                            key=one.key, task_id=earlier.id, uri=made.uri, name=one.name, sha256=one.sha256
                        )
                        for one in made.files
                        if one.key and one.verdict == "proven" and not one.parts
                    ]
        return found


_NO_ROWS = Notice(
    field="importance_matrix",
    message="`IQ3_M` and `IQ3_S` say much else than the model without an importance matrix, and the rows that the "
    "model was trained on are not to be had: name a file of rows or a data set (`importance_matrix`), or take "
    "`Q3_K_M`.",
)


def _look_at_matrix_rows(data: Path, training: TrainSpec, found: FoundModel) -> None:
    """See that some row can be encoded: as the training's own, or as a text.

    Raises:
        InvalidInput: None can.
    """
    model = state_of_folder(found.encoder)
    tokenizer = state_of_folder(found.tokenizer) if found.tokenizer else None
    try:
        look_at_rows("importance_matrix", data, training, model, tokenizer)
    except InvalidInput as error:
        texts = as_texts(training)
        if texts is None:
            raise
        try:
            look_at_rows("importance_matrix", data, texts, model, tokenizer)
        except InvalidInput:
            raise error from None


def _shown(spec: PackageSpec) -> dict[str, Any]:
    """A task's parameters without those that its preset decides: a clone with another preset takes that one's."""
    decided = PRESETS.get(spec.preset, {}) if spec.preset != CUSTOM else {}
    return spec.model_dump(mode="json", exclude=set(decided))
