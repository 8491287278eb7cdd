"""The one outlet of a job: everything it measures or says goes through a `Reporter`.

`emit` writes the event to the spool and returns; a thread of its own brings the spool to the control plane, about once
a second, and learns from the reply how far it has read and what the user wants. While the control plane is away the
spool grows and training goes on; a stop is then found where the platform left it (`stopping`). Knows HTTP and the
spool; knows nothing of Ray, torch or training.
"""

import contextlib
import datetime as dt
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from tunesmith.activity import ActivityKind, Unit
from tunesmith.errors import TunesmithError
from tunesmith.events import (
    MAX_BATCH_EVENTS,
    MAX_LOG_CHARACTERS,
    CheckpointRemoved,
    CheckpointSaved,
    JobPayload,
    LogLine,
)
from tunesmith.job import AttemptDocument
from tunesmith.lifecycle import Desired
from tunesmith.removal import claim
from tunesmith_jobs.activities import Activities
from tunesmith_jobs.control_plane import TIMEOUT, ControlPlane, Gone, expected_seq
from tunesmith_jobs.spool import Spool, SpoolLock, older_spools, read_events
from tunesmith_jobs.stopping import Lookout

SEND_SECONDS = 1.0
"""How often events are sent."""
HEARTBEAT_SECONDS = 2.0
"""How long nothing is sent at most: a silent job sends an empty batch."""
MAX_BACKOFF_SECONDS = 2.0
_BATCH_BYTES = 4 * 2**20
_OF_CHECKPOINTS = (CheckpointSaved, CheckpointRemoved)
_ADOPTED = frozenset({"metrics", "system", "checkpoint", "checkpoint_removed", "log", "warning"})

_log = logging.getLogger("tunesmith_jobs.report")


class Reporter:
    """Writes an attempt's events to its spool and brings them to the control plane. Use it as a context."""

    def __init__(
        self,
        document: AttemptDocument,
        *,
        lock: SpoolLock | None = None,
        lock_timeout: float = 30,
        on_gone: Callable[[], None] | None = None,
    ) -> None:
        """Take the spool and start the sender.

        Args:
            document: The attempt.
            lock: The spool's lock, where the caller holds it already.
            lock_timeout: Seconds to wait for the process that wrote before.
            on_gone: Called once, by the sender's thread, when the attempt is found to be over.

        Raises:
            TunesmithError: Another process keeps the spool.
        """
        self.document = document
        self._work_dir = Path(document.work_dir)
        claim(self._work_dir, document.task_id)
        self._lock = lock or SpoolLock(self._work_dir, document.attempt)
        if not self._lock.held and not self._lock.acquire(lock_timeout):
            raise TunesmithError(f"Another process still writes the reports of attempt {document.attempt}.")
        try:
            self._spool = Spool(self._work_dir, document.attempt)
        except BaseException:
            self._lock.release()  # whoever tries next may succeed
            raise
        self._on_gone = on_gone
        self._activities = Activities()
        self._desired = Desired.RUN
        self._save_now = 0
        self._pinned: frozenset[int] | None = None
        self._early_stop: str | None = None
        self._listed: frozenset[int] | None = None
        self._has_asked = False
        self._found = self._spool.last_seq
        """The newest event that another process of this attempt wrote: what is listed is asked once it has arrived."""
        self._gone = threading.Event()
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._heard = threading.Event()
        self._batch_limit = MAX_BATCH_EVENTS
        # The control plane may be away when its user's stop is to be heard.
        self._lookout = Lookout(document, self._heard.set)
        self._thread = threading.Thread(target=self._send_forever, name="report-sender", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def desired(self) -> Desired:
        """See `Outlet.desired`. A stop is final: nothing that is heard later takes it back."""
        return Desired.STOP if self._lookout.seen else self._desired

    @property
    def superseded(self) -> bool:
        """See `Outlet.superseded`."""
        return self._gone.is_set()

    @property
    def save_now(self) -> int:
        """See `Outlet.save_now`."""
        return self._save_now

    @property
    def pinned(self) -> frozenset[int] | None:
        """See `Outlet.pinned`."""
        return self._pinned

    @property
    def early_stop(self) -> str | None:
        """See `Outlet.early_stop`."""
        return self._early_stop

    @property
    def listed(self) -> frozenset[int] | None:
        """See `Outlet.listed`."""
        return self._listed

    @property
    def activities(self) -> Activities:
        """See `Outlet.activities`."""
        return self._activities

    @property
    def last_seq(self) -> int:
        """The number of the newest event."""
        return self._spool.last_seq

    @property
    def acked(self) -> int:
        """The number of the newest event that the control plane has stored."""
        return self._spool.acked

    def emit(self, payload: JobPayload, time: dt.datetime | None = None) -> None:
        """See `Outlet.emit`."""
        self._spool.append(payload, time)

    def wait_heard(self, timeout: float) -> bool:
        """Wait for the first reply or a stop, so that `desired` is known; False when neither came in time."""
        return self._heard.wait(timeout)

    def drain(self, timeout: float) -> bool:
        """Wait until everything is stored by the control plane; False when time ran out or the attempt is over."""
        deadline = time.monotonic() + timeout
        left = self._spool.last_seq - self._spool.acked
        with self._activities.doing(
            ActivityKind.REPORTING,
            Unit.EVENTS,
            left,
            lambda: max(0, left - self._spool.last_seq + self._spool.acked),
        ):
            return self._drain_until(deadline)

    def _drain_until(self, deadline: float) -> bool:
        while not self._gone.is_set() and self._spool.acked < self._spool.last_seq:
            if time.monotonic() >= deadline:
                return False
            self._wake.set()
            time.sleep(0.02)
        return not self._gone.is_set()

    def close(self) -> None:
        """Stop sending, close the spool and give its lock back. What was not sent stays in the spool."""
        self._closing.set()
        self._lookout.close()
        self._wake.set()
        self._thread.join(TIMEOUT.read)
        self._spool.close()
        self._lock.release()

    def adopt_older(self) -> bool:
        """Report again what earlier attempts measured and could not bring to the control plane.

        What this attempt has said of a checkpoint since then counts: it may have reported it again, or removed it.

        Returns:
            False when the control plane did not say what it has: call it again later.
        """
        plane = ControlPlane(self.document)
        own = read_events(self._work_dir, self.document.attempt, 0)
        spoken_of = {event.payload.step for event in own if isinstance(event.payload, _OF_CHECKPOINTS)}
        try:
            for attempt in older_spools(self._work_dir, self.document.attempt):
                marker = self._work_dir / f"spool-{attempt}.adopted"
                if marker.exists():
                    continue
                try:
                    arrived = plane.received(attempt).last_seq
                except (Gone, httpx.HTTPError):
                    return False
                for event in read_events(self._work_dir, attempt, arrived):
                    payload = event.payload
                    is_known = isinstance(payload, _OF_CHECKPOINTS) and payload.step in spoken_of
                    if payload.kind in _ADOPTED and not is_known:
                        self.emit(payload, event.time)
                marker.touch()
            return True
        finally:
            plane.close()

    # --- the sender's thread

    def _send_forever(self) -> None:
        # The heartbeat goes on whatever one post raises: a native library's panic is no `Exception`.
        failures = 0
        while not self._closing.is_set() and not self._gone.is_set():
            try:
                with contextlib.closing(ControlPlane(self.document)) as plane:
                    self._send_until_closed(plane)
            except BaseException as error:
                failures += 1
                if not failures & (failures - 1):  # the first, the second, the fourth...
                    _log.error("the reports' sender failed %s times; it goes on", failures, exc_info=error)
                self._closing.wait(MAX_BACKOFF_SECONDS)

    def _send_until_closed(self, plane: ControlPlane) -> None:
        sent_at = -HEARTBEAT_SECONDS  # the first turn asks what is wanted
        backoff = 0.0
        while not self._closing.is_set() and not self._gone.is_set():
            has_news = self._spool.last_seq > self._spool.acked
            if has_news or time.monotonic() - sent_at >= HEARTBEAT_SECONDS:
                if self._send_once(plane):
                    sent_at, backoff = time.monotonic(), 0.0
                    if self._spool.last_seq - self._spool.acked >= self._batch_limit:
                        continue  # catching up after an outage: no pause between batches
                else:
                    backoff = min(MAX_BACKOFF_SECONDS, max(0.1, backoff * 2))
            self._wake.wait(backoff or SEND_SECONDS)
            if backoff:
                self._closing.wait(min(backoff, 0.1))  # a drain that keeps waking us must not spin
            self._wake.clear()

    def _send_once(self, plane: ControlPlane) -> bool:
        """One post. Returns whether the control plane took it."""
        after = self._spool.acked
        lines = self._spool.read(after, self._batch_limit, _BATCH_BYTES)
        try:
            receipt = plane.send(lines, self._activities.now())
        except Gone as error:
            _log.warning("attempt %s is over: %s", self.document.attempt, error)
            self._gone.set()
            if self._on_gone:
                self._on_gone()
            return False
        except httpx.HTTPStatusError as error:
            return self._refused(plane, error.response, lines, after)
        except (httpx.HTTPError, OSError, ValueError) as error:
            _log.debug("the control plane does not answer: %r", error)
            return False
        self._batch_limit = MAX_BATCH_EVENTS
        self._lookout.answered()
        self._desired = receipt.desired
        self._save_now, self._pinned = receipt.save_now, frozenset(receipt.pinned)
        self._early_stop = receipt.early_stop
        # It may have less (it was restored from a backup) or more (a reply was lost): its word counts.
        self._spool.ack(min(receipt.last_seq, self._spool.last_seq))
        self._heard.set()
        if not self._has_asked and receipt.last_seq >= self._found:
            self._ask_listed(plane)
        return True

    def _ask_listed(self, plane: ControlPlane) -> None:
        try:
            listed = plane.received(self.document.attempt).listed
        except (httpx.TransportError, OSError) as error:
            _log.debug("which checkpoints are listed is not known yet: %r", error)
            return
        except (Gone, httpx.HTTPError, ValueError) as error:
            _log.debug("which checkpoints are listed is not told: %r", error)
            listed = None
        self._has_asked = True
        self._listed = (
            None if listed is None else frozenset(listed)
        )  # an older control plane says nothing of it

    def _refused(self, plane: ControlPlane, answer: httpx.Response, lines: list[bytes], after: int) -> bool:
        expected = expected_seq(answer)
        if answer.status_code == 409 and expected is not None:
            self._spool.ack(max(0, min(expected - 1, self._spool.last_seq)))
            return False
        if answer.status_code in (413, 422) and lines:
            if len(lines) > 1:
                self._batch_limit = len(lines) // 2
                return True
            # One event that the control plane cannot read must not hold up all that follow.
            _log.error("event %s was refused: %s", after + 1, answer.text[:500])
            return self._send_substitute(plane, after + 1, answer)
        _log.warning("the control plane answered %s: %s", answer.status_code, answer.text[:500])
        return False

    def _send_substitute(self, plane: ControlPlane, seq: int, answer: httpx.Response) -> bool:
        payload = LogLine(
            level="error",
            source="platform",
            message=f"An event was refused: {answer.text}"[:MAX_LOG_CHARACTERS],
        )
        try:
            receipt = plane.send([self._spool.substitute(seq, payload)], self._activities.now())
        except (Gone, httpx.HTTPError):
            return False
        self._spool.ack(min(receipt.last_seq, self._spool.last_seq))
        return True
