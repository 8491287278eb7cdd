"""What the control plane needs of the parts it does not own. Each has a real one beside it and a fake in `testing`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from tunesmith.errors import Unavailable

ATTEMPT = "tunesmith_jobs.entry"
"""The module that runs a task's attempt, whatever its kind."""
RUNNER = "tunesmith_jobs.warm"
"""The module that waits, all imports done, for a task's attempt to run."""


class JobStatus(StrEnum):
    """What Ray says of a job. Terminal means that its processes are gone."""

    UNREACHABLE = "unreachable"
    ABSENT = "absent"
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def is_over(self) -> bool:
        """Whether the job ended and left nothing behind."""
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED)


@dataclass(frozen=True)
class Observation:
    """What was seen of a job."""

    status: JobStatus
    message: str = ""


@dataclass(frozen=True)
class Cluster:
    """What a Ray cluster has in all, busy or not."""

    version: str
    nodes: int
    cpus: float
    gpus: float
    memory_bytes: int
    addresses: frozenset[str] = frozenset()
    """Its nodes' addresses, as they know each other."""


class Jobs(Protocol):
    """Where attempts run."""

    def submit(
        self, job_id: str, document_uri: str, program: str = ATTEMPT, *, can_be_warm: bool = False
    ) -> None:
        """Start a job; a job with this id being there already is success.

        Args:
            job_id: Its id.
            document_uri: What it is to do.
            program: The module that does it.
            can_be_warm: Whether a warm runner may do it instead.

        Raises:
            Unavailable: It cannot be reached, or did not take the job.
        """

    def observe(self, job_id: str) -> Observation:
        """What became of a job. Never raises: an unreachable Ray is an observation."""

    def kill(self, job_id: str) -> None:
        """End a job's processes now; a job that is not there is no error."""

    def log_tail(self, job_id: str, lines: int) -> str:
        """The end of the job's own output; empty when there is none."""

    def cluster(self) -> Cluster:
        """What the cluster has.

        Raises:
            Unavailable: It cannot be reached.
        """


@dataclass(frozen=True)
class Run:
    """A tracking run."""

    experiment_id: str
    run_id: str
    artifact_uri: str


@dataclass(frozen=True)
class Point:
    """One measurement for the tracking server."""

    name: str
    value: float
    step: int
    timestamp_ms: int


@dataclass(frozen=True)
class RowsUsed:
    """Rows that a task read, as the tracking server shows them.

    Attributes:
        name: The data set's, or the file's.
        source: Where it lies.
        digest: Tells one content from another; what is known of a file that is no data set's is where it lies.
        context: What they were read for: `training`, `evaluation`.
        rows: How many; None where they were not counted.
    """

    name: str
    source: str
    digest: str
    context: str
    rows: int | None = None


@dataclass(frozen=True)
class LoggedModel:
    """A checkpoint or a final model, as the tracking server shows it.

    Attributes:
        name: Unique within its run; without the characters that the server refuses (`model_name`).
        uri: Where its files lie; nothing is copied.
        step: After which it was saved.
        model_type: `checkpoint` or `model`.
        tags: What else is known.
    """

    name: str
    uri: str
    step: int
    model_type: str = "checkpoint"
    tags: Mapping[str, str] = field(default_factory=dict)


class Refused(Unavailable):
    """The tracking server is there, and will not do what was asked."""


class RunGone(Refused):
    """The tracking server does not know the run: it was emptied, or the run was deleted for good."""


class Tracking(Protocol):
    """Where runs are shown. Every call may be repeated without harm; each raises `Unavailable` when it cannot.

    What is told of a run that the server does not know raises `RunGone`.
    """

    def ensure_run(self, project: str, task_id: str, name: str, start_time_ms: int) -> Run:
        """The run of a task, made when there is none yet; where there are several, the others are put away."""

    def knows(self, run_id: str) -> bool:
        """Whether there is such a run."""

    def describe(self, run_id: str, params: dict[str, str], tags: dict[str, str]) -> None:
        """Set a run's parameters (once) and tags."""

    def log_points(self, run_id: str, points: list[Point]) -> None:
        """Append measurements; the same points again change nothing."""

    def log_rows(self, run_id: str, used: Sequence[RowsUsed]) -> None:
        """Show which rows a run read; the same again change nothing."""

    def log_model(self, run: Run, model: LoggedModel, points: list[Point]) -> None:
        """Make the LoggedModel of a checkpoint or a final model, with its metrics, when there is none yet."""

    def finish(self, run_id: str, status: str, end_time_ms: int | None) -> None:
        """Set the run's end: FINISHED, FAILED or KILLED; RUNNING and no time take it back."""

    def version(self) -> str:
        """The server's version."""
