"""Workers that Ray Train starts for a task alone, on the real platform: stopped, told to leave, frozen, killed."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from live_platform import Platform
from nemesis.checker import Reference
from short_tasks import (
    ENDLESS,
    STEPS,
    at_step,
    completed,
    held,
    job_processes,
    starts_of,
    trainer_of,
    wait_step,
)
from waiting import wait_until

from tunesmith.artifacts import faults_of
from tunesmith.home import Home
from tunesmith.lifecycle import Reason, State
from tunesmith_platform.embedded.processes import ours

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def kill_all(home: Home) -> bool:
    """Kill what there is of a platform, also what another part began meanwhile; whether there was nothing left."""
    found = ours(home)
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return not found


# `training` is long. That such a stop leaves no process
# `test_a_stop_ends_a_frozen_worker_before_it_is_shown` shows here;
# that it saves, `test_a_stopped_task_leaves_no_process_and_is_continued_exactly_in_a_new_runner` on the warm platform
# and, of a worker that Ray Train started, `test_a_driver_that_is_told_to_leave_leaves_a_checkpoint`.
@pytest.mark.parametrize("moment", ["pending", "starting", pytest.param("training", marks=pytest.mark.long)])
def test_a_stop_leaves_no_process_and_saves_what_was_trained(cold: Platform, moment: str) -> None:
    client, task = cold.client, cold.submit(max_steps=ENDLESS, save_steps=1000)
    if moment == "starting":
        wait_until(lambda: bool(job_processes(task.id)), 240, "the driver", every=0.2)
    if moment == "training":
        wait_step(client, task, 2)
    client.stop_task(task.id)
    stopped = client.wait(task.id, timeout=90)
    assert stopped.state is State.STOPPED, stopped.message
    assert job_processes(task.id) == []
    if moment == "training":
        assert stopped.reason is Reason.STOPPED_BY_USER
        (checkpoint,) = client.checkpoints(task.id)
        assert checkpoint.step >= 2
        assert (Path(checkpoint.uri) / "optimizer.safetensors").is_file()
        assert not faults_of(Path(checkpoint.uri))


def test_a_stop_ends_a_frozen_worker_before_it_is_shown(cold: Platform) -> None:
    """A stopped process hears of nothing, and Ray calls its actor dead all the same."""
    client, task = cold.client, cold.submit(max_steps=ENDLESS, save_steps=1000)
    wait_step(client, task, 2)
    trainer = trainer_of(task.id)
    trainer.suspend()
    client.stop_task(task.id)
    stopped = client.wait(task.id, timeout=90)
    assert not trainer.is_running()
    assert stopped.state is State.STOPPED, stopped.message
    assert job_processes(task.id) == []


def test_a_worker_that_is_told_to_leave_saves_and_up_after_everything_was_killed_takes_its_task_up_again(
    cold: Platform, shell_environment: dict[str, str], left_alone: Reference
) -> None:
    """SIGTERM, as a machine says that it is reclaimed; then a power cut, and no part has a moment to say goodbye.

    No step is lost that has no checkpoint yet, and the curve is that of the task that nothing happens to. The last test
    here: all parts are new after it.
    """
    client, task = cold.client, cold.submit(save_steps=STEPS)
    with held(cold.home, task, at_step(20)) as trainer:
        trainer.terminate()
    wait_until(lambda: len(starts_of(client, task)) == 2, 240, "another attempt", every=0.2)
    told_at = starts_of(client, task)[1].step
    assert 20 <= told_at < STEPS, "it resumed at the step that it was told at"
    with held(cold.home, task, at_step(told_at + 1), attempt=2):
        wait_until(lambda: kill_all(cold.home), 30, "the death of all")
    environment = os.environ | shell_environment | {"TUNESMITH_HOME": str(cold.home.root), "COLUMNS": "200"}
    up = subprocess.run(
        [Path(sys.executable).parent / "tunesmith", "up"],
        env=environment | {"TUNESMITH_WARM_RUNNERS": "0"},
        capture_output=True, text=True, check=True, timeout=180,
    )  # fmt: skip
    assert task.id in up.stdout + up.stderr, "it tells which tasks it takes up"
    done = completed(client, task)
    assert done.attempt == 3
    assert [start.step for start in starts_of(client, task)] == [0, told_at, told_at], (
        "it did not begin again"
    )
    assert cold.losses(task) == left_alone.losses
