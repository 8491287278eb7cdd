"""Warm runners: who is given what, once; what becomes of one that does not answer; how many there are kept."""

import datetime as dt
import threading
from typing import Any

import pytest
from conftest_platform import LOCAL, Plane
from fastapi.testclient import TestClient

from tunesmith.errors import NotFound
from tunesmith.home import Home
from tunesmith.job import RunnerAsk, read_secret, runner_token
from tunesmith.lifecycle import State
from tunesmith_platform.backends.protocols import RUNNER, JobStatus
from tunesmith_platform.clock import now
from tunesmith_platform.db.tables import RunnerRow
from tunesmith_platform.runners import dispatch, repository
from tunesmith_platform.runners.dispatch import WarmJobs, code_stamp, job_of
from tunesmith_platform.runners.pool import RunnerPool
from tunesmith_platform.runners.repository import RunnerState
from tunesmith_platform.scope import INSTALLATION

LONG = dt.timedelta(minutes=10)
AWHILE = dt.timedelta(seconds=5)
WARM = {"can_be_warm": True}


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take seconds between two rounds: overdue is only what a test says was long ago."""
    monkeypatch.setattr(dispatch, "PICK_UP", LONG / 2)


@pytest.fixture
def pool(plane: Plane) -> RunnerPool:
    plane.settings.warm_runners = 1
    return RunnerPool(plane.services.database, plane.services.hub, plane.settings, plane.services.jobs)


def add(plane: Plane, name: str = "a", state: str = "idle", age: dt.timedelta = AWHILE, **values: Any) -> str:
    """A runner whose job Ray runs."""
    runner_id = f"runner-{name}"
    defaults = {"code": code_stamp(), "seen_at": now() if state == "idle" else None}
    with plane.services.database.write() as session:
        row = {"id": runner_id, "state": state, "created_at": now() - age} | defaults | values
        session.add(RunnerRow(**row))
    plane.jobs.jobs[job_of(runner_id)] = JobStatus.RUNNING
    return runner_id


def change(plane: Plane, runner_id: str, **values: Any) -> None:
    with plane.services.database.write() as session:
        for name, value in values.items():
            setattr(session.get_one(RunnerRow, runner_id), name, value)


def forget(plane: Plane, runner_id: str) -> None:
    with plane.services.database.write() as session:
        repository.remove(session, runner_id, *RunnerState)


def runners(plane: Plane) -> dict[str, str]:
    with plane.services.database.read() as session:
        return {row.id: row.state for row in repository.in_states(session, *RunnerState)}


def ask(plane: Plane, runner_id: str, *, is_warm: bool = True) -> str | None:
    """Ask as a runner does, without waiting."""
    service = plane.services.runners
    service.note(runner_id, RunnerAsk(is_warm=is_warm))
    return service.take(runner_id).document_uri if service.is_given(runner_id) else None


def submitted(plane: Plane) -> list[str]:
    """What Ray was given besides runners."""
    return [job for job in plane.jobs.submits if not job.startswith("runner-")]


def test_a_task_goes_to_the_runner_and_its_job_is_the_runners(plane: Plane) -> None:
    runner = add(plane)
    task = plane.submit()
    plane.tick()
    assert submitted(plane) == []
    document = ask(plane, runner)
    assert document is not None
    assert document.endswith(f"{task.id}/attempt-1.json")
    assert ask(plane, runner) == document, "the first answer may have been lost"
    plane.tick()
    assert plane.task(task.id).state is State.RUNNING
    assert plane.services.jobs.log_tail(f"{task.id}-1", 5) == f"the last words of {job_of(runner)}"
    plane.report(task, {"kind": "finished", "outcome": "completed", "reason": "completed", "model_uri": "/m"})
    plane.tick()
    assert plane.task(task.id).state is State.RUNNING, "the runner's processes are not gone yet"
    plane.jobs.jobs[job_of(runner)] = JobStatus.SUCCEEDED
    plane.tick()
    assert plane.task(task.id).state is State.COMPLETED
    assert ask(plane, runner) == document, "a runner has one task in its life"


def test_who_is_given_a_task(plane: Plane) -> None:
    had = {"job_id": "task-other-1", "document_uri": "/d", "assigned_at": now()}
    cases: list[tuple[str, dict[str, Any], bool]] = [
        ("idle", {}, True),
        ("starting", {}, True),
        ("idle", {"seen_at": now() - LONG}, False),
        ("starting", {"age": LONG}, False),
        ("idle", {"code": "older"}, False),
        ("running", had, False),
        ("assigned", had, False),
        ("returned", had, False),
    ]
    for i, (state, values, is_taken) in enumerate(cases):
        runner = add(plane, f"r{i}", state, **values)
        plane.services.jobs.submit(f"task-{i}-1", "/d", can_be_warm=True)
        assert (f"task-{i}-1" not in submitted(plane)) == is_taken, (state, values)
        forget(plane, runner)


def test_one_that_waits_comes_before_one_that_starts(plane: Plane) -> None:
    add(plane, "a", "starting")
    add(plane, "b", "idle")
    plane.submit()
    plane.tick()
    assert runners(plane) == {"runner-a": "starting", "runner-b": "assigned"}


def test_what_no_runner_does_goes_past_them(plane: Plane) -> None:
    add(plane)
    plane.services.jobs.submit("data-1", "/d")
    assert submitted(plane) == ["data-1"]


def test_one_runner_is_given_to_one_of_many_who_want_it(plane: Plane) -> None:
    add(plane)
    jobs = [f"task-{i}-1" for i in range(6)]
    threads = [
        threading.Thread(target=plane.services.jobs.submit, args=(job, "/d"), kwargs=WARM) for job in jobs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(submitted(plane)) == len(jobs) - 1
    assert len(set(submitted(plane))) == len(jobs) - 1


def test_picking_up_and_taking_back_at_once_gives_one_run(plane: Plane) -> None:
    """Each time exactly one of the two has the attempt, whoever was quicker."""
    for i in range(10):
        name, job = f"r{i}", f"task-{i}-1"
        runner = add(plane, name)
        plane.services.jobs.submit(job, "/d", can_be_warm=True)
        change(plane, runner, assigned_at=now() - LONG)
        given: list[str | None] = []

        def pick_up(runner: str = runner, given: list[str | None] = given) -> None:
            try:
                given.append(plane.services.runners.take(runner).document_uri)
            except NotFound:
                given.append(None)

        threads = [
            threading.Thread(target=pick_up),
            threading.Thread(target=plane.services.jobs.observe, args=(job,)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (given == ["/d"]) != (job in submitted(plane))


def test_what_is_not_picked_up_goes_to_ray_once(plane: Plane) -> None:
    runner = add(plane)
    task = plane.submit()
    plane.tick()
    plane.tick()
    assert submitted(plane) == []
    change(plane, runner, assigned_at=now() - LONG)
    plane.tick()
    assert submitted(plane) == [f"{task.id}-1"]
    assert plane.jobs.kills == [job_of(runner)]
    with pytest.raises(NotFound):
        ask(plane, runner)
    plane.tick()
    assert runners(plane) == {}
    plane.job(task, JobStatus.RUNNING)
    plane.tick()
    assert plane.task(task.id).state is State.RUNNING
    assert submitted(plane) == [f"{task.id}-1"]


def test_what_is_taken_back_while_ray_is_away_is_not_lost(plane: Plane) -> None:
    runner = add(plane)
    plane.services.jobs.submit("task-a-1", "/d", can_be_warm=True)
    change(plane, runner, assigned_at=now() - LONG)
    plane.jobs.is_away = True
    assert plane.services.jobs.observe("task-a-1").status is JobStatus.UNREACHABLE
    assert runners(plane) == {runner: "returned"}
    plane.jobs.is_away = False
    assert plane.services.jobs.observe("task-a-1").status is JobStatus.PENDING
    assert submitted(plane) == ["task-a-1"]


def test_a_starting_runner_has_time_and_none_when_it_has_ended(plane: Plane) -> None:
    runner = add(plane, state="starting")
    task = plane.submit()
    plane.tick()
    change(plane, runner, assigned_at=now() - LONG)
    plane.tick()
    assert runners(plane) == {runner: "assigned"}
    plane.jobs.jobs[job_of(runner)] = JobStatus.FAILED
    plane.tick()
    assert submitted(plane) == [f"{task.id}-1"]


def test_a_control_plane_that_dies_finds_one_job(plane: Plane) -> None:
    """Between any two steps: a new one, that knows the database alone, ends up with the same job."""
    again = WarmJobs(plane.jobs, plane.services.database, plane.services.hub)
    for moment in ("assigned", "running", "returned"):
        runner, job = add(plane, moment), f"task-{moment}-1"
        plane.services.jobs.submit(job, "/d", can_be_warm=True)
        if moment == "running":
            ask(plane, runner)
        if moment == "returned":
            change(plane, runner, state="returned")
        again.submit(job, "/d", can_be_warm=True)
        again.submit(job, "/d", can_be_warm=True)
        assert again.observe(job).status in (JobStatus.PENDING, JobStatus.RUNNING)
        if moment == "assigned":
            assert ask(plane, runner) == "/d"
    assert submitted(plane) == ["task-returned-1"]


@pytest.mark.parametrize("moment", ["assigned", "running", "returned"])
def test_a_stop_ends_the_right_job(plane: Plane, moment: str) -> None:
    runner = add(plane)
    task = plane.submit()
    plane.tick()
    if moment == "running":
        ask(plane, runner)
    if moment == "returned":
        change(plane, runner, state="returned")
    plane.services.tasks.stop(LOCAL, task.id)
    for _ in range(3):
        plane.tick()
    assert plane.task(task.id).state is State.STOPPED
    assert submitted(plane) in ([], [f"{task.id}-1"])
    assert not [job for job in submitted(plane) if not plane.jobs.jobs[job].is_over]


def test_a_lost_runner_is_a_lost_job(plane: Plane) -> None:
    runner = add(plane)
    task = plane.submit(spec={"max_restarts": 1})
    plane.tick()
    ask(plane, runner)
    plane.tick()
    plane.jobs.jobs[job_of(runner)] = JobStatus.FAILED
    plane.tick()
    assert plane.task(task.id).state is State.PENDING
    assert plane.task(task.id).attempt == 1


# --- the pool


def test_the_pool_keeps_one_while_there_is_room(plane: Plane, pool: RunnerPool) -> None:
    pool.tick()
    pool.tick()
    (runner,) = runners(plane)
    assert plane.jobs.programs == {job_of(runner): RUNNER}
    ask(plane, runner)
    assert plane.services.system.view(INSTALLATION).warm_runners == 1
    task = plane.submit()
    plane.tick()
    ask(plane, runner)
    pool.tick()
    assert runners(plane) == {runner: "running"}, "the task's first steps come first"
    plane.services.tasks.stop(LOCAL, task.id)
    plane.jobs.jobs[job_of(runner)] = JobStatus.STOPPED
    plane.tick()
    pool.tick()
    assert sorted(runners(plane).values()) == ["running", "starting"]


def test_a_queue_starts_warm(plane: Plane, pool: RunnerPool) -> None:
    """While a task runs another runner is warmed, and the task behind it gets it."""
    runner = add(plane)
    first, second = plane.submit(), plane.submit()
    plane.tick()
    ask(plane, runner)
    change(plane, runner, assigned_at=now() - LONG)
    pool.tick()
    pool.tick()
    (other,) = runners(plane).keys() - {runner}
    plane.jobs.jobs[job_of(other)] = JobStatus.RUNNING
    assert ask(plane, other) is None
    pool.tick()
    assert runners(plane) == {runner: "running", other: "idle"}, "one is enough"
    plane.report(
        first, {"kind": "finished", "outcome": "completed", "reason": "completed", "model_uri": "/m"}
    )
    plane.jobs.jobs[job_of(runner)] = JobStatus.SUCCEEDED
    plane.tick()
    plane.tick()
    assert (ask(plane, other) or "").endswith(f"{second.id}/attempt-1.json")
    assert submitted(plane) == []


def test_where_memory_is_short_another_is_tried_only_when_a_task_ends(plane: Plane, pool: RunnerPool) -> None:
    plane.settings.max_concurrent_jobs = 2
    task, other = plane.submit(), plane.submit()
    plane.tick()
    pool.tick()
    (runner,) = runners(plane)
    plane.jobs.jobs[job_of(runner)] = JobStatus.SUCCEEDED  # it found no memory to spare, and left
    for _ in range(3):
        pool.tick()
    assert runners(plane) == {}
    plane.report(task, {"kind": "finished", "outcome": "completed", "reason": "completed", "model_uri": "/m"})
    plane.job(task, JobStatus.SUCCEEDED)
    plane.submit()
    plane.tick()
    pool.tick()
    assert len(runners(plane)) == 1
    assert plane.task(other.id).attempt == 1


def test_who_is_given_up(plane: Plane, pool: RunnerPool) -> None:
    cases: list[tuple[str, dict[str, Any], JobStatus]] = [
        ("idle", {}, JobStatus.FAILED),
        ("idle", {"seen_at": now() - LONG}, JobStatus.RUNNING),
        ("idle", {"code": "older"}, JobStatus.RUNNING),
        ("starting", {"age": LONG}, JobStatus.ABSENT),
        ("starting", {"age": LONG}, JobStatus.RUNNING),
    ]
    for i, (state, values, status) in enumerate(cases):
        runner = add(plane, f"r{i}", state, **values)
        plane.jobs.jobs[job_of(runner)] = status
        pool.tick()
        assert runner not in runners(plane), (state, values, status)
        assert job_of(runner) in plane.jobs.kills
        if status is not JobStatus.RUNNING or state == "idle":
            (another,) = runners(plane)
            forget(plane, another)
    pool.tick()
    assert runners(plane) == {}, "what does not become warm is not tried without end"


def test_a_smaller_number_ends_the_others(plane: Plane, pool: RunnerPool) -> None:
    add(plane, "a")
    add(plane, "b")
    pool.tick()
    assert runners(plane) == {"runner-a": "idle"}
    plane.settings.warm_runners = 0
    pool.tick()
    assert runners(plane) == {}


def test_a_ray_that_is_away_leaves_no_row(plane: Plane, pool: RunnerPool) -> None:
    plane.jobs.is_away = True
    pool.tick()
    assert runners(plane) == {}


# --- over HTTP


def test_a_runner_asks_with_its_own_token(plane: Plane, client: TestClient, home: Home) -> None:
    runner = add(plane)
    url, body = f"/v1/runners/{runner}/next", {"is_warm": True, "wait_seconds": 0}
    assert client.post(url, json=body).status_code == 401, "a user's key is none"
    token = runner_token(read_secret(home.report_secret_file), runner)
    headers = {"Authorization": f"Bearer {token}"}
    assert client.post(url, json=body, headers=headers).json() == {"document_uri": None}
    plane.services.jobs.submit("task-a-1", "/d", can_be_warm=True)
    assert client.post(url, json=body, headers=headers).json() == {"document_uri": "/d"}
    other = client.post("/v1/runners/runner-b/next", json=body, headers=headers)
    assert other.status_code == 401
    change(plane, runner, state="returned")
    assert client.post(url, json=body, headers=headers).status_code == 404


def test_a_waiting_answer_comes_as_soon_as_there_is_work(
    plane: Plane, client: TestClient, home: Home
) -> None:
    runner = add(plane)
    token = runner_token(read_secret(home.report_secret_file), runner)
    timer = threading.Timer(0.2, plane.services.jobs.submit, args=("task-a-1", "/d"), kwargs=WARM)
    timer.start()
    began = now()
    answer = client.post(
        f"/v1/runners/{runner}/next",
        json={"is_warm": True, "wait_seconds": 20},
        headers={"Authorization": f"Bearer {token}"},
    )
    timer.join()
    assert answer.json() == {"document_uri": "/d"}
    assert now() - began < dt.timedelta(seconds=5)
