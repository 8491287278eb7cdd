"""Workers and jobs of which nothing is heard: they are shown as recovering, warned of once, and started again in time.

And an end is shown only when the processes are gone.
"""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL, Plane
from fastapi.testclient import TestClient
from waiting import wait_until

from tunesmith.events import Report, SilentWorker
from tunesmith.home import Home
from tunesmith.job import JobDocument
from tunesmith.lifecycle import Reason, State
from tunesmith.processes import pulse_of, record_of_this
from tunesmith.views import Health, TaskView
from tunesmith_platform.backends import clearing
from tunesmith_platform.backends.clearing import ClearedJobs
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.reconciler.last_heard import MOST_SECONDS, Listening
from tunesmith_platform.testing.fakes import FakeJobs


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(plane: Plane) -> Clock:
    clock = Clock()
    plane.reconciler._listening = Listening(clock)
    return clock


def passes(plane: Plane, clock: Clock, seconds: float) -> None:
    """Time passes while the control plane looks."""
    plane.tick()
    until = clock.now + seconds
    while clock.now < until:
        clock.now = min(until, clock.now + MOST_SECONDS)
        plane.tick()


def report_silent(plane: Plane, task: TaskView, *workers: int, attempt: int = 1) -> None:
    silent = [SilentWorker(worker=one, seconds=12, message=f"Worker {one} is silent.") for one in workers]
    plane.services.events.ingest(task.id, Report(attempt=attempt, silent=silent))


def warnings(plane: Plane, task: TaskView) -> list[str]:
    return [
        str(event.payload.code)
        for event in plane.services.events.page(LOCAL, task.id, 0, 1000).data
        if event.payload.kind == "warning"
    ]


@pytest.mark.slow
def test_a_silent_worker_is_shown_warned_of_once_and_forgotten_when_it_speaks(plane: Plane) -> None:
    task = plane.running()
    assert plane.task(task.id).health is Health.LIVE
    for _ in range(3):
        report_silent(plane, task, 1)
        plane.report(task)  # the first worker speaks: the task is heard of
        assert plane.task(task.id).health is Health.RECOVERING
    (line,) = [line for line in plane.services.workspace._read().values() if line.id == task.id]
    assert line.health is Health.RECOVERING
    assert warnings(plane, task) == ["worker_silent"]
    report_silent(plane, task, 0, 1)
    report_silent(plane, task)
    assert plane.task(task.id).health is Health.LIVE
    report_silent(plane, task, 1)
    assert warnings(plane, task) == ["worker_silent"] * 3
    numbers = [event.n for event in plane.services.events.page(LOCAL, task.id, 0, 1000).data]
    assert numbers == list(range(1, len(numbers) + 1))
    plane.report(task, {"kind": "metrics", "step": 1, "values": {"loss": 1.0}})


def test_a_driver_that_speaks_of_silence_is_no_sign_of_life(plane: Plane) -> None:
    task = plane.running()
    heard = plane.task(task.id).heartbeat_at
    report_silent(plane, task, 0)
    assert plane.task(task.id).heartbeat_at == heard
    plane.report(task)
    assert plane.task(task.id).heartbeat_at != heard


def test_silence_is_told_over_http_by_the_attempt_alone(plane: Plane, client: TestClient) -> None:
    task = plane.running()
    body = {"attempt": 1, "silent": [{"worker": 0, "seconds": 12.5, "message": "It sleeps."}]}
    url = f"/v1/tasks/{task.id}/reports"
    assert client.post(url, json=body, headers={"Authorization": "Bearer no"}).status_code == 401
    own = {"Authorization": f"Bearer {plane.token(task)}"}
    assert client.post(url, json=body, headers=own).status_code == 200
    many = body | {"silent": body["silent"] * 1001}  # type: ignore[operator]
    assert client.post(url, json=many, headers=own).status_code == 422
    assert warnings(plane, task) == ["worker_silent"]


def test_a_job_of_which_nothing_is_heard_is_warned_of_and_started_again(plane: Plane, clock: Clock) -> None:
    """Its driver is frozen, or its node away: nobody there can say so."""
    task = plane.running()
    passes(plane, clock, 14)
    assert warnings(plane, task) == []
    passes(plane, clock, 50)
    assert warnings(plane, task) == ["silent"]
    assert plane.jobs.kills == []
    plane.jobs.is_killable = False
    passes(plane, clock, 15)
    assert plane.jobs.kills == [f"{task.id}-1"]
    assert plane.task(task.id).state is State.RUNNING, "its processes are still there"
    plane.job(task, JobStatus.STOPPED)
    plane.tick()
    again = plane.task(task.id)
    assert again.state is State.PENDING
    assert "Nothing was heard of its job for a while: it was ended." in again.message
    assert warnings(plane, task) == ["silent", "killed", "restart"]


def test_its_restarts_are_counted(plane: Plane, clock: Clock) -> None:
    task = plane.running(spec={"max_restarts": 0})
    passes(plane, clock, 81)
    ended = plane.task(task.id)
    assert (ended.state, ended.reason) == (State.FAILED, Reason.JOB_LOST)
    assert "Nothing was heard of its job" in ended.message


@pytest.mark.parametrize("who", ["a worker", "the driver"])
def test_a_job_that_is_heard_is_left_alone(plane: Plane, clock: Clock, who: str) -> None:
    task = plane.running()
    for _ in range(10):
        passes(plane, clock, 10)
        if who == "a worker":
            plane.report(task)
        else:
            report_silent(plane, task, 0)
    assert plane.jobs.kills == []
    assert "silent" not in warnings(plane, task)


def test_what_was_not_heard_because_nobody_listened_is_no_silence(plane: Plane, clock: Clock) -> None:
    """The control plane was away, its machine slept, or Ray could not be asked: time passed, and nobody looked."""
    task = plane.running()
    passes(plane, clock, 9)
    clock.now += 3600
    plane.tick()
    assert warnings(plane, task) == []
    passes(plane, clock, 30)
    assert plane.jobs.kills == []
    plane.jobs.is_away = True
    passes(plane, clock, 100)
    plane.jobs.is_away = False
    passes(plane, clock, 70)
    assert plane.jobs.kills == []
    assert plane.task(task.id).state is State.RUNNING


def test_a_job_is_told_how_long_its_workers_may_be_silent(home: Home) -> None:
    plane = Plane(home, heartbeat_timeout_seconds=10, stuck_worker_seconds=30)
    task = plane.running()
    document = JobDocument.model_validate_json(Path(plane.jobs.documents[f"{task.id}-1"]).read_bytes())
    assert (document.silent_seconds, document.stuck_seconds) == (8, 30)
    plane.services.database.close()


def test_a_task_that_waits_for_the_cluster_is_not_silent(plane: Plane, clock: Clock) -> None:
    task = plane.submit()
    plane.tick()
    passes(plane, clock, 100)
    assert plane.jobs.kills == []
    assert warnings(plane, task) == []


# --- an end is an end of the processes


@pytest.fixture
def frozen() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: (pulse := pulse_of(process.pid)) is not None and pulse.state == "T", 10)
        yield process
        process.kill()


def write_down(folder: Path, process: subprocess.Popen[bytes], suffix: str, **more: Any) -> None:
    """As a worker of attempt 1 does."""
    pulse, mine = pulse_of(process.pid), record_of_this(1, 0)
    assert pulse is not None
    assert mine is not None
    record = mine.model_copy(update={"pid": process.pid, "ticks": pulse.began} | more)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / record.name).with_suffix(suffix).write_text(record.model_dump_json())


@pytest.mark.parametrize("suffix", [".json", ".done"])
@pytest.mark.parametrize("status", [JobStatus.STOPPED, JobStatus.FAILED, None])
def test_an_end_is_shown_when_the_processes_are_gone(
    plane: Plane,
    frozen: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
    status: JobStatus | None,
    suffix: str,
) -> None:
    """Ray calls an actor dead when it was told to go. A stopped process does not hear that, and is ended."""
    task = plane.running()
    write_down(plane.settings.work_dir / task.id, frozen, suffix)
    plane.services.tasks.stop(LOCAL, task.id)
    if status is None:
        plane.jobs.jobs.clear()  # Ray was started again, and knows of nothing
    else:
        plane.job(task, status)
    plane.tick()
    assert plane.task(task.id).state is State.STOPPING
    assert frozen.poll() is None, "it may leave by itself"
    monkeypatch.setattr(clearing, "_MOMENT_SECONDS", 0.0)
    plane.tick()
    assert frozen.wait(10) == -signal.SIGKILL
    plane.tick()
    assert plane.task(task.id).state is State.STOPPED


def test_another_attempt_waits_for_the_processes_of_the_one_before(
    plane: Plane, frozen: subprocess.Popen[bytes]
) -> None:
    task = plane.running()
    write_down(plane.settings.work_dir / task.id, frozen, ".json")
    plane.job(task, JobStatus.FAILED)
    plane.tick()
    assert plane.task(task.id).state is State.RUNNING
    frozen.kill()
    frozen.wait(10)
    plane.tick()
    assert plane.task(task.id).state is State.PENDING


@pytest.mark.parametrize("other", [{"ticks": 1}, {"boot": "another"}, {"attempt": 2}])
def test_a_process_that_is_not_provably_the_attempts_holds_up_nothing_and_lives(
    plane: Plane, frozen: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    monkeypatch.setattr(clearing, "_MOMENT_SECONDS", 0.0)
    task = plane.running()
    write_down(plane.settings.work_dir / task.id, frozen, ".json", **other)
    plane.services.tasks.stop(LOCAL, task.id)
    plane.job(task, JobStatus.STOPPED)
    plane.tick()
    assert plane.task(task.id).state is State.STOPPED
    assert frozen.poll() is None


def test_a_job_with_another_name_is_passed_on(tmp_path: Path) -> None:
    jobs = ClearedJobs(FakeJobs({"tunesmith-probe": JobStatus.STOPPED}), tmp_path)
    assert jobs.observe("tunesmith-probe").status is JobStatus.STOPPED
