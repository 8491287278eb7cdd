"""The promises that users test first, on the real platform: Ray, MLflow, API, a tiny model.

Does resume really resume; does stop really stop; is nothing lost when a part dies.
"""

import contextlib
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from short_tasks import losses, submit_short, write_dialogues
from waiting import wait_until

from tunesmith.client import Client
from tunesmith.errors import TunesmithError
from tunesmith.home import Home
from tunesmith.job import read_secret
from tunesmith.lifecycle import Reason, State
from tunesmith.views import TaskView
from tunesmith_platform.embedded.processes import ours
from tunesmith_platform.embedded.record import read_record

STEPS = 400
"""Enough that there is a middle to be killed in."""

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def client(live_home: Home) -> Client:
    os.environ["TUNESMITH_HOME"] = str(live_home.root)
    return Client()


@pytest.fixture(scope="module", autouse=True)
def _leave_no_home() -> Iterator[None]:
    before = os.environ.get("TUNESMITH_HOME")
    yield
    if before is None:
        os.environ.pop("TUNESMITH_HOME", None)
    else:
        os.environ["TUNESMITH_HOME"] = before


@pytest.fixture(scope="module")
def rows(live_home: Home) -> Path:
    """Forty short dialogues inside an allowed root."""
    return write_dialogues(live_home.root.parent / "rows.jsonl")


def submit(client: Client, tiny_model: Path, rows: Path, **spec: Any) -> TaskView:
    return submit_short(client, tiny_model, rows, STEPS, **spec)


def job_processes(task_id: str) -> list[psutil.Process]:
    """Every process of a task: its driver, and the workers that hold its spool open or carry its name."""
    found = []
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            if task_id in words or any(task_id in file.path for file in process.open_files()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def trainer_of(task_id: str) -> psutil.Process:
    """The worker process that trains: it holds the attempt's spool open."""
    for process in psutil.process_iter():
        try:
            if any(task_id in file.path and "spool" in file.path for file in process.open_files()) and (
                "tunesmith_jobs.entry" not in " ".join(process.cmdline())
            ):
                return process
        except psutil.Error:
            continue
    raise AssertionError("no trainer found")


def step_of(client: Client, task: TaskView) -> int:
    return client.task(task.id).progress.step


@pytest.fixture(scope="module")
def undisturbed(client: Client, tiny_model: Path, rows: Path) -> dict[int, float]:
    """The losses of a run that nothing happened to."""
    task = submit(client, tiny_model, rows)
    done = client.wait(task.id, timeout=180)
    assert done.state is State.COMPLETED, done.message
    found = losses(client, task)
    assert sorted(found) == list(range(1, STEPS + 1))
    assert next(c.step for c in client.checkpoints(task.id)) == STEPS, "newest first"
    return found


def mlflow_points(done: TaskView, client: Client, name: str) -> list[tuple[int, float]]:
    """A metric's whole history in MLflow."""
    system = client.system()
    reply = httpx.get(
        f"{system.mlflow_url}/api/2.0/mlflow/metrics/get-history",
        params={"run_id": done.mlflow_run_id, "metric_key": name, "max_results": 5000},
        headers={"Authorization": f"Bearer {read_secret(Home().mlflow_token_file)}"},
    )
    return [(int(metric["step"]), metric["value"]) for metric in reply.json().get("metrics", [])]


def spool_points(home: Home, task: TaskView, name: str) -> list[tuple[int, float]]:
    """What the job itself wrote down."""
    points = []
    for line in (home.work / task.id / "spool-1.jsonl").read_text().splitlines():
        payload = json.loads(line)["payload"]
        if payload["kind"] == "metrics" and name in payload["values"]:
            points.append((payload["step"], payload["values"][name]))
    return points


def test_every_point_is_in_mlflow_once(
    client: Client, live_home: Home, tiny_model: Path, rows: Path, undisturbed: dict[int, float]
) -> None:
    task = next(iter(client.tasks(state=["completed"])))
    wait_until(lambda: len(mlflow_points(client.task(task.id), client, "loss")) >= STEPS, 30, "the mirror")
    done = client.task(task.id)
    assert sorted(mlflow_points(done, client, "loss")) == sorted(undisturbed.items())
    assert sorted(spool_points(live_home, task, "loss")) == sorted(undisturbed.items())
    artifacts = Path(done.artifact_uri or "")
    assert done.mlflow_run_id in artifacts.parts, "the run's own artifact folder"
    assert (artifacts / "checkpoints" / f"checkpoint-{STEPS}" / "manifest.json").is_file()


def test_a_killed_worker_goes_on_exactly(
    client: Client, tiny_model: Path, rows: Path, undisturbed: dict[int, float]
) -> None:
    task = submit(client, tiny_model, rows)
    wait_until(lambda: step_of(client, task) >= 40, 90, "step 40")
    trainer_of(task.id).kill()
    done = client.wait(task.id, timeout=180)
    assert done.state is State.COMPLETED, done.message
    assert done.attempt == 1, "the driver restarts its worker by itself"
    assert losses(client, task) == undisturbed
    starts = [e.payload for e in client.events(task.id) if e.payload.kind == "training_started"]
    assert len(starts) == 2
    assert starts[1].step > 0, "it resumed, it did not begin again"


def test_a_worker_that_is_told_to_leave_saves_and_its_task_goes_on_elsewhere(
    client: Client, tiny_model: Path, rows: Path, undisturbed: dict[int, float]
) -> None:
    """SIGTERM, as a machine says that it is reclaimed: no step is lost that has no checkpoint yet."""
    task = submit(client, tiny_model, rows, save_steps=STEPS)
    wait_until(lambda: step_of(client, task) >= 20, 90, "step 20")
    trainer_of(task.id).terminate()
    done = client.wait(task.id, timeout=180)
    assert done.state is State.COMPLETED, done.message
    assert done.attempt == 2, "its attempt ended; another one took over"
    starts = [e.payload for e in client.events(task.id) if e.payload.kind == "training_started"]
    assert starts[1].step >= 20, "it resumed at the step that it was told at"
    assert losses(client, task) == undisturbed


def test_a_killed_api_loses_nothing(
    client: Client, live_home: Home, tiny_model: Path, rows: Path, undisturbed: dict[int, float]
) -> None:
    """The API is killed in the middle; training goes on and every point arrives once."""
    task = submit(client, tiny_model, rows)
    wait_until(lambda: step_of(client, task) >= 3, 90, "its first steps")
    pid = json.loads(live_home.parts.read_text())["parts"]["api"]["pid"]
    os.kill(pid, signal.SIGKILL)
    done = client.wait(task.id, timeout=180)
    assert done.state is State.COMPLETED, done.message
    assert losses(client, task) == undisturbed
    assert sorted(spool_points(live_home, task, "loss")) == sorted(undisturbed.items())
    wait_until(lambda: len(mlflow_points(client.task(task.id), client, "loss")) >= STEPS, 60, "the mirror")
    assert sorted(mlflow_points(client.task(task.id), client, "loss")) == sorted(undisturbed.items())


def test_an_api_that_is_away_for_a_minute_loses_nothing(
    client: Client, live_home: Home, tiny_model: Path, rows: Path, undisturbed: dict[int, float]
) -> None:
    """The task even ends while nobody listens: its driver waits until every point has arrived."""
    task = submit(client, tiny_model, rows)
    wait_until(lambda: step_of(client, task) >= 3, 90, "its first steps")
    supervisor = psutil.Process(read_record(live_home).supervisor.pid)
    supervisor.suspend()  # it would bring the API back at once
    try:
        api = read_record(live_home).parts["api"].pid
        assert api is not None
        os.kill(api, signal.SIGKILL)
        away_until = time.monotonic() + 60
        wait_until(lambda: len(spool_points(live_home, task, "loss")) == STEPS, 60, "training, unmoved")
        time.sleep(max(0.0, away_until - time.monotonic()))
    finally:
        supervisor.resume()
    wait_until(lambda: answers(client), 40, "the API's return")
    done = client.wait(task.id, timeout=180)
    assert done.state is State.COMPLETED, done.message
    assert done.attempt == 1
    assert losses(client, task) == undisturbed
    wait_until(lambda: len(mlflow_points(client.task(task.id), client, "loss")) >= STEPS, 60, "the mirror")
    assert sorted(mlflow_points(client.task(task.id), client, "loss")) == sorted(undisturbed.items())


def answers(client: Client) -> bool:
    try:
        client.system()
    except TunesmithError:
        return False
    return True


@pytest.mark.parametrize("moment", ["pending", "starting", "training", "saving"])
def test_stop_ends_within_twenty_seconds_and_leaves_no_process(
    client: Client, tiny_model: Path, rows: Path, moment: str
) -> None:
    task = submit(client, tiny_model, rows, max_steps=100_000, save_steps=1 if moment == "saving" else 1000)
    if moment == "starting":
        wait_until(lambda: bool(job_processes(task.id)), 60, "the driver")
    if moment in ("training", "saving"):
        wait_until(lambda: step_of(client, task) >= 2, 90, "step 2")
    asked = time.monotonic()
    client.stop_task(task.id)
    stopped = client.wait(task.id, timeout=30)
    assert time.monotonic() - asked < 20
    assert stopped.state is State.STOPPED, stopped.message
    assert job_processes(task.id) == []
    if moment == "training":
        assert stopped.reason is Reason.STOPPED_BY_USER
        (checkpoint,) = client.checkpoints(task.id)
        assert checkpoint.step >= 2
        assert (Path(checkpoint.uri) / "optimizer.safetensors").is_file()


def test_a_stop_ends_a_frozen_worker_before_it_is_shown(client: Client, tiny_model: Path, rows: Path) -> None:
    """A stopped process hears of nothing, and Ray calls its actor dead all the same."""
    task = submit(client, tiny_model, rows, max_steps=100_000, save_steps=1000)
    wait_until(lambda: step_of(client, task) >= 2, 90, "step 2")
    trainer = trainer_of(task.id)
    trainer.suspend()
    client.stop_task(task.id)
    stopped = client.wait(task.id, timeout=60)
    assert not trainer.is_running()
    assert stopped.state is State.STOPPED, stopped.message
    assert job_processes(task.id) == []


def test_a_stop_reaches_its_job_while_the_api_is_dead(
    client: Client, live_home: Home, tiny_model: Path, rows: Path
) -> None:
    """The API is killed as soon as it has accepted the stop, and nobody brings it back: no step begins 5 s later."""
    task = submit(client, tiny_model, rows, max_steps=100_000, save_steps=1000)
    wait_until(lambda: step_of(client, task) >= 3, 90, "its first steps")
    supervisor = psutil.Process(read_record(live_home).supervisor.pid)
    api = read_record(live_home).parts["api"].pid
    assert api is not None
    spool = live_home.work / task.id / "spool-1.jsonl"
    supervisor.suspend()  # it would bring the API back at once
    try:
        client.stop_task(task.id)
        accepted = time.time()
        os.kill(api, signal.SIGKILL)
        wait_until(lambda: '"kind":"finished"' in spool.read_text(), 40, "the job's last word")
    finally:
        supervisor.resume()
    stepped = [json.loads(line) for line in spool.read_text().splitlines() if '"kind":"metrics"' in line]
    assert dt.datetime.fromisoformat(stepped[-1]["time"]).timestamp() - accepted < 5
    wait_until(lambda: answers(client), 60, "the API's return")
    stopped = client.wait(task.id, timeout=60)
    assert (stopped.state, stopped.reason) == (State.STOPPED, Reason.STOPPED_BY_USER)
    (checkpoint,) = client.checkpoints(task.id)
    assert checkpoint.step == stepped[-1]["payload"]["step"], "the step under way was the last one"


def test_a_stopped_task_is_continued_exactly(
    client: Client, tiny_model: Path, rows: Path, undisturbed: dict[int, float]
) -> None:
    """The user stops it, and lets it go on: one task, one log, the losses of a run that nothing happened to."""
    task = submit(client, tiny_model, rows)
    wait_until(lambda: step_of(client, task) >= 40, 90, "step 40")
    client.stop_task(task.id)
    stopped = client.wait(task.id, timeout=30)
    assert stopped.state is State.STOPPED, stopped.message
    going = client.continue_task(task.id)
    assert (going.state, going.id) == (State.PENDING, task.id)
    done = client.wait(task.id, timeout=180)
    assert done.state is State.COMPLETED, done.message
    assert (done.attempt, done.artifact_uri) == (2, stopped.artifact_uri)
    assert losses(client, task) == undisturbed
    starts = [e.payload for e in client.events(task.id) if e.payload.kind == "training_started"]
    assert [start.step for start in starts] == [0, stopped.progress.step], "at the step it was stopped at"
    wait_until(lambda: len(mlflow_points(client.task(task.id), client, "loss")) >= STEPS, 60, "the mirror")
    assert sorted(mlflow_points(client.task(task.id), client, "loss")) == sorted(undisturbed.items())


def test_bad_data_is_refused_at_submit(client: Client, live_home: Home, tiny_model: Path) -> None:
    from tunesmith.errors import InvalidInput

    file = live_home.root.parent / "broken.jsonl"
    file.write_text('{"messages": [{"role": "user", "content": "x"}]}\n{"messages": [\n')
    with pytest.raises(InvalidInput) as refused:
        submit(client, tiny_model, file)
    places = [problem.field or "" for problem in refused.value.problems]
    assert any("broken.jsonl:1" in place for place in places)
    assert any("broken.jsonl:2" in place for place in places)
    with pytest.raises(InvalidInput):
        submit(client, tiny_model, Path("/etc/passwd"))


def test_the_cli_shows_a_task(live_home: Home, undisturbed: dict[int, float]) -> None:
    environment = {**os.environ, "TUNESMITH_HOME": str(live_home.root), "COLUMNS": "100"}
    tunesmith = Path(sys.executable).parent / "tunesmith"

    def output(*words: str) -> str:
        done = subprocess.run(
            [tunesmith, *words], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert "completed" in output("tasks", "list", "--state", "completed")
    assert json.loads(output("status", "--json"))["supervised"]


def test_up_after_everything_was_killed_takes_the_task_up_again(
    client: Client, live_home: Home, tiny_model: Path, rows: Path, undisturbed: dict[int, float]
) -> None:
    """As after a power cut: no part had a moment to say goodbye. The last test here: all parts are new after it."""
    task = submit(client, tiny_model, rows)
    wait_until(lambda: step_of(client, task) >= 60, 90, "step 60")
    for process in ours(live_home):
        with contextlib.suppress(psutil.Error):
            process.kill()
    wait_until(lambda: ours(live_home) == [], 20, "the death of all")
    environment = {**os.environ, "TUNESMITH_HOME": str(live_home.root), "COLUMNS": "200"}
    environment |= {"TUNESMITH_WARM_RUNNERS": "0"}
    up = subprocess.run(
        [Path(sys.executable).parent / "tunesmith", "up"],
        env=environment, capture_output=True, text=True, check=True, timeout=180,
    )  # fmt: skip
    assert task.id in up.stdout + up.stderr, "it tells which tasks it takes up"
    done = client.wait(task.id, timeout=180)
    assert done.state is State.COMPLETED, done.message
    assert done.attempt == 2
    assert losses(client, task) == undisturbed
    starts = [e.payload for e in client.events(task.id) if e.payload.kind == "training_started"]
    assert starts[-1].step >= 25, "it resumed, it did not begin again"
