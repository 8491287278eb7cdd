"""Fingerprints of models: small models are read at once, large ones by a thread in the background, one at a time.

Files are read while no transaction is open. Knows rows and bytes; knows nothing of what makes a model sound.
"""

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from sqlalchemy.orm import Session

from tunesmith.errors import Unavailable
from tunesmith.fingerprint import FileSum, Stamp, changed, fingerprint, stamps, sums
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import ModelRow
from tunesmith_platform.leases import held
from tunesmith_platform.models import repository
from tunesmith_platform.scope import INSTALLATION

logger = logging.getLogger(__name__)

AT_ONCE_BYTES = 512 * 2**20
"""What a call may wait for being read (about a second); more is read in the background."""
SUBMIT_SECONDS = 5.0
"""How long a task may take from asking for a fingerprint to being entered."""
_OTHER_SECONDS = 1.0
"""How long after a look one looks again whether another process has read a model."""
_KNOWN_RESULTS = 256
"""Models that tasks made and whose sums are kept in memory."""


class Fingerprints:
    """Reads models' files for their fingerprints, and notes them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._results: dict[str, dict[str, FileSum]] = {}
        self._lock = threading.Lock()
        self._waiting: set[str] = set()
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader: threading.Thread | None = None
        self._is_closed = threading.Event()

    def complete(self, row: ModelRow, here: Mapping[str, Stamp], at_once: int | None = None) -> ModelRow:
        """A model's row with its fingerprint; without one while large files are being read.

        Args:
            row: As it was stored.
            here: Its files as they are now.
            at_once: Bytes that may be read before answering.
        """
        wanted = changed(here, _known_sums(row))
        limit = AT_ONCE_BYTES if at_once is None else at_once
        if sum(here[name].size for name in wanted) <= limit:
            return self._read(row.id) or row
        self._later(row.id)
        return row

    def resume(self) -> None:
        """Read the models that somebody was reading, or was about to, when its process ended."""
        with self._database.read() as session:
            unread = repository.unread(session, INSTALLATION)
        for model_id in unread:
            self._later(model_id)

    def of_result(self, folder: Path) -> str | None:
        """The fingerprint of a model that a task made; None when it is too large to be read at once."""
        here = stamps_of(folder) or {}
        known = self._results.get(str(folder), {})
        if not here or sum(here[name].size for name in changed(here, known)) > AT_ONCE_BYTES:
            return None
        found = sums(folder, known)
        if len(self._results) >= _KNOWN_RESULTS:
            self._results.clear()
        self._results[str(folder)] = found
        return fingerprint(found)

    def close(self) -> None:
        """End the background reader once it has read what it is reading."""
        if self._reader is not None:
            self._is_closed.set()
            self._queue.put("")
            self._reader.join(timeout=5)

    def _read(self, model_id: str) -> ModelRow | None:
        """Read a model's files for its fingerprint, and note it; None when it was forgotten, or changes just now."""
        with self._database.read() as session:
            row = repository.find(session, INSTALLATION, model_id)
        if row is None:
            return None
        try:
            found = sums(Path(row.path), _known_sums(row))
        except OSError as error:
            logger.warning("%s: %s", row.path, error)
            return None
        with self._database.write() as session:
            row = repository.find(session, INSTALLATION, model_id)
            if row is None:
                return None
            row.sums = {name: file.model_dump() for name, file in found.items()}
            if known_stamps(row) != {name: file.stamp for name, file in found.items()}:
                return row  # a file changed meanwhile: the next look reads it
            row.sha256 = fingerprint(found)
            _tell_tasks(session, row)
        return row

    def _later(self, model_id: str) -> None:
        with self._lock:
            if model_id in self._waiting:
                return
            self._waiting.add(model_id)
            if self._reader is None or not self._reader.is_alive():
                self._reader = threading.Thread(target=self._read_queue, name="models", daemon=True)
                self._reader.start()
        self._queue.put(model_id)

    def _read_queue(self) -> None:
        read: list[str] = []
        while True:
            try:
                model_id = self._queue.get(timeout=SUBMIT_SECONDS if read else None)
            except queue.Empty:
                self._guarded(self._tell_late_tasks, *read)
                read.clear()
                continue
            if not model_id or self._is_closed.is_set():
                return
            if not self._read_alone(model_id):
                self._queue.put(model_id)  # its turn comes again, should the other be killed
                self._is_closed.wait(_OTHER_SECONDS)
                continue
            read.append(model_id)
            with self._lock:
                self._waiting.discard(model_id)

    def _read_alone(self, model_id: str) -> bool:
        """Read a large model, unless another process does just now; whether it is done with."""
        try:
            with held(self._database, f"read {model_id}", 0):
                self._guarded(self._read, model_id)
        except Unavailable:
            return False
        return True

    def _tell_late_tasks(self, *model_ids: str) -> None:
        """Tell the tasks that asked before their model was read, and were entered after it."""
        with self._database.write() as session:
            for row in (repository.find(session, INSTALLATION, model_id) for model_id in model_ids):
                if row is not None and row.sha256 is not None:
                    _tell_tasks(session, row)

    def _guarded(self, step: Callable[..., object], *model_ids: str) -> None:
        try:
            step(*model_ids)
        except BaseException:  # one model's trouble must not end the reader
            logger.exception("the fingerprint of %s", ", ".join(model_ids))


def stamps_of(folder: Path) -> dict[str, Stamp] | None:
    """Size and time of change of every file in a folder; None when it cannot be looked at."""
    try:
        return stamps(folder)
    except OSError:
        return None


def known_stamps(row: ModelRow) -> dict[str, Stamp]:
    """What `stamps_of` gave when the model was looked at."""
    return {name: Stamp(size, changed_ns) for name, (size, changed_ns) in row.stamps.items()}


def _known_sums(row: ModelRow) -> dict[str, FileSum]:
    return {name: FileSum.model_validate(file) for name, file in row.sums.items()}


def _tell_tasks(session: Session, row: ModelRow) -> None:
    for task in repository.live_tasks_without_sum(session, INSTALLATION, row.path):
        task.inputs = {**task.inputs, "model_sha256": row.sha256}
