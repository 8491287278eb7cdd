"""The fake jobs and Ray's behave alike: one job an id, states, kill, and an end only when the processes are gone."""

import uuid
from pathlib import Path

import httpx
import pytest
from waiting import wait_until

from tunesmith.errors import Unavailable
from tunesmith.home import Home
from tunesmith_platform.backends.compute import ComputeService
from tunesmith_platform.backends.protocols import Jobs, JobStatus
from tunesmith_platform.backends.ray_jobs import RayJobs
from tunesmith_platform.testing.fakes import FakeJobs


@pytest.fixture(params=["fake", "real"])
def jobs(request: pytest.FixtureRequest, tmp_path: Path) -> Jobs:
    if request.param == "fake":
        return FakeJobs()
    home: Home = request.getfixturevalue("live_home")
    # Any program will do for a driver: this one ignores what it is given and sleeps.
    program = tmp_path / "sleeper"
    program.write_text("#!/bin/sh\necho here\nexec sleep 600\n")
    program.chmod(0o755)
    return RayJobs(home.connection().ray_url or "", home.ray_token_file, python=str(program))


@pytest.mark.slow
def test_one_job_an_id_and_an_end_when_it_is_killed(jobs: Jobs) -> None:
    name = f"task-{uuid.uuid4().hex[:12]}-1"
    assert jobs.observe(name).status is JobStatus.ABSENT
    jobs.submit(name, "/nowhere")
    jobs.submit(name, "/nowhere")  # Ray refuses a second one of this id: that is success
    wait_until(
        lambda: jobs.observe(name).status in (JobStatus.PENDING, JobStatus.RUNNING), 30, "the job to be known"
    )
    if isinstance(jobs, FakeJobs):
        jobs.jobs[name] = JobStatus.RUNNING
    wait_until(lambda: jobs.observe(name).status is JobStatus.RUNNING, 60, "the job to run")
    jobs.kill(name)
    wait_until(lambda: jobs.observe(name).status is JobStatus.STOPPED, 30, "the job to end")
    jobs.kill(name)
    assert jobs.log_tail(name, 5)


@pytest.mark.slow
def test_a_job_that_failed_says_so_in_a_line_and_its_log_has_no_colours(
    live_home: Home, tmp_path: Path
) -> None:
    program = tmp_path / "failing"
    program.write_text("#!/bin/sh\nprintf '\\033[1mlast words\\033[0m\\n'\nexit 3\n")
    program.chmod(0o755)
    jobs = RayJobs(live_home.connection().ray_url or "", live_home.ray_token_file, python=str(program))
    name = f"task-{uuid.uuid4().hex[:12]}-1"
    jobs.submit(name, "/nowhere")
    wait_until(lambda: jobs.observe(name).status is JobStatus.FAILED, 60, "the job to fail")
    assert jobs.observe(name).message == "Job entrypoint command failed with exit code 3."
    assert jobs.log_tail(name, 1) == "last words"


@pytest.mark.slow
def test_a_cluster_says_what_it_has(jobs: Jobs) -> None:
    # Ray names its node only some seconds after its start.
    wait_until(lambda: jobs.cluster().nodes > 0, 60, "the node to be named")
    has = jobs.cluster()
    assert has.version.startswith("2.")
    assert has.nodes == 1
    assert has.cpus >= 1
    assert has.memory_bytes > 2**28
    # It runs on this machine and nowhere else: so it says more than Ray does.
    assert has.addresses
    assert ComputeService(jobs, "http://ray.example:8265", wait_seconds=60).look().machine is not None


def test_a_ray_that_is_away_is_an_observation(tmp_path: Path) -> None:
    away = RayJobs("http://127.0.0.1:9", tmp_path / "none")
    with pytest.raises(Unavailable):
        away.cluster()
    assert away.observe("task-1-1").status is JobStatus.UNREACHABLE
    assert away.log_tail("task-1-1", 5) == ""


@pytest.mark.slow
def test_a_wrong_token_is_no_entry(live_home: Home, tmp_path: Path) -> None:
    """Whoever reaches the port without the cluster's token submits nothing."""
    wrong = tmp_path / "token"
    wrong.write_text("wrong")
    jobs = RayJobs(live_home.connection().ray_url or "", wrong)
    assert jobs.observe("task-1-1").status is JobStatus.UNREACHABLE


@pytest.mark.parametrize(
    "log",
    [
        "Running entrypoint for job task-1-1: python -m jobs /a\nlast words\n",
        "last words\nRunning entrypoint for job task-1-1: python -m jobs /a\n",
        "last wordsRunning entrypoint for job task-1-1: python -m jobs /a\n",
    ],
    ids=["before", "behind", "in the line"],
)
def test_the_last_words_are_the_jobs_wherever_rays_own_line_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str
) -> None:
    """Ray's first line is buffered: a job that ends at once has written its own before it."""
    ray = RayJobs("http://127.0.0.1:9", tmp_path / "none")
    monkeypatch.setattr(ray, "_call", lambda *_, **__: httpx.Response(200, json={"logs": log}))
    assert ray.log_tail("task-1-1", 1) == "last words"
