"""What a task leaves behind in storage and in the folder its user named, and how it is removed.

Removes what the task itself wrote and nothing else: of a user's folder only what carries the task's own manifest. The
base model is never among it. Knows files; knows nothing of states.
"""

import contextlib
import logging
import os
import re
from pathlib import Path
from typing import NamedTuple

from tunesmith.artifacts import CHECKPOINTS, RESULTS, checkpoint_step
from tunesmith.errors import NotOurs
from tunesmith.removal import (
    MARK,
    discard,
    finish_removals,
    remove_names,
    remove_result,
    remove_stored,
    writer_of,
)
from tunesmith.rows.order import ORDER_FILE
from tunesmith.storage import Storage, local_path, open_storage
from tunesmith.storage_copy import give_up_uploads
from tunesmith_platform.db.tables import MirrorRow, TaskRow
from tunesmith_platform.settings import Settings

_TRACKERS = {
    "tensorboard": re.compile(r"events\.out\.tfevents\."),
    "wandb": re.compile(r"wandb/(run-|offline-run-|debug|latest-run|settings)"),
}
"""The folders of a task's trackers, and how what they write there is called."""
_DOCUMENT = re.compile(r"(attempt|stop)-\d+(\.json)?")
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
            if (child.name in RESULTS or checkpoint_step(child.name) is not None)
            and not child.is_symlink()
            and writer_of(child) == self.task_id
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


def remove_records(left: TaskFiles) -> None:
    """Remove what served the task's running alone: its scratch and its attempts' documents."""
    discard(left.work, left.task_id)
    storage = open_storage(left.documents_uri)
    with contextlib.suppress(OSError):
        remove_names(storage, "", *filter(_DOCUMENT.fullmatch, storage.list()))
        storage.remove_empty()


def remove(left: TaskFiles) -> None:
    """Remove a task's checkpoints, its other results and its trackers' files, wherever they show."""
    for uri in dict.fromkeys(
        [left.artifact_uri, left.run_artifact_uri]
    ):  # the run's own view of the same files
        if uri:
            _remove_artifacts(open_storage(uri), left.task_id)
    if left.output_dir is not None:
        finish_removals(left.output_dir, left.task_id)
    for folder in left.published():
        try:
            remove_result(folder, left.task_id)
        except (NotOurs, OSError) as error:
            logger.warning("%s: `%s` could not be removed: %s", left.task_id, folder, error)


def remove_result_of(left: TaskFiles, name: str) -> bool:
    """Remove one of a task's results, wherever it shows: in the storage, in its run's folder, in its user's.

    Returns:
        Whether all of it is gone that is the task's. A place that does not let it go is logged, and may be tried again.
    """
    is_gone = True
    for uri in dict.fromkeys([left.artifact_uri, left.run_artifact_uri]):
        if not uri:
            continue
        storage = open_storage(uri)
        here = storage.local()
        try:
            if here is not None:
                finish_removals(here, left.task_id)
            remove_stored(storage, name, left.task_id, unfinished=uri == left.artifact_uri)
        except NotOurs as error:
            logger.warning("%s: `%s/%s` is left: %s", left.task_id, uri, name, error)
        except OSError as error:
            logger.warning("%s: `%s/%s` could not be removed: %s", left.task_id, uri, name, error)
            is_gone = False
    if left.output_dir is not None:
        finish_removals(left.output_dir, left.task_id)
    for folder in left.published():
        if folder.name != name:
            continue
        try:
            remove_result(folder, left.task_id)
        except (NotOurs, OSError) as error:  # the task's own copy is what counts
            logger.warning("%s: `%s` could not be removed: %s", left.task_id, folder, error)
    return is_gone


def _remove_artifacts(storage: Storage, task_id: str) -> None:
    """Remove what a task writes into its artifact folder, by name and manifest; what else lies there stays."""
    for here in (storage.local(CHECKPOINTS), storage.local()):
        if here is not None:
            finish_removals(here, task_id)
    names = [
        f"{CHECKPOINTS}/{name}" for name in storage.list(CHECKPOINTS) if checkpoint_step(name) is not None
    ]
    for path in (*names, *RESULTS):
        try:
            # The folder is the task's, as its row says: what has no manifest in it is a save that was cut off.
            remove_stored(storage, path, task_id, unfinished=True)
        except (NotOurs, OSError) as error:
            logger.warning("%s: `%s/%s` could not be removed: %s", task_id, storage.uri, path, error)
    for path in (CHECKPOINTS, *RESULTS):
        give_up_uploads(f"{storage.uri}/{path}")
    try:
        trackers = [
            f"{folder}/{name}"
            for folder, written in _TRACKERS.items()
            for name in storage.files(folder)
            if written.match(name)
        ]
        remove_names(storage, "", ORDER_FILE, MARK, *trackers)
        left = [] if storage.remove_empty() else storage.files()
    except OSError as error:
        logger.warning("%s: `%s` could not be removed: %s", task_id, storage.uri, error)
        return
    if left:
        logger.info("%s: %s files in `%s` are not its own and stay", task_id, len(left), storage.uri)
