"""A stop that is found, not heard: the file that the platform leaves for a job that may not reach it.

The file in the work folder is looked for every second; the one beside the attempt's document, which may lie in a
bucket, only while the control plane does not answer. Never on the thread that takes steps. Knows files and the storage;
knows nothing of training.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tunesmith.job import AttemptDocument, StopMarker
from tunesmith.storage import open_storage

LOOK_SECONDS = 1.0
"""How often the work folder is looked into."""
SILENT_SECONDS = 2.5
"""How long the control plane may be silent before the storage is asked: longer than between two heartbeats."""
FAR_SECONDS = 2.0
"""From one question to the storage to the next."""
_log = logging.getLogger("tunesmith_jobs.report")


class StopFiles:
    """Where an attempt's stop may lie."""

    def __init__(self, document: AttemptDocument) -> None:
        self._marker = StopMarker(task_id=document.task_id, attempt=document.attempt)
        self._near = Path(document.work_dir) / self._marker.name
        self._far = document.documents_uri

    def is_near(self) -> bool:
        """Whether it lies in the work folder."""
        try:
            return self._marker.is_in(self._near.read_bytes())
        except OSError:
            return False

    def is_far(self) -> bool:
        """Whether it lies in the storage. This may take long; a storage that does not answer holds none."""
        if self._far is None:
            return False
        try:
            return self._marker.is_in(open_storage(self._far).read(self._marker.name))
        except Exception as error:  # whatever a storage raises must not end the look-out
            _log.debug("the storage was asked for a stop and failed: %r", error)
            return False


class StorageQuestion:
    """Asks the storage for a stop, in a thread of its own: a storage that hangs must hold up nobody who asks.

    Args:
        files: Where the stop may lie.
        found: Called once, by that thread, when it was found.
    """

    def __init__(self, files: StopFiles, found: Callable[[], None] = lambda: None) -> None:
        self._files, self._found = files, found
        self._thread: threading.Thread | None = None
        self._asked_at = -FAR_SECONDS
        self.is_found = False
        """Whether an answer said that the stop is there."""

    def ask(self) -> bool:
        """Begin to ask, unless that is under way or was done just now; returns `is_found`."""
        now = time.monotonic()
        is_asking = self._thread is not None and self._thread.is_alive()
        if not self.is_found and not is_asking and now - self._asked_at >= FAR_SECONDS:
            self._asked_at = now
            self._thread = threading.Thread(target=self._ask, name="stop-question", daemon=True)
            self._thread.start()
        return self.is_found

    def _ask(self) -> None:
        if self._files.is_far():
            self.is_found = True
            self._found()


class Lookout:
    """Looks for an attempt's stop until it is found or the look-out is closed."""

    def __init__(self, document: AttemptDocument, found: Callable[[], None] = lambda: None) -> None:
        """Look once here and now, then go on in a thread.

        Args:
            document: The attempt.
            found: Called once, when the stop was found.
        """
        self._files = StopFiles(document)
        self._found = found
        self._seen = threading.Event()
        self._closing = threading.Event()
        self._answered_at = time.monotonic()
        self._question = StorageQuestion(self._files, self._see)
        if self._files.is_near():
            self._see()
        else:
            threading.Thread(target=self._look, name="stop-lookout", daemon=True).start()

    @property
    def seen(self) -> bool:
        """Whether the stop was found."""
        return self._seen.is_set()

    def answered(self) -> None:
        """The control plane has just answered: what it wants is known."""
        self._answered_at = time.monotonic()

    def close(self) -> None:
        """Look no more."""
        self._closing.set()

    def _look(self) -> None:
        while not self._closing.wait(LOOK_SECONDS) and not self.seen:
            if self._files.is_near():
                self._see()
                return
            if time.monotonic() - self._answered_at > SILENT_SECONDS:
                self._question.ask()

    def _see(self) -> None:
        if not self._seen.is_set():
            self._seen.set()
            _log.warning("a stop was found where the platform leaves it")
            self._found()
