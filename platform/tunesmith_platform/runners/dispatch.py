"""Jobs that run in a warm runner where one is to be had, else as a job of their own on Ray.

An attempt that a runner has keeps its own job id: here it is mapped to the runner's job. A runner that does not pick
its attempt up in time loses it by a compare-and-set before the attempt goes to Ray, so it never runs twice; and every
step is in the database before it is done, so that a control plane that dies on the way finds one job.
"""

import datetime as dt
import importlib.util
import logging
from pathlib import Path

from sqlalchemy.orm import Session

import tunesmith
from tunesmith.errors import Unavailable
from tunesmith.job import ray_job_id
from tunesmith_platform.backends.protocols import ATTEMPT, Cluster, Jobs, JobStatus, Observation
from tunesmith_platform.clock import now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import RunnerRow
from tunesmith_platform.hub import Hub
from tunesmith_platform.runners import repository
from tunesmith_platform.runners.repository import RunnerState

logger = logging.getLogger(__name__)

PICK_UP = dt.timedelta(seconds=3)
"""How long a runner that asks for work may take to pick an attempt up."""
START = dt.timedelta(seconds=60)
"""How old a runner that has not asked yet may grow before its attempt is taken back."""


def job_of(runner_id: str) -> str:
    """The id of a runner's own job on Ray."""
    return ray_job_id(runner_id, 1)


def code_stamp() -> str:
    """Names the code that jobs run: a runner that has read an older one is not given a task."""
    folders = [Path(tunesmith.__file__).parent]
    spec = importlib.util.find_spec("tunesmith_jobs")  # not everywhere on the control plane's machine
    folders += [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    newest = max(file.stat().st_mtime for folder in folders for file in folder.rglob("*.py"))
    return f"{tunesmith.__version__}+{newest:.0f}"


class WarmJobs:
    """Submits to warm runners first.

    Args:
        jobs: Where the runners run, and what no runner takes.
        database: Knows the runners.
        hub: Wakes a runner that waits.
    """

    def __init__(self, jobs: Jobs, database: Database, hub: Hub) -> None:
        self._jobs = jobs
        self._database = database
        self._hub = hub

    def submit(
        self, job_id: str, document_uri: str, program: str = ATTEMPT, *, can_be_warm: bool = False
    ) -> None:
        """See `Jobs.submit`."""
        runner = self._assign(job_id, document_uri) if can_be_warm else None
        if runner is None or runner.state == RunnerState.RETURNED:
            self._jobs.submit(job_id, document_uri, program)
        else:
            self._hub.notify(runner.id)

    def _assign(self, job_id: str, document_uri: str) -> RunnerRow | None:
        with self._database.read() as session:  # most platforms without runners never take the write lock
            known = repository.of_job(session, job_id)
            if known is not None:
                return known
            if not repository.count(session, RunnerState.STARTING, RunnerState.IDLE):
                return None
        code = code_stamp()

        def assign(session: Session) -> RunnerRow | None:
            known = repository.of_job(session, job_id)
            if known is not None:
                return known
            runner = repository.pick(session, code, now())
            if runner is not None:
                logger.info("%s goes to %s (%s)", job_id, runner.id, runner.state)
                runner.state = RunnerState.ASSIGNED
                runner.job_id, runner.document_uri, runner.assigned_at = job_id, document_uri, now()
            return runner

        return self._database.retry_on_conflict(assign)

    def observe(self, job_id: str) -> Observation:
        """See `Jobs.observe`."""
        runner = self._runner_of(job_id)
        if runner is None:
            return self._jobs.observe(job_id)
        try:
            return self._observe(runner, job_id)
        except Unavailable as error:
            return Observation(JobStatus.UNREACHABLE, error.message)

    def _observe(self, runner: RunnerRow, job_id: str) -> Observation:
        if runner.state == RunnerState.ASSIGNED:
            if not self._is_overdue(runner):
                return Observation(JobStatus.PENDING, "A warm runner is about to take it.")
            if self._take_back(runner):
                return self._hand_over(runner, job_id)
        if runner.state == RunnerState.RETURNED:
            return self._hand_over(runner, job_id)
        return self._jobs.observe(job_of(runner.id))

    def _is_overdue(self, runner: RunnerRow) -> bool:
        assert runner.assigned_at is not None
        if now() - runner.assigned_at < PICK_UP:
            return False
        if runner.seen_at is not None or now() - runner.created_at > START:
            return True
        return self._jobs.observe(job_of(runner.id)).status.is_over

    def _take_back(self, runner: RunnerRow) -> bool:
        """Take an attempt back, unless the runner was quicker after all."""
        with self._database.write() as session:
            is_ours = repository.move(session, runner.id, RunnerState.RETURNED, RunnerState.ASSIGNED)
        if is_ours:
            logger.warning("%s did not pick up %s", runner.id, runner.job_id)
            self._jobs.kill(job_of(runner.id))
        return is_ours

    def _hand_over(self, runner: RunnerRow, job_id: str) -> Observation:
        """Give Ray, as a job of its own, the attempt that a runner did not pick up."""
        seen = self._jobs.observe(job_id)
        if seen.status is JobStatus.UNREACHABLE:
            return seen
        if seen.status is JobStatus.ABSENT:
            self._jobs.submit(job_id, str(runner.document_uri))
            return Observation(JobStatus.PENDING)
        with self._database.write() as session:
            repository.remove(session, runner.id, RunnerState.RETURNED)
        return seen

    def kill(self, job_id: str) -> None:
        """See `Jobs.kill`."""
        runner = self._runner_of(job_id)
        if runner is None:
            self._jobs.kill(job_id)
            return
        with self._database.write() as session:
            # Whether it was picked up or not, its end is now that of the runner.
            repository.move(session, runner.id, RunnerState.RUNNING, RunnerState.ASSIGNED)
            if repository.remove(session, runner.id, RunnerState.RETURNED):
                runner = None
        self._jobs.kill(job_id if runner is None else job_of(runner.id))

    def log_tail(self, job_id: str, lines: int) -> str:
        """See `Jobs.log_tail`."""
        runner = self._runner_of(job_id)
        is_there = runner is not None and runner.state != RunnerState.RETURNED
        return self._jobs.log_tail(job_of(runner.id) if runner and is_there else job_id, lines)

    def cluster(self) -> Cluster:
        """See `Jobs.cluster`."""
        return self._jobs.cluster()

    def _runner_of(self, job_id: str) -> RunnerRow | None:
        with self._database.read() as session:
            return repository.of_job(session, job_id)
