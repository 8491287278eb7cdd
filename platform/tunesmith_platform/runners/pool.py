"""The loop that keeps as many warm runners as the settings say, also while tasks run: the next task finds one.

A runner that was given a task is replaced once the task has had time for its first step. The new one warms up with what
processor time the task leaves; where there is no memory for it beside the tasks, it leaves, and none is tried before
one of them ends. Level-triggered, under a lease of its own. A runner's row is there before its job is, so a crash on
the way leaves a row that is found to have no job, never a job that nobody knows.
"""

import datetime as dt
import logging
import time

from tunesmith.errors import TunesmithError, Unavailable
from tunesmith.job import RunnerDocument, read_secret, runner_token
from tunesmith.removal import remove_names
from tunesmith.spec.kinds import Feature, supporting
from tunesmith.storage import open_storage
from tunesmith_platform.backends.protocols import RUNNER, Jobs, JobStatus
from tunesmith_platform.clock import new_id, now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import RunnerRow
from tunesmith_platform.hub import Hub
from tunesmith_platform.leases import Lease
from tunesmith_platform.loops import Loop
from tunesmith_platform.queue import repository as queue
from tunesmith_platform.runners import repository
from tunesmith_platform.runners.dispatch import code_stamp, job_of
from tunesmith_platform.runners.repository import RunnerState
from tunesmith_platform.scope import INSTALLATION
from tunesmith_platform.settings import Settings

logger = logging.getLogger(__name__)

_DOCUMENT = "attempt-1.json"
_LEASE = dt.timedelta(seconds=30)
_UNKNOWN = dt.timedelta(seconds=30)
"""How long Ray may not know a runner that was just handed to it."""
_SLOW = dt.timedelta(seconds=180)
"""A runner that is not warm after so long is given up."""
_SILENT = dt.timedelta(seconds=60)
"""A runner that has not asked for so long is given up."""
_KEPT = dt.timedelta(days=7)
"""How long it is remembered which runner an attempt had."""
_SWEEP_SECONDS = 3600.0
_FIRST_STEP = dt.timedelta(seconds=10)
"""How long a task that a runner has just been given is left alone."""
_RETRY_SECONDS = 3.0
_MAX_PAUSE = 600.0
_LOG_LINES = 20
_FREE = (RunnerState.STARTING, RunnerState.IDLE)


class RunnerPool(Loop):
    """Keeps warm runners ready.

    Args:
        database: Knows the runners.
        hub: Tells that a task began or ended.
        settings: How many there are to be.
        jobs: Where they run.
    """

    def __init__(self, database: Database, hub: Hub, settings: Settings, jobs: Jobs) -> None:
        super().__init__(hub)
        self._database = database
        self._settings = settings
        self._jobs = jobs
        self._lease = Lease(database, "runners", _LEASE)
        self._falls = 0
        self._start_after = 0.0
        self._crowd: frozenset[str] = frozenset()
        """The tasks that ran when a runner found no memory to spare."""
        self._sweep_after = 0.0

    def end(self) -> None:
        """Let another process take over at once."""
        self._lease.release()

    def tick(self) -> None:
        """One round."""
        try:
            self._keep()
        except Unavailable as error:
            self._start_after = time.monotonic() + _RETRY_SECONDS
            logger.info("the warm runners have to wait: %s", error.message)
        if time.monotonic() >= self._sweep_after:
            self._sweep_after = time.monotonic() + _SWEEP_SECONDS
            self._sweep()

    def _keep(self) -> None:
        with self._database.read() as session:
            free = repository.in_states(session, *_FREE)
        if not free and not self._settings.warm_runners:
            return
        if not self._lease.take():
            return
        code = code_stamp()
        self.each(free, lambda row: self._look(row, code), name=lambda row: row.id)
        with self._database.read() as session:
            free = repository.in_states(session, *_FREE)
            running = queue.open_ids(session, INSTALLATION, supporting(Feature.WARM))
            given_at = repository.newest_assignment(session)
        spare = free[self._settings.warm_runners :]
        why = "there are more than the settings say"
        self.each(spare, lambda row: self._give_up(row, why), name=lambda row: row.id)
        if not self._crowd <= running:
            self._crowd, self._start_after = frozenset(), 0.0
        if running and given_at is not None and now() - given_at < _FIRST_STEP:
            return
        for _ in range(self._settings.warm_runners - len(free)):
            self._start(code)

    def _look(self, row: RunnerRow, code: str) -> None:
        """Give a runner up that will not take a task."""
        age = now() - row.created_at
        if row.code != code:
            self._give_up(row, "the code is newer than what it has read")
            return
        seen = self._jobs.observe(job_of(row.id))
        if seen.status is JobStatus.UNREACHABLE:
            return
        if seen.status is JobStatus.SUCCEEDED:
            with self._database.read() as session:
                self._crowd = queue.open_ids(session, INSTALLATION, supporting(Feature.WARM))
            self._start_after = time.monotonic() + _MAX_PAUSE
            self._give_up(row, "there is no memory to spare on its node")
        elif seen.status.is_over:
            self._fall(row, f"it ended. {seen.message}")
        elif seen.status is JobStatus.ABSENT and age > _UNKNOWN:
            self._give_up(row, "Ray does not know it")
        elif row.state == RunnerState.STARTING and age > _SLOW:
            self._fall(row, "it does not become warm")
        elif row.state == RunnerState.IDLE:
            self._falls = 0
            if row.seen_at is not None and now() - row.seen_at > _SILENT:
                self._give_up(row, "it is silent")

    def _fall(self, row: RunnerRow, why: str) -> None:
        """Give a runner up that failed; after each further one the pause is twice as long."""
        if row.state == RunnerState.STARTING:
            self._falls += 1
            pause = min(_MAX_PAUSE, 5.0 * 2**self._falls)
            self._start_after = time.monotonic() + pause
            tail = self._jobs.log_tail(job_of(row.id), _LOG_LINES)
            logger.warning("no warm runner for %.0f s: %s Its last words:\n%s", pause, why, tail)
        self._give_up(row, why)

    def _give_up(self, row: RunnerRow, why: str) -> None:
        with self._database.write() as session:
            if not repository.remove(session, row.id, *_FREE):
                return  # it was given a task meanwhile
        logger.info("%s is given up: %s", row.id, why)
        self._jobs.kill(job_of(row.id))
        self._remove_document(row.id)

    def _start(self, code: str) -> None:
        if time.monotonic() < self._start_after:
            return
        runner_id = new_id("runner")
        document = RunnerDocument(
            runner_id=runner_id,
            api_url=self._settings.api_url,
            token=runner_token(read_secret(self._settings.report_secret_file), runner_id),
        )
        with self._database.write() as session:
            session.add(RunnerRow(id=runner_id, state=RunnerState.STARTING, code=code, created_at=now()))
        storage = open_storage(self._settings.storage_uri)
        path = f"runners/{runner_id}/{_DOCUMENT}"
        try:
            storage.write(path, document.model_dump_json(indent=1).encode(), private=True)
            self._jobs.submit(job_of(runner_id), f"{storage.uri}/{path}", RUNNER)
        except (TunesmithError, OSError):
            with self._database.write() as session:
                repository.remove(session, runner_id, RunnerState.STARTING)
            raise

    def _remove_document(self, runner_id: str) -> None:
        remove_names(open_storage(self._settings.storage_uri), f"runners/{runner_id}", _DOCUMENT)

    def _sweep(self) -> None:
        """Forget which runner an attempt had that is long over."""
        with self._database.read() as session:
            rows = repository.in_states(session, RunnerState.RUNNING)
        old = [row for row in rows if now() - row.created_at >= _KEPT]
        self.each(old, self._forget, name=lambda row: row.id)

    def _forget(self, row: RunnerRow) -> None:
        seen = self._jobs.observe(job_of(row.id)).status
        if seen.is_over or seen is JobStatus.ABSENT:
            with self._database.write() as session:
                repository.remove(session, row.id, RunnerState.RUNNING)
            self._remove_document(row.id)
