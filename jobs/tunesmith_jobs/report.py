"""The one outlet of a job: everything it measures or says goes through a `Reporter`.

`emit` writes the event to the spool and returns; a thread of its own brings the spool to the control plane, about once
a second, and learns from the reply how far it has read and what the user wants. While the control plane is away the
spool grows and training goes on; a stop is then found where the platform left it (`stopping`). Knows HTTP and the
spool; knows nothing of Ray, torch or training.
"""

import contextlib
import datetime as dt
import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import httpx

from tunesmith.activity import Activity, ActivityKind, Unit
from tunesmith.errors import ErrorResponse, StaleAttempt, TunesmithError
from tunesmith.events import (
    MAX_BATCH_EVENTS,
    MAX_LOG_CHARACTERS,
    JobPayload,
    LogLine,
    Report,
    ReportReceipt,
    SilentWorker,
)
from tunesmith.job import AttemptDocument
from tunesmith.lifecycle import Desired
from tunesmith.removal import claim
from tunesmith_jobs.activities import Activities
from tunesmith_jobs.spool import Spool, SpoolLock, older_spools, read_events
from tunesmith_jobs.stopping import Lookout

SEND_SECONDS = 1.0
"""How often events are sent."""
HEARTBEAT_SECONDS = 2.0
"""How long nothing is sent at most: a silent job sends an empty batch."""
MAX_BACKOFF_SECONDS = 2.0
_BATCH_BYTES = 4 * 2**20
_TIMEOUT = httpx.Timeout(10.0, connect=3.0)
_SILENT_TIMEOUT = httpx.Timeout(2.0)
"""Who watches others must not wait long himself."""
_ADOPTED = frozenset({"metrics", "system", "checkpoint", "checkpoint_removed", "log", "warning"})

_log = logging.getLogger("tunesmith_jobs.report")


class Outlet(Protocol):
    """What training needs of a reporter."""

    def emit(self, payload: JobPayload, time: dt.datetime | None = None) -> None:
        """Say something. Never blocks for the network."""

    @property
    def desired(self) -> Desired:
        """What the user wants of the task, as of the last reply."""

    @property
    def superseded(self) -> bool:
        """Whether this attempt is over for the control plane: stop at once and leave no trace."""

    @property
    def save_now(self) -> int:
        """How often the user has asked for a checkpoint at once."""

    @property
    def pinned(self) -> frozenset[int] | None:
        """The steps whose checkpoints are never removed; None while that is not known."""

    @property
    def activities(self) -> Activities:
        """What this process is busy with: a job that is to stop has time as long as that gets on."""


class Relay:
    """An outlet that passes on to another: the base of those that hear what is said on its way."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    @property
    def desired(self) -> Desired:
        """See `Outlet.desired`."""
        return self._outlet.desired

    @property
    def superseded(self) -> bool:
        """See `Outlet.superseded`."""
        return self._outlet.superseded

    @property
    def save_now(self) -> int:
        """See `Outlet.save_now`."""
        return self._outlet.save_now

    @property
    def pinned(self) -> frozenset[int] | None:
        """See `Outlet.pinned`."""
        return self._outlet.pinned

    @property
    def activities(self) -> Activities:
        """See `Outlet.activities`."""
        return self._outlet.activities

    def emit(self, payload: JobPayload, time: dt.datetime | None = None) -> None:
        """See `Outlet.emit`."""
        self._outlet.emit(payload, time)


class Silent:
    """The outlet of a worker that is not the first: it says nothing and follows the others."""

    desired = Desired.RUN
    superseded = False
    save_now = 0
    pinned: frozenset[int] | None = frozenset()

    def __init__(self) -> None:
        self.activities = Activities()

    def emit(self, payload: JobPayload, time: dt.datetime | None = None) -> None:
        """Say nothing."""


class Gone(Exception):
    """The control plane knows this attempt no more (another one runs, or the task was deleted)."""


class ControlPlane:
    """The two calls a job makes. Not thread-safe."""

    def __init__(self, document: AttemptDocument) -> None:
        self._task_id = document.task_id
        self._attempt = document.attempt
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request
        # `trust_env=False`: a proxy set for downloads must not see the reports.
        self._client = httpx.Client(
            base_url=document.api_url,
            timeout=_TIMEOUT,
            trust_env=False,
            headers={"Authorization": f"Bearer {document.token}", "Content-Type": "application/json"},
        )

    def send(self, lines: list[bytes], activity: Activity | None = None) -> ReportReceipt:
        """Post events, given as their JSON; none is a heartbeat. With them goes what the job is busy with.

        Raises:
            Gone: This attempt is over, or its task was deleted.
            httpx.HTTPStatusError: Refused for another reason.
            httpx.TransportError: Nobody answered.
        """
        busy = b',"activity":%s' % activity.model_dump_json().encode() if activity else b""
        return self._post(b'{"attempt":%d,"events":[%s]%s}' % (self._attempt, b",".join(lines), busy))

    def _post(self, body: bytes, timeout: httpx.Timeout = _TIMEOUT) -> ReportReceipt:
        answer = self._client.post(
            f"/v1/tasks/{self._task_id}/reports",
            content=body,
            timeout=timeout,
        )
        if answer.status_code == 404 or error_code(answer) == StaleAttempt.code:
            raise Gone(answer.text)
        answer.raise_for_status()
        return ReportReceipt.model_validate_json(answer.content)

    def report_silent(self, workers: list[SilentWorker]) -> None:
        """Say which workers give no sign of life. It is none of the attempt; raises as `send` does."""
        body = Report(attempt=self._attempt, silent=workers).model_dump_json(exclude={"events"}).encode()
        self._post(body, timeout=_SILENT_TIMEOUT)

    def received(self, attempt: int) -> ReportReceipt:
        """What has arrived of this attempt, or of an earlier one of the task; raises as `send` does."""
        answer = self._client.get(f"/v1/tasks/{self._task_id}/reports/{attempt}")
        if answer.status_code == 404 or error_code(answer) == StaleAttempt.code:
            raise Gone(answer.text)
        answer.raise_for_status()
        return ReportReceipt.model_validate_json(answer.content)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def error_code(answer: httpx.Response) -> str | None:
    """The stable code of a refusal; None when the body is not ours."""
    if answer.is_success:
        return None
    try:
        return ErrorResponse.model_validate_json(answer.content).error.code
    except ValueError:
        return None


def _expected_seq(answer: httpx.Response) -> int | None:
    try:
        value = json.loads(answer.content)["error"]["details"]["expected_seq"]
        return int(value)
    except (ValueError, KeyError, TypeError):
        return None


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
        self._thread.join(_TIMEOUT.read)
        self._spool.close()
        self._lock.release()

    def adopt_older(self) -> bool:
        """Report again what earlier attempts measured and could not bring to the control plane.

        Returns:
            False when the control plane did not say what it has: call it again later.
        """
        plane = ControlPlane(self.document)
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
                    if event.payload.kind in _ADOPTED:
                        self.emit(event.payload, event.time)
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
        # It may have less (it was restored from a backup) or more (a reply was lost): its word counts.
        self._spool.ack(min(receipt.last_seq, self._spool.last_seq))
        self._heard.set()
        return True

    def _refused(self, plane: ControlPlane, answer: httpx.Response, lines: list[bytes], after: int) -> bool:
        expected = _expected_seq(answer)
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
