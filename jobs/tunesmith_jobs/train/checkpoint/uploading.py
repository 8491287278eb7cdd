"""Checkpoints on their way to storage.

A thread of its own, of low priority, writes the large files and hashes them as it does, brings the folder to the
storage, writes the manifest last and only then reports it; the training thread goes on meanwhile. Resuming takes the
newest checkpoint whose manifest and hashes agree.
Knows the artifact store; knows nothing of what is inside a checkpoint.
"""

import contextlib
import hashlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tunesmith.activity import ActivityKind
from tunesmith.artifacts import CHECKPOINTS, Manifest, checkpoint_name
from tunesmith.errors import NotOurs
from tunesmith.events import CheckpointRemoved, CheckpointSaved, JobPayload
from tunesmith.lifecycle import Reason
from tunesmith.removal import discard
from tunesmith_jobs.activities import Activities, bytes_below
from tunesmith_jobs.artifact_store import ArtifactStore, write_pieces
from tunesmith_jobs.failures import StorageFailed, reason_of

_TRIES = 4
_NICER = 10
"""By how much the uploader's thread stands behind those that train. It gets whole cores when training waits for it."""
_log = logging.getLogger("tunesmith_jobs.checkpoints")


class BigFile(NamedTuple):
    """A file of a checkpoint that is not written yet."""

    path: Path
    pieces: Sequence[bytes | memoryview]

    @property
    def size(self) -> int:
        """How many bytes it will have."""
        return sum(memoryview(piece).nbytes for piece in self.pieces)

    def write(self, advance: Callable[[int], None] = lambda count: None) -> str:
        """Write it; returns its sha256, taken on the way. The interpreter's lock is not held meanwhile.

        Args:
            advance: Told how many bytes more are written; what it raises ends the writing.
        """
        return write_pieces(self.path, self.pieces, advance)


class _Order(NamedTuple):
    step: int
    folder: Path
    metrics: dict[str, float]
    ready: Callable[[], bool]
    best_step: int | None
    files: Sequence[BigFile]
    written: Callable[[], None]


class _Unlisted(NamedTuple):
    """A stored checkpoint that may not be listed."""

    step: int
    metrics: dict[str, float]
    best_step: int | None


class Uploader:
    """Brings checkpoints to storage in the background, one at a time, and removes the oldest beyond `keep` of them.

    The newest, the best and those that a user pinned are never removed. Nothing is while it is not known what is
    pinned (`pinned` gives None), nor before the newest was found whole in the storage.
    """

    def __init__(
        self,
        store: ArtifactStore,
        emit: Callable[[JobPayload], None],
        keep: int,
        pinned: Callable[[], frozenset[int] | None] = frozenset,
        activities: Activities | None = None,
        listed: Callable[[], frozenset[int] | None] = lambda: None,
    ) -> None:
        self._store = store
        self._activities = activities or Activities()
        self._emit = emit
        self._keep = keep
        self._pinned = pinned
        self._listed = listed
        self._unlisted: _Unlisted | None = None
        self._queue: queue.Queue[_Order | _Unlisted | None] = queue.Queue(maxsize=1)
        self._error: BaseException | None = None
        self._aborted = threading.Event()
        self._left: set[int] = set()
        """Steps in whose folders something of others' lies."""
        self._told: dict[int, CheckpointSaved] = {}
        """What was said of the checkpoints that this run stored."""
        self.last_step: int | None = None
        self._thread = threading.Thread(target=self._run, name="checkpoint-uploader", daemon=True)
        self._thread.start()

    def submit(
        self,
        step: int,
        folder: Path,
        metrics: Mapping[str, float],
        ready: Callable[[], bool] = lambda: True,
        *,
        best_step: int | None = None,
        files: Sequence[BigFile] = (),
        written: Callable[[], None] = lambda: None,
    ) -> None:
        """Hand a finished local checkpoint over; blocks only while another one waits already.

        Args:
            step: Its step.
            folder: The folder; consumed.
            metrics: What was measured at that step.
            ready: Says when the other workers' files are in the folder too.
            best_step: The step of the best checkpoint so far, where evaluations tell.
            files: What is still to be written into the folder.
            written: Called once `files` are read no more.

        Raises:
            StorageFailed: An earlier checkpoint could not be stored.
        """
        self._raise()
        self._queue.put(_Order(step, folder, dict(metrics), ready, best_step, files, written))

    def report_again(self, step: int, metrics: Mapping[str, float], *, best_step: int | None) -> None:
        """Report of a checkpoint that is stored what was measured of it since."""
        manifest = self._store.manifest(step)
        if manifest is not None:
            self._report(step, manifest, metrics, is_best=step == best_step)

    def report_unlisted(self, step: int, metrics: Mapping[str, float], *, best_step: int | None) -> None:
        """Report the checkpoint that is gone on from, should it not be listed: who stored it was killed before that.

        Whether it is listed may be known later only; it is looked at again after each checkpoint, and at the end.
        """
        self._queue.put(_Unlisted(step, dict(metrics), best_step))

    def close(self) -> None:
        """Wait until all is stored.

        Raises:
            StorageFailed: A checkpoint could not be stored.
        """
        self._queue.put(None)
        self._thread.join()
        self._raise()

    def abort(self) -> None:
        """Publish nothing more and return; what is on its way is left unfinished."""
        self._aborted.set()

    def _raise(self) -> None:
        if self._error is not None:
            raise StorageFailed(f"A checkpoint could not be stored: {self._error}") from self._error

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # a system that knows no priority of a thread
            # Counted from the process's own: Ray starts its workers behind all else.
            own = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, own + _NICER))
        while (order := self._queue.get()) is not None:
            try:
                if isinstance(order, _Unlisted):
                    self._unlisted = order
                    self._report_unlisted()
                    continue
                if self._error is not None or self._aborted.is_set():
                    order.written()
                    continue
                self._report_unlisted()  # before it may be removed
                self._store_one(order)
            except BaseException as error:  # a panic too: without this thread training would wait for ever
                _log.exception("checkpoint-%s was not stored", order.step)
                self._error = error
        try:
            self._report_unlisted()
        except Exception as error:
            _log.exception("whether all checkpoints are listed was not looked at")
            self._error = error

    def _report_unlisted(self) -> None:
        found = self._unlisted
        listed = self._listed() if found is not None and not self._aborted.is_set() else None
        if found is None or listed is None:
            return
        try:
            manifest = None if found.step in listed else self._store.manifest(found.step)
        except OSError as error:
            _log.warning("checkpoint-%s is not listed, and cannot be looked at: %s", found.step, error)
            return
        self._unlisted = None
        if manifest is not None:
            self._report(found.step, manifest, found.metrics, is_best=found.step == found.best_step)

    def _store_one(self, order: _Order) -> None:
        try:
            size = sum(file.size for file in order.files)
            with self._activities.doing(ActivityKind.SAVING, total=size) as doing:
                sums = {file.path: file.write(doing.advance) for file in order.files}
        finally:
            order.written()
        deadline = time.monotonic() + 120
        with self._activities.doing(ActivityKind.SAVING, measure=lambda: bytes_below(order.folder)):
            while not order.ready():
                if time.monotonic() > deadline:
                    raise StorageFailed(
                        "another worker's part of the checkpoint did not come within two minutes"
                    )
                time.sleep(0.05)
        path = f"{CHECKPOINTS}/{checkpoint_name(order.step)}"
        for left in reversed(range(_TRIES)):
            try:
                manifest, _ = self._store.put(order.folder, path, order.step, sums=sums)
                break
            except OSError as error:
                is_final = not left or not order.folder.is_dir() or reason_of(error) is Reason.DISK_FULL
                if is_final or self._aborted.wait(2.0 ** (_TRIES - left - 1)):
                    raise
        if self._aborted.is_set():
            return
        discard(order.folder)  # a storage that copies leaves it
        self.last_step = order.step
        self._report(order.step, manifest, order.metrics, is_best=order.step == order.best_step)
        pinned = self._pinned()
        try:
            if pinned is not None and self._store.is_whole(order.step, manifest):
                self._prune(order.step, {*pinned, order.best_step})
        except OSError as error:  # what is not removed costs room, not the training: it is tried again
            _log.warning("older checkpoints are not removed: %s", error)

    def _report(self, step: int, manifest: Manifest, metrics: Mapping[str, float], *, is_best: bool) -> None:
        self._told[step] = self._saved(step, manifest, metrics, is_best=is_best)
        self._emit(self._told[step])

    def _saved(
        self, step: int, manifest: Manifest, metrics: Mapping[str, float], *, is_best: bool
    ) -> CheckpointSaved:
        return CheckpointSaved(
            step=step,
            uri=self._store.uri(step),
            bytes=manifest.total_bytes,
            files=len(manifest.files),
            manifest_sha256=hashlib.sha256(manifest.encode()).hexdigest(),
            metrics=dict(metrics),
            best=is_best,
        )

    def _prune(self, newest: int, protected: set[int | None]) -> None:
        older = [step for step in self._store.steps() if step < newest and step not in self._left]
        excess = max(0, len(older) + 1 - self._keep)
        for step in [step for step in older if step not in protected][:excess]:
            manifest = self._store.manifest(step)
            # Said before it is done: of a run that is killed in between a folder stays, which the next one removes.
            # The other way round a checkpoint would be listed for ever that is gone.
            self._emit(CheckpointRemoved(step=step))
            try:
                if not self._store.remove_checkpoint(step):
                    self._left.add(step)
            except NotOurs as error:
                _log.warning("checkpoint-%s is not removed: %s", step, error)
                self._left.add(step)
            except OSError as error:
                _log.warning("checkpoint-%s is not removed: %s", step, error)
                if manifest is not None and self._store.is_whole(step, manifest):
                    told = self._told.get(step) or self._saved(step, manifest, {}, is_best=False)
                    self._emit(told.model_copy(update={"best": False}))
