"""A task in a warm runner, on the real platform: it starts at once, and is in all else as any other."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from short_tasks import losses, submit_short, write_dialogues
from waiting import wait_until

from tunesmith.client import Client
from tunesmith.home import Home
from tunesmith.lifecycle import State
from tunesmith.views import TaskView

STEPS = 150

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("warm")


@pytest.fixture(scope="module")
def client(root: Path, tiny_model: Path) -> Iterator[Client]:
    """A platform with one warm runner, as `tunesmith up` makes it."""
    given = {"TUNESMITH_HOME": str(root / "home"), "TUNESMITH_WARM_RUNNERS": "1"}
    tunesmith = Path(sys.executable).parent / "tunesmith"
    write_dialogues(root / "rows.jsonl")
    allow = ["--allow", str(root), "--allow", str(tiny_model.parent)]
    subprocess.run([tunesmith, "up", *allow], env=os.environ | given, check=True, timeout=180)
    try:
        yield Client(home=Home(root / "home"))
    finally:
        subprocess.run([tunesmith, "down"], env=os.environ | given, check=True, timeout=120)


def submit_warm(client: Client, root: Path, tiny_model: Path, **spec: Any) -> TaskView:
    """Submit a task once a runner is warm."""
    wait_until(lambda: client.system().warm_runners == 1, 90, "a warm runner")
    return submit(client, root, tiny_model, **spec)


def submit(client: Client, root: Path, tiny_model: Path, **spec: Any) -> TaskView:
    return submit_short(client, tiny_model, root / "rows.jsonl", STEPS, **spec)


def trainer_of(task_id: str) -> psutil.Process | None:
    """The process that trains, while there is one: it holds the attempt's spool open."""
    for process in psutil.process_iter():
        try:
            if any(task_id in file.path and "spool" in file.path for file in process.open_files()):
                return process
        except psutil.Error:
            continue
    return None


def seconds_of_imports(client: Client, task: TaskView) -> list[float]:
    """One for each start of a worker."""
    events = [event.payload for event in client.events(task.id)]
    return [event.seconds for event in events if event.kind == "phase" and event.phase == "imports"]


@pytest.fixture(scope="module")
def undisturbed(client: Client, root: Path, tiny_model: Path) -> dict[int, float]:
    """The losses of a run in a warm runner that nothing happened to."""
    task = submit_warm(client, root, tiny_model)
    done = client.wait(task.id, timeout=120)
    assert done.state is State.COMPLETED, done.message
    (imports,) = seconds_of_imports(client, task)
    assert imports < 1, "they were done before"
    found = losses(client, task)
    assert sorted(found) == list(range(1, STEPS + 1))
    return found


def test_it_computes_what_a_cold_one_computes(
    live_home: Home, tiny_model: Path, undisturbed: dict[int, float]
) -> None:
    """On the platform of the other tests, which has no warm runner."""
    client, root = Client(home=live_home), live_home.root.parent
    write_dialogues(root / "rows.jsonl")
    task = submit(client, root, tiny_model)
    done = client.wait(task.id, timeout=180)
    assert done.state is State.COMPLETED, done.message
    (imports,) = seconds_of_imports(client, task)
    assert imports > 1, "it was cold"
    assert losses(client, task) == undisturbed


def test_a_killed_worker_is_replaced_by_a_cold_one_and_goes_on_exactly(
    client: Client, root: Path, tiny_model: Path, undisturbed: dict[int, float]
) -> None:
    task = submit_warm(client, root, tiny_model)
    wait_until(lambda: client.task(task.id).progress.step >= 40, 60, "step 40")
    trainer = trainer_of(task.id)
    assert trainer is not None
    trainer.kill()
    done = client.wait(task.id, timeout=120)
    assert done.state is State.COMPLETED, done.message
    assert done.attempt == 1, "the driver starts another worker by itself"
    assert losses(client, task) == undisturbed
    starts = [e.payload for e in client.events(task.id) if e.payload.kind == "training_started"]
    assert [start.restart for start in starts] == [0, 1]
    assert starts[1].step >= 25, "it resumed, it did not begin again"
    warm, cold = seconds_of_imports(client, task)
    assert warm < 1 < cold


def test_a_stop_leaves_no_process_and_the_next_task_gets_a_new_one(
    client: Client, root: Path, tiny_model: Path
) -> None:
    task = submit_warm(client, root, tiny_model, max_steps=100_000, save_steps=1000)
    wait_until(lambda: client.task(task.id).progress.step >= 2, 60, "step 2")
    trainer = trainer_of(task.id)
    assert trainer is not None
    client.stop_task(task.id)
    stopped = client.wait(task.id, timeout=30)
    assert stopped.state is State.STOPPED, stopped.message
    assert not trainer.is_running()
    assert trainer_of(task.id) is None
    assert len(client.checkpoints(task.id)) == 1, "it saved before it left"
    again = submit_warm(client, root, tiny_model, max_steps=3)
    assert client.wait(again.id, timeout=60).state is State.COMPLETED
    (imports,) = seconds_of_imports(client, again)
    assert imports < 1
