"""Looks at what running tasks measure and warns of what their users should know; deletes old logs.

Remembers nothing that a restart would lose: it reads the log again, and a warning that is in the log already is not
given twice. Of two, in two processes, one works, under a lease; and should it stand still, both warn once.
"""

import datetime as dt
import functools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pydantic import TypeAdapter

from tunesmith.events import AnyPayload, Warned
from tunesmith.lifecycle import State
from tunesmith_platform.clock import now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import EventRow
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.hub import Hub
from tunesmith_platform.leases import Lease
from tunesmith_platform.loops import Loop
from tunesmith_platform.monitoring import repository
from tunesmith_platform.monitoring.detectors import EVENTS, Watch
from tunesmith_platform.notifications import repository as notifications
from tunesmith_platform.scope import INSTALLATION
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks import repository as tasks

logger = logging.getLogger(__name__)

_LEASE = dt.timedelta(seconds=60)
_BATCH = 1000
_REPLAYED = 2000
"""Events of a running task that are read again after a restart."""
_SWEEP_SECONDS = 3600.0
_SWEEP_BATCH = 1000
_DELIVERIES_KEPT = dt.timedelta(days=30)
_PAYLOAD: TypeAdapter[AnyPayload] = TypeAdapter(AnyPayload)


@dataclass
class _Task:
    n: int
    """The newest event that was looked at."""
    step_n: int = 0
    """The newest event of a step."""
    heard: float = field(default_factory=time.monotonic)
    watch: Watch = field(default_factory=Watch)


def _take(task: _Task, row: EventRow, warnings: list[tuple[int, Warned]]) -> None:
    payload = _PAYLOAD.validate_python(row.payload)
    warnings += [(row.n, found) for found in task.watch.take(payload, row.time)]  # type: ignore[arg-type]


class Monitor(Loop):
    """Warns of what the measurements of running tasks show, and keeps logs as long as the settings say.

    Args:
        database: Where the logs are.
        hub: Wakes it.
        settings: How long what is kept.
        hears: Whether somebody hears what jobs report.
        sweeps: What else is old is deleted by these, by their names, once an hour under the same lease.
    """

    def __init__(
        self,
        database: Database,
        hub: Hub,
        settings: Settings,
        hears: Callable[[], bool] = lambda: True,
        sweeps: Mapping[str, Callable[[], object]] = MappingProxyType({}),
    ) -> None:
        super().__init__(hub)
        self._hears = hears
        self._sweeps = sweeps
        self._database = database
        self._hub = hub
        self._settings = settings
        self._tasks: dict[str, _Task] = {}
        self._swept_at = float("-inf")
        self._lease = Lease(database, "monitor", _LEASE)

    def end(self) -> None:
        """Let another process take over at once."""
        self._lease.release()

    def tick(self) -> None:
        """One round: look at every running task; once an hour, delete what is old."""
        if not self._lease.take():
            return
        self.each(("looking",), lambda _: self.look())
        if time.monotonic() - self._swept_at >= _SWEEP_SECONDS:
            self._swept_at = time.monotonic()
            self.each(("deleting old logs",), lambda _: self.sweep())
            self.each(self._sweeps, lambda name: self._sweeps[name]())

    # --- warnings

    def look(self, silence: float = 0.0) -> None:
        """Look at every running task.

        Args:
            silence: Seconds that passed besides those that did; for tests.
        """
        with self._database.read() as session:
            running = dict(repository.running(session, INSTALLATION))
        self._tasks = {task_id: task for task_id, task in self._tasks.items() if task_id in running}
        if not self._hears():  # no step is reported then, whatever the job does
            for task in self._tasks.values():
                task.heard = time.monotonic()
        self.each(running, lambda task_id: self._look(task_id, running[task_id], silence))

    def _look(self, task_id: str, newest: int, silence: float) -> None:
        if task_id not in self._tasks:
            with self._database.read() as session:
                start = repository.newest_before(session, INSTALLATION, task_id, EVENTS, _REPLAYED)
            self._tasks[task_id] = _Task(n=start)
        task = self._tasks[task_id]
        warnings: list[tuple[int, Warned]] = []
        while task.n < newest:
            with self._database.read() as session:
                batch = events.after(session, INSTALLATION, task_id, task.n, _BATCH, EVENTS)
            for row in batch:
                # First of all: an event that cannot be looked at is not looked at again.
                task.n = task.step_n = row.n
                task.heard = time.monotonic()
                self.troubles.attempt(
                    f"{task_id} event {row.n}", functools.partial(_take, task, row, warnings)
                )
            if len(batch) < _BATCH:
                task.n = max(task.n, newest)
        stalled = task.watch.stalls.look(time.monotonic() - task.heard + silence)
        if stalled is not None:
            warnings.append((task.step_n, stalled))
        if warnings:
            self._warn(task_id, warnings)

    def _warn(self, task_id: str, warnings: list[tuple[int, Warned]]) -> None:
        with self._database.write() as session:
            task = tasks.known(session, INSTALLATION, task_id, locked=True)
            if task is None or task.state != State.RUNNING:
                return
            new = [
                warning
                for n, warning in warnings
                if not repository.is_warned(session, INSTALLATION, task_id, warning.code, after=n)
            ]
            for warning in new:
                events.append_own(session, INSTALLATION, task, warning.model_dump(mode="json"))
        for warning in new:
            logger.info("%s: %s", task_id, warning.code)
        self._hub.notify(task_id)

    # --- retention

    def sweep(self) -> int:
        """Delete the logs of tasks that ended long enough ago, and old entries of the delivery log.

        Returns:
            How many lines of logs.
        """
        moment, deleted = now(), 0
        with self._database.write() as session:
            notifications.forget(session, INSTALLATION, moment - _DELIVERIES_KEPT, _SWEEP_BATCH)
        days = self._settings.log_retention_days
        while days and not self._stop.is_set():
            with self._database.read() as session:
                old = repository.old_log(
                    session, INSTALLATION, moment - dt.timedelta(days=days), _SWEEP_BATCH
                )
            by_task: dict[str, list[int]] = {}
            for task_id, n in old:
                by_task.setdefault(task_id, []).append(n)
            with self._database.write() as session:
                for task_id, numbers in by_task.items():
                    repository.remove(session, INSTALLATION, task_id, numbers)
            deleted += len(old)
            self._go_on()
            if len(old) < _SWEEP_BATCH:
                break
        if deleted:
            logger.info("deleted %s lines of logs of tasks that ended over %g days ago", deleted, days)
        return deleted
