"""Leaves an attempt's stop where its job finds it while the API is away, and takes it up again.

In the work folder first, which is quick, then beside the attempt's document, which a job on another machine reaches.
Written once the stop is recorded, outside of any transaction, before its user is answered; the reconciler writes it
again where that failed. Knows files; knows nothing of states.
"""

import logging
import threading

from tunesmith.job import StopMarker
from tunesmith.removal import remove_empty, remove_names
from tunesmith.storage import Storage, local_path, open_storage
from tunesmith_platform.settings import Settings

_ANSWER_SECONDS = 2.0
"""How long a user waits for a storage that is no local folder; it goes on meanwhile."""
logger = logging.getLogger(__name__)


def leave(settings: Settings, task_id: str, attempt: int) -> bool:
    """Leave an attempt's stop; False where it is not certain that it lies in both places."""
    marker = StopMarker(task_id=task_id, attempt=attempt)
    is_near = _write(f"{settings.work_dir}/{task_id}", marker)
    far = _documents(settings, task_id)
    if local_path(far) is not None:
        return _write(far, marker) and is_near
    written = threading.Event()

    def write() -> None:
        if _write(far, marker):
            written.set()

    thread = threading.Thread(target=write, name="stop-marker", daemon=True)
    thread.start()
    thread.join(_ANSWER_SECONDS)
    return is_near and written.is_set()


def take_up(settings: Settings, task_id: str, attempt: int) -> None:
    """Remove an attempt's stop, where there is one: nobody is left to heed it, or it is of a database that was lost.

    Raises:
        OSError: A storage does not let go of it.
    """
    name = StopMarker(task_id=task_id, attempt=attempt).name
    remove_names(open_storage(f"{settings.work_dir}/{task_id}"), "", name)
    remove_names(open_storage(_documents(settings, task_id)), "", name)
    remove_empty(settings.work_dir / task_id)  # where it was made for the marker alone


def _documents(settings: Settings, task_id: str) -> str:
    return f"{settings.storage_uri.rstrip('/')}/tasks/{task_id}"


def _write(uri: str, marker: StopMarker) -> bool:
    try:
        storage: Storage = open_storage(uri)
        if not marker.is_in(storage.read(marker.name)):
            storage.write(marker.name, marker.encode())
    except OSError as error:
        logger.warning("%s: its stop could not be left at `%s`: %s", marker.task_id, uri, error)
        return False
    return True
