"""What a task leaves behind in storage and in the folder its user named, and how it is removed.

Removes what the task itself wrote and nothing else: of a user's folder only what carries the task's own manifest. The
base model is never among it. Knows files; knows nothing of states.
"""

import contextlib
import logging
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from tunesmith.artifacts import FINAL_MODEL, MANIFEST, Manifest, checkpoint_step
from tunesmith.errors import Conflict
from tunesmith.storage import local_path, open_storage
from tunesmith_platform.db.tables import MirrorRow, TaskRow
from tunesmith_platform.settings import Settings

logger = logging.getLogger(__name__)


class TaskFiles(NamedTuple):
    """Where a task's files lie."""

    task_id: str
    work: Path
    documents_uri: str
    artifact_uri: str | None
    run_artifact_uri: str | None
    output_dir: Path | None

    def folders(self) -> list[str]:
        """The folders on this machine whose content another task may have been given."""
        places = [local_path(uri) for uri in (self.artifact_uri, self.run_artifact_uri) if uri]
        return [os.path.realpath(place) for place in (*places, *self.published()) if place is not None]

    def published(self) -> list[Path]:
        """What the task published into its user's folder: by its manifest, never through a link."""
        folder = self.output_dir
        if folder is None or folder.is_symlink() or os.path.realpath(folder) != str(folder):
            return []
        try:
            found = sorted(folder.iterdir())
        except OSError:
            return []
        return [
            child
            for child in found
            if (child.name == FINAL_MODEL or checkpoint_step(child.name) is not None)
            and not child.is_symlink()
            and _task_of(child) == self.task_id
        ]


def of_task(task: TaskRow, mirror: MirrorRow | None, settings: Settings) -> TaskFiles:
    """Where a task's files lie."""
    output_dir = task.inputs.get("output_dir")
    return TaskFiles(
        task_id=task.id,
        work=settings.work_dir / task.id,
        documents_uri=f"{settings.storage_uri.rstrip('/')}/tasks/{task.id}",
        artifact_uri=task.artifact_uri,
        run_artifact_uri=mirror.run_artifact_uri if mirror else None,
        output_dir=Path(output_dir) if output_dir else None,
    )


def refuse_taken(output_dir: str | None) -> None:
    """Keep the final model that lies in a folder from being replaced by a new task's.

    Raises:
        Conflict: A task has published its model there.
    """
    if output_dir is None:
        return
    model = Path(output_dir, FINAL_MODEL)
    owner = _task_of(model)
    if owner is not None:
        raise Conflict(
            f"`{model}` is the model of task `{owner}`; the new one would take its place.",
            hint=f"Give another `output_dir`, or remove `{model}`: its task keeps its own copy.",
            field="spec.output_dir",
        )


def _task_of(folder: Path) -> str | None:
    try:
        manifest = Manifest.decode((folder / MANIFEST).read_bytes())
    except OSError:
        return None
    return manifest.task_id if manifest else None


def remove_records(left: TaskFiles) -> None:
    """Remove what served the task's running alone: its scratch and its attempts' documents."""
    shutil.rmtree(left.work, ignore_errors=True)
    storage = open_storage(left.documents_uri)
    with contextlib.suppress(OSError):
        for name in storage.list():
            if name.startswith(("attempt-", "stop-")):
                storage.remove(name)
        if not storage.list():
            storage.remove()


def remove(left: TaskFiles) -> None:
    """Remove a task's checkpoints and final model, wherever they show."""
    if left.artifact_uri:
        open_storage(left.artifact_uri).remove()
    if left.run_artifact_uri and left.run_artifact_uri != left.artifact_uri:
        open_storage(left.run_artifact_uri).remove()  # the run's own view of the same files
    for folder in left.published():
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            logger.warning("%s: `%s` could not be removed", left.task_id, folder)
