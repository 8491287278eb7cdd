"""The promises that users test first, on a platform as `tunesmith up` makes it: a task starts in a warm runner.

Does resume really resume; does stop really stop; is nothing lost when a part dies.
"""

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from live_platform import Platform
from short_tasks import (
    ENDLESS,
    STEPS,
    at_step,
    completed,
    find_trainer,
    has_saved,
    held,
    job_processes,
    seconds_of_imports,
    spool_points,
    starts_of,
    submit_short,
    wait_mirrored,
    wait_step,
    wait_warm,
)
from waiting import wait_until

from tunesmith.client import Client
from tunesmith.errors import InvalidInput, TunesmithError
from tunesmith.lifecycle import Reason, State
from tunesmith_platform.embedded.record import read_record

AWAY_SECONDS = 20
"""More than the 15 s after which a job that says nothing is given up (`heartbeat_timeout_seconds`)."""

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_every_point_is_in_mlflow_once(warm: Platform) -> None:
    done = warm.undisturbed
    wait_mirrored(warm.home, warm.client, done, warm.expected)
    assert sorted(spool_points(warm.home, done)) == sorted(warm.expected.items())
    assert next(c.step for c in warm.client.checkpoints(done.id)) == STEPS, "newest first"
    done = warm.client.task(done.id)
    artifacts = Path(done.artifact_uri or "")
    assert artifacts.is_relative_to(warm.home.files), "a plain folder: training writes there itself"
    assert done.mlflow_run_id in artifacts.parts, "the run's own artifact folder"
    assert (artifacts / "checkpoints" / f"checkpoint-{STEPS}" / "manifest.json").is_file()


def test_a_warm_runner_has_done_its_imports_before(warm: Platform) -> None:
    (imports,) = seconds_of_imports(warm.client, warm.undisturbed)
    assert imports < 1


def test_a_killed_worker_is_replaced_by_a_cold_one_and_goes_on_exactly(warm: Platform) -> None:
    """A cold one computes what a warm one computes, too."""
    client, task = warm.client, warm.submit()
    with held(warm.home, task, has_saved) as trainer:
        trainer.kill()
    done = completed(client, task)
    assert done.attempt == 1, "the driver starts another worker by itself"
    assert warm.losses(task) == warm.expected
    starts = starts_of(client, task)
    assert [start.restart for start in starts] == [0, 1]
    assert starts[1].step >= 25, "it resumed, it did not begin again"
    of_warm, of_cold = seconds_of_imports(client, task)
    assert of_warm < 1 < of_cold


def test_an_api_that_is_away_longer_than_a_job_may_be_silent_loses_nothing(warm: Platform) -> None:
    """The task even ends while nobody listens: its driver waits until every point has arrived."""
    client, task = warm.client, warm.submit()
    supervisor = psutil.Process(read_record(warm.home).supervisor.pid)
    api = read_record(warm.home).parts["api"].pid
    assert api is not None
    try:
        with held(warm.home, task, at_step(3)):
            supervisor.suspend()  # it would bring the API back at once
            os.kill(api, signal.SIGKILL)
        away_until = time.monotonic() + AWAY_SECONDS
        wait_until(lambda: len(spool_points(warm.home, task)) == STEPS, 120, "training, unmoved")
        time.sleep(max(0.0, away_until - time.monotonic()))
    finally:
        supervisor.resume()
    wait_until(lambda: answers(client), 90, "the API's return")
    done = completed(client, task)
    assert done.attempt == 1
    assert warm.losses(task) == warm.expected
    wait_mirrored(warm.home, client, task, warm.expected)


def answers(client: Client) -> bool:
    try:
        client.system()
    except TunesmithError:
        return False
    return True


def test_a_stop_reaches_its_job_while_the_api_is_dead(warm: Platform) -> None:
    """The API is killed as soon as it has accepted the stop, and nobody brings it back: no step begins 5 s later."""
    client, task = warm.client, warm.submit(max_steps=ENDLESS, save_steps=1000)
    wait_step(client, task, 3)
    supervisor = psutil.Process(read_record(warm.home).supervisor.pid)
    api = read_record(warm.home).parts["api"].pid
    assert api is not None
    spool = warm.home.work / task.id / "spool-1.jsonl"
    supervisor.suspend()  # it would bring the API back at once
    try:
        client.stop_task(task.id)
        accepted = time.time()
        os.kill(api, signal.SIGKILL)
        wait_until(lambda: '"kind":"finished"' in spool.read_text(), 90, "the job's last word")
    finally:
        supervisor.resume()
    stepped = [json.loads(line) for line in spool.read_text().splitlines() if '"kind":"metrics"' in line]
    assert dt.datetime.fromisoformat(stepped[-1]["time"]).timestamp() - accepted < 5
    wait_until(lambda: answers(client), 90, "the API's return")
    stopped = client.wait(task.id, timeout=90)
    assert (stopped.state, stopped.reason) == (State.STOPPED, Reason.STOPPED_BY_USER)
    (checkpoint,) = client.checkpoints(task.id)
    assert checkpoint.step == stepped[-1]["payload"]["step"], "the step under way was the last one"


def test_a_stop_while_it_saves_leaves_no_process(warm: Platform) -> None:
    client, task = warm.client, warm.submit(max_steps=ENDLESS, save_steps=1)
    wait_step(client, task, 2)
    client.stop_task(task.id)
    stopped = client.wait(task.id, timeout=90)
    assert stopped.state is State.STOPPED, stopped.message
    assert job_processes(task.id) == []


def test_a_stopped_task_leaves_no_process_and_is_continued_exactly_in_a_new_runner(warm: Platform) -> None:
    """The user stops it, and lets it go on: one task, one log, the losses of a run that nothing happened to."""
    client, task = warm.client, warm.submit(save_steps=STEPS)
    with held(warm.home, task, at_step(20)) as trainer:
        client.stop_task(task.id)
    stopped = client.wait(task.id, timeout=90)
    assert stopped.state is State.STOPPED, stopped.message
    assert not trainer.is_running()
    assert find_trainer(task.id) is None
    assert len(client.checkpoints(task.id)) == 1, "it saved before it left"
    wait_warm(client)
    going = client.continue_task(task.id)
    assert (going.state, going.id) == (State.PENDING, task.id)
    done = completed(client, task)
    assert (done.attempt, done.artifact_uri) == (2, stopped.artifact_uri)
    assert warm.losses(task) == warm.expected
    starts = starts_of(client, task)
    assert [start.step for start in starts] == [0, stopped.progress.step], "at the step it was stopped at"
    assert all(seconds < 1 for seconds in seconds_of_imports(client, task)), "each in a warm runner"
    wait_mirrored(warm.home, client, task, warm.expected)


def test_bad_data_is_refused_at_submit(warm: Platform) -> None:
    file = warm.folder / "broken.jsonl"
    file.write_text('{"messages": [{"role": "user", "content": "x"}]}\n{"messages": [\n')
    with pytest.raises(InvalidInput) as refused:
        submit_short(warm.client, warm.model, file, STEPS)
    places = [problem.field or "" for problem in refused.value.problems]
    assert any("broken.jsonl:1" in place for place in places)
    assert any("broken.jsonl:2" in place for place in places)
    with pytest.raises(InvalidInput):
        submit_short(warm.client, warm.model, Path("/etc/passwd"), STEPS)


def test_the_cli_shows_a_task(warm: Platform) -> None:
    assert warm.undisturbed.state is State.COMPLETED
    environment = {**os.environ, "TUNESMITH_HOME": str(warm.home.root), "COLUMNS": "100"}
    tunesmith = Path(sys.executable).parent / "tunesmith"

    def output(*words: str) -> str:
        done = subprocess.run(
            [tunesmith, *words], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert "completed" in output("tasks", "list", "--state", "completed")
    assert json.loads(output("status", "--json"))["supervised"]
