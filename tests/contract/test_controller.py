"""The background loops in a process of their own: a server without them, and they, bring a task to its end."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL, Plane
from fastapi.testclient import TestClient
from given import SPEC
from waiting import wait_until

from tunesmith.lifecycle import State
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.background import background_loops
from tunesmith_platform.controller import Listeners
from tunesmith_platform.loops import Loops
from tunesmith_platform.monitoring.loop import Monitor
from tunesmith_platform.reconciler.loop import Reconciler

Replicas = tuple[Plane, Plane]


@contextmanager
def controller(plane: Plane) -> Iterator[Loops]:
    """The loops of a plane, as their own process runs them."""
    loops = Loops()
    loops.start(background_loops(plane.services))
    try:
        yield loops
    finally:
        loops.close()


def test_a_server_without_loops_and_the_loops_bring_a_task_to_its_end(replicas: Replicas) -> None:
    serving, working = replicas
    with TestClient(serving.app) as client, controller(working) as loops:
        client.headers["Authorization"] = f"Bearer {serving.api_key}"

        def is_in(state: str) -> bool:
            return client.get(f"/v1/tasks/{task}").json()["state"] == state

        def report(*payloads: dict[str, Any]) -> None:
            serving.report(serving.task(task), *payloads)

        assert client.get("/healthz").json() == {"status": "ok"}
        task = client.post("/v1/tasks", json={"spec": SPEC}).json()["id"]
        job = f"{task}-1"
        wait_until(lambda: job in working.jobs.jobs, 20, "it is handed to Ray")
        working.jobs.jobs[job] = JobStatus.RUNNING
        wait_until(lambda: is_in("running"), 20, "it runs")
        report({"kind": "training_started", "step": 0, "total_steps": 1})
        report({"kind": "metrics", "step": 1, "values": {"loss": 0.5}})
        report({"kind": "finished", "outcome": "completed", "reason": "completed"})
        working.jobs.jobs[job] = JobStatus.SUCCEEDED
        wait_until(lambda: is_in("completed"), 20, "it is completed")
        wait_until(
            lambda: any(run.status == "FINISHED" for run in working.tracking.runs.values()),
            20,
            "its run is over",
        )
        parts = {part["name"]: part for part in client.get("/v1/system").json()["parts"]}
        assert parts["controller"]["ok"]
        assert loops.unwell() == {}
    assert working.jobs.submits == [job]


def test_a_server_says_that_nobody_runs_the_loops(plane: Plane) -> None:
    (part,) = [part for part in plane.services.system.view(LOCAL).parts if part.name == "controller"]
    assert not part.ok
    assert "`tunesmith controller`" in part.message


def test_silence_that_nobody_could_hear_ends_nothing(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """While no server answers, jobs go on and keep what they have to say."""
    clock, hears = [0.0], [True]
    reconciler = Reconciler(plane.services, None, lambda: hears[0])
    reconciler._listening._clock = lambda: clock[0]
    task = plane.submit()
    reconciler.tick()
    plane.job(task, JobStatus.RUNNING)
    reconciler.tick()
    plane.report(task, {"kind": "training_started", "step": 0, "total_steps": 10})

    def pass_by(seconds: int) -> None:
        for _ in range(seconds):
            clock[0] += 1
            reconciler.tick()

    hears[0] = False
    pass_by(300)
    assert plane.jobs.kills == []
    assert not [event for event in said(plane, task.id) if event["code"] == "silent"]
    hears[0] = True
    pass_by(20)
    assert [event["code"] for event in said(plane, task.id)] == ["silent"], "from now on it counts"


def said(plane: Plane, task_id: str) -> list[dict[str, Any]]:
    page = plane.services.events.page(LOCAL, task_id, 0, 100, ["warning"])
    return [json.loads(event.payload.model_dump_json()) for event in page.data]


def test_a_stall_that_nobody_could_hear_of_is_none(plane: Plane) -> None:
    hears = [False]
    monitor = Monitor(plane.services.database, plane.services.hub, plane.settings, lambda: hears[0])
    task = plane.running()
    for step in range(1, 6):
        plane.report(task, {"kind": "progress", "step": step, "total_steps": 10})
    monitor.look()
    kept = monitor._tasks[task.id]
    kept.heard -= 10_000
    monitor.look()
    assert said(plane, task.id) == []
    hears[0] = True
    kept.heard -= 10_000
    monitor.look()
    assert [event["code"] for event in said(plane, task.id)] == ["stall"]


def test_listeners_are_those_that_answer_where_jobs_report(plane: Plane) -> None:
    nobody = Listeners(
        plane.services.hub, "http://127.0.0.1:9"
    )  # the discard service: nothing of ours listens there
    nobody.tick()
    assert not nobody.hears()


def test_the_command_runs_the_loops_until_it_is_told_to_end(plane: Plane) -> None:
    environment = os.environ | {
        "TUNESMITH_HOME": str(plane.home.root),
        "TUNESMITH_DATABASE_URL": plane.settings.database_url,
    }
    command = [str(Path(sys.executable).parent / "tunesmith"), "controller"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines: list[str] = []
        runs = threading.Event()

        def read() -> None:
            assert process.stderr is not None
            for line in process.stderr:
                lines.append(line)
                if "the background loops run" in line:
                    runs.set()

        reader = threading.Thread(target=read)
        reader.start()
        try:
            assert runs.wait(60), "".join(lines)
            wait_until(lambda: plane.services.system.view(LOCAL).parts[-1].ok, 30, "the server knows of it")
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, "".join(lines)
            reader.join()
    assert plane.task(plane.submit().id).state is State.PENDING
