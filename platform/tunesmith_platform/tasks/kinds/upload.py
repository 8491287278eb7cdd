"""Uploading what a task made to the Hub, as the platform asks it.

The bytes go from the storage to the Hub by a job (`tunesmith_jobs.upload`). Knows tasks and manifests; knows no hub.
"""

from pathlib import Path
from typing import cast

from pydantic import BaseModel, Field

from tunesmith import views
from tunesmith.artifacts import MANIFEST, Manifest
from tunesmith.errors import InvalidInput, NotFound
from tunesmith.lifecycle import State
from tunesmith.spec.base import Notice
from tunesmith.spec.task import NewTask
from tunesmith.spec.upload import UploadSpec
from tunesmith.storage import open_storage
from tunesmith.upload_job import UploadDocument, card_license
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.sandbox.error_fields import at_spec
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks import repository
from tunesmith_platform.tasks.kinds.base import KindBehaviour, Prepared, Result

_CARD = "README.md"


class UploadInputs(BaseModel):
    """What an upload reads, resolved."""

    model_uri: str = Field(description="The folder that is uploaded: a result with its manifest.")
    of_task: str
    of_name: str


class Uploading(KindBehaviour):
    """Tasks that upload."""

    def prepare(self, scope: Scope, new: NewTask, task_id: str, rows_dir: Path | None = None) -> Prepared:
        """See that there is a whole result, and say under which license it goes, and to whom."""
        spec = cast(UploadSpec, new.spec)
        with at_spec():
            if spec.variable not in self.parts.settings.pipeline_environment:
                raise InvalidInput(
                    f"`{spec.token}` may not be read here.",
                    hint="`TUNESMITH_PIPELINE_ENVIRONMENT` sets which variables may.",
                    field="token",
                )
            inputs = self._found(scope, spec.task_id)
            manifest, card = self._stored(inputs)
        size = sum(file.bytes for file in manifest.files)
        license_ = card_license(card)
        seen = "everybody may see it" if spec.public else "the repository is private"
        notices = [
            *spec.notices,
            Notice(
                field="repo_id",
                message=f"{size / 1e6:.1f} MB of `{inputs.of_name}` go to `{spec.repo_id}`; {seen}. Its card names "
                + (
                    f"the license `{license_}`."
                    if license_
                    else "no license: see whether you may pass it on."
                ),
            ),
        ]
        return Prepared(
            spec=spec.model_dump(mode="json"), inputs=inputs.model_dump(mode="json"), notices=tuple(notices)
        )

    def _found(self, scope: Scope, task_id: str) -> UploadInputs:
        try:
            with self.parts.database.read() as session:
                task = repository.require(session, scope, task_id)
        except NotFound as error:
            raise InvalidInput(error.message, hint=error.hint, field="task_id") from None
        if task.state != State.COMPLETED or not task.model_uri:
            raise InvalidInput(
                f"Task `{task.name}` is {task.state} and has no result to upload.",
                hint="Name a completed package or training: `tunesmith package TASK` makes one.",
                field="task_id",
            )
        return UploadInputs(model_uri=task.model_uri, of_task=task.id, of_name=task.name)

    def _stored(self, inputs: UploadInputs) -> tuple[Manifest, bytes | None]:
        try:
            storage = open_storage(inputs.model_uri)
            manifest, card = Manifest.decode(storage.read(MANIFEST) or b""), storage.read(_CARD)
        except OSError as error:
            raise InvalidInput(f"`{inputs.model_uri}` cannot be read: {error}.", field="task_id") from error
        if manifest is None:
            raise InvalidInput(
                f"The files of `{inputs.of_name}` are not there any more.",
                hint="Make them again.",
                field="task_id",
            )
        return manifest, card

    def document(self, task: TaskRow, number: int) -> UploadDocument:
        """What an attempt is handed."""
        return UploadDocument(
            **self.attempt(task, number),
            model_uri=UploadInputs.model_validate(task.inputs).model_uri,
            environment=self.parts.settings.pipeline_environment,
        )

    def result(self, scope: Scope, task: views.TaskView) -> Result:
        """The repository's name."""
        return Result({}, task.spec["repo_id"])
