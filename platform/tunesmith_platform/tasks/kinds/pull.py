"""Bringing a base model from a hub, as the platform asks it.

The bytes come by a job (`tunesmith_jobs.pull`) into the models folder, where the registry finds the model by itself.
Knows parameters and the models folder; knows no hub.
"""

from pathlib import Path
from typing import cast

from tunesmith import views
from tunesmith.errors import InvalidInput
from tunesmith.model_folder import is_from_hub
from tunesmith.pull_job import PullDocument
from tunesmith.spec.pull import PullSpec
from tunesmith.spec.task import NewTask
from tunesmith.spec.upload import FROM_ENVIRONMENT
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.sandbox.error_fields import at_spec
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks.kinds.base import KindBehaviour, Prepared, Result


class Pulling(KindBehaviour):
    """Tasks that pull."""

    def prepare(self, scope: Scope, new: NewTask, task_id: str, rows_dir: Path | None = None) -> Prepared:
        """See that nothing stands where the model goes, and that the token may be read."""
        spec = cast(PullSpec, new.spec)
        variables = self.parts.settings.pipeline_environment
        with at_spec():
            if spec.token != FROM_ENVIRONMENT and spec.variable not in variables:
                raise InvalidInput(
                    f"`{spec.token}` may not be read here.",
                    hint="`TUNESMITH_PIPELINE_ENVIRONMENT` sets which variables may.",
                    field="token",
                )
            self._require_place(spec.repo_id)
        return Prepared(spec=spec.model_dump(mode="json"), inputs={}, notices=tuple(spec.notices))

    def _require_place(self, repo_id: str) -> None:
        name = repo_id.rpartition("/")[2]
        folder = self.parts.settings.models_dir / name
        if not folder.exists():
            return
        if is_from_hub(folder, repo_id):
            raise InvalidInput(
                f"`{repo_id}` is here already.",
                hint=f"Train from it as `{name}`. For another revision, rename its folder `{folder}` first.",
                field="repo_id",
            )
        raise InvalidInput(
            f"Another model named `{name}` is in the models folder already.",
            hint=f"Rename its folder `{folder}` first.",
            field="repo_id",
        )

    def document(self, task: TaskRow, number: int) -> PullDocument:
        """What an attempt is handed."""
        settings = self.parts.settings
        return PullDocument(
            **self.attempt(task, number),
            models_dir=str(settings.models_dir),
            environment=settings.pipeline_environment,
        )

    def result(self, scope: Scope, task: views.TaskView) -> Result:
        """The model's hub id, by which other tasks name it."""
        return Result({}, task.spec["repo_id"])
