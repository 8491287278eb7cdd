"""Jobs that are over only when every process of theirs that wrote itself down on this machine is gone.

Ray calls an actor dead once it is told to go; a process that is stopped or hangs in a device hears nothing of that and
lives on (with Ray 2.60 that of a stopped actor five seconds longer than its driver, that of a stopped task without end;
a sound one is gone after 0.2 s). So whatever the job's record says, its processes are looked for here. What stays for
longer than a moment is ended, which also a stopped process cannot refuse. Processes on other machines are Ray's to end.
"""

import logging
import os
import time
from pathlib import Path

from tunesmith.processes import ProcessRecord, end, pulse_of_record, records_in
from tunesmith_platform.backends.protocols import ATTEMPT, Cluster, Jobs, JobStatus, Observation

logger = logging.getLogger(__name__)

_MOMENT_SECONDS = 5.0
"""How long the processes of a job that is over may take to leave by themselves."""


class ClearedJobs:
    """Passes everything on; what it says of an end is true of the processes too.

    Args:
        jobs: Where the attempts run, known by their own ids.
        work_dir: Below it lie the tasks' work folders, on every node.
    """

    def __init__(self, jobs: Jobs, work_dir: Path) -> None:
        self._jobs = jobs
        self._work_dir = work_dir
        self._over_since: dict[str, float] = {}

    def submit(
        self, job_id: str, document_uri: str, program: str = ATTEMPT, *, can_be_warm: bool = False
    ) -> None:
        """See `Jobs.submit`."""
        self._jobs.submit(job_id, document_uri, program, can_be_warm=can_be_warm)

    def observe(self, job_id: str) -> Observation:
        """See `Jobs.observe`. A job is over, or not there, only when its processes on this machine are gone."""
        seen = self._jobs.observe(job_id)
        is_gone = seen.status.is_over or seen.status is JobStatus.ABSENT
        left = self._left(job_id) if is_gone else []
        if not left:
            self._over_since.pop(job_id, None)
            return seen
        since = self._over_since.setdefault(job_id, time.monotonic())
        if time.monotonic() - since >= _MOMENT_SECONDS:
            for record in left:
                logger.warning("%s: %s has stayed and is ended", job_id, record.words)
                end(record)
        return Observation(JobStatus.RUNNING, "Its processes are leaving.")

    def _left(self, job_id: str) -> list[ProcessRecord]:
        task_id, _, attempt = job_id.rpartition("-")
        if not attempt.isdigit():
            return []
        records = records_in(self._work_dir / task_id, int(attempt), with_done=True)
        return [one for one in records if one.pid != os.getpid() and pulse_of_record(one) is not None]

    def kill(self, job_id: str) -> None:
        """See `Jobs.kill`."""
        self._jobs.kill(job_id)

    def log_tail(self, job_id: str, lines: int) -> str:
        """See `Jobs.log_tail`."""
        return self._jobs.log_tail(job_id, lines)

    def cluster(self) -> Cluster:
        """See `Jobs.cluster`."""
        return self._jobs.cluster()
