"""Packaging a model, as the platform asks it."""

from dataclasses import replace
from pathlib import Path

from tunesmith.artifacts import FINAL_MODEL
from tunesmith.model_step import ModelDocument
from tunesmith.spec.package import PackageSpec
from tunesmith.spec.task import NewTask
from tunesmith.storage import local_path
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.sandbox.error_fields import at
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks.kinds.base import Prepared
from tunesmith_platform.tasks.kinds.model_use import ModelUse
from tunesmith_platform.tasks.kinds.resolve_model import FoundModel
from tunesmith_platform.tasks.outputs import check_output, output_folder


class Packaging(ModelUse):
    """Tasks that write a complete model folder."""

    def output_of(self, spec: PackageSpec, found: FoundModel) -> Path | None:
        """The folder in which the model is published too."""
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

    def prepare(self, scope: Scope, new: NewTask, task_id: str, rows_dir: Path | None = None) -> Prepared:
        """As of every model, with a place for the one that is written."""
        made = super().prepare(scope, new, task_id, rows_dir)
        storage = self.parts.settings.storage_uri.rstrip("/")
        return replace(made, artifact_uri=f"{storage}/tasks/{task_id}/artifacts", results=(FINAL_MODEL,))

    def document(self, task: TaskRow, number: int) -> ModelDocument:
        """As of every model; weights are merged in main memory."""
        return super().document(task, number).model_copy(update={"use_gpu": False})
