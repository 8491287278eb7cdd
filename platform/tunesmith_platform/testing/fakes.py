"""Fakes of Ray's jobs and of MLflow, for unit tests. Contract tests hold them against the real ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tunesmith.errors import Unavailable
from tunesmith_platform.backends.protocols import (
    ATTEMPT,
    Cluster,
    JobStatus,
    LoggedModel,
    Observation,
    Point,
    RowsUsed,
    Run,
    RunGone,
)


@dataclass
class FakeJobs:
    """Jobs that do what a test says."""

    jobs: dict[str, JobStatus] = field(default_factory=dict)
    submits: list[str] = field(default_factory=list)
    documents: dict[str, str] = field(default_factory=dict)
    programs: dict[str, str] = field(default_factory=dict)
    kills: list[str] = field(default_factory=list)
    is_away: bool = False
    is_killable: bool = True
    has: Cluster = field(
        default_factory=lambda: Cluster(
            version="2.60.0",
            nodes=1,
            cpus=2,
            gpus=0,
            memory_bytes=8 * 2**30,
            addresses=frozenset({"127.0.0.1"}),
        )
    )

    def submit(
        self, job_id: str, document_uri: str, program: str = ATTEMPT, *, can_be_warm: bool = False
    ) -> None:
        """See `Jobs.submit`."""
        self._answer()
        if job_id not in self.jobs:
            self.jobs[job_id] = JobStatus.PENDING
            self.submits.append(job_id)
            self.documents[job_id] = document_uri
            self.programs[job_id] = program

    def observe(self, job_id: str) -> Observation:
        """See `Jobs.observe`."""
        if self.is_away:
            return Observation(JobStatus.UNREACHABLE, "away")
        return Observation(self.jobs.get(job_id, JobStatus.ABSENT))

    def kill(self, job_id: str) -> None:
        """See `Jobs.kill`."""
        self._answer()
        self.kills.append(job_id)
        if self.is_killable and job_id in self.jobs and not self.jobs[job_id].is_over:
            self.jobs[job_id] = JobStatus.STOPPED

    def log_tail(self, job_id: str, lines: int) -> str:
        """See `Jobs.log_tail`."""
        return "" if self.is_away else f"the last words of {job_id}"

    def cluster(self) -> Cluster:
        """See `Jobs.cluster`."""
        self._answer()
        return self.has

    def _answer(self) -> None:
        if self.is_away:
            raise Unavailable("Ray does not answer: away.")


@dataclass
class FakeRun:
    """What a fake MLflow keeps of a run."""

    run: Run
    name: str
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: set[Point] = field(default_factory=set)
    models: dict[str, str] = field(default_factory=dict)
    """Where the LoggedModels lie, by name."""
    rows: set[tuple[str, str, str]] = field(default_factory=set)
    """Name, digest and context of the rows that it read."""
    status: str = "RUNNING"


@dataclass
class FakeTracking:
    """An MLflow in memory. Repeated calls change nothing, as with the real one."""

    artifact_root: str = "/artifacts"
    runs: dict[str, FakeRun] = field(default_factory=dict)
    is_away: bool = False
    calls_until_away: int | None = None

    def _answer(self) -> None:
        if self.calls_until_away is not None:
            if self.calls_until_away == 0:
                self.is_away = True
            else:
                self.calls_until_away -= 1
        if self.is_away:
            raise Unavailable("MLflow does not answer: away.")

    def _run(self, run_id: str) -> FakeRun:
        if run_id not in self.runs:
            raise RunGone(f"There is no run `{run_id}`.")
        return self.runs[run_id]

    def ensure_run(self, project: str, task_id: str, name: str, start_time_ms: int) -> Run:
        """See `Tracking.ensure_run`."""
        self._answer()
        run_id = f"run-{task_id}"
        run = Run(project, run_id, f"{self.artifact_root}/{run_id}/artifacts")
        return self.runs.setdefault(run_id, FakeRun(run, name)).run

    def knows(self, run_id: str) -> bool:
        """See `Tracking.knows`."""
        self._answer()
        return run_id in self.runs

    def describe(self, run_id: str, params: dict[str, str], tags: dict[str, str]) -> None:
        """See `Tracking.describe`."""
        self._answer()
        self._run(run_id).params |= params
        self._run(run_id).tags |= tags

    def log_points(self, run_id: str, points: list[Point]) -> None:
        """See `Tracking.log_points`."""
        self._answer()
        self._run(run_id).points |= set(points)

    def log_rows(self, run_id: str, used: Sequence[RowsUsed]) -> None:
        """See `Tracking.log_rows`."""
        self._answer()
        self._run(run_id).rows |= {(one.name, one.digest, one.context) for one in used}

    def log_model(self, run: Run, model: LoggedModel, points: list[Point]) -> None:
        """See `Tracking.log_model`."""
        self._answer()
        self._run(run.run_id).models[model.name] = model.uri
        self._run(run.run_id).points |= set(points)

    def finish(self, run_id: str, status: str, end_time_ms: int | None) -> None:
        """See `Tracking.finish`."""
        self._answer()
        self._run(run_id).status = status

    def version(self) -> str:
        """See `Tracking.version`."""
        self._answer()
        return "3.17.2"
