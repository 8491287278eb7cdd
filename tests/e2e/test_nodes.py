"""Two nodes of Ray under one platform: a task over both, and one of them lost. The results are those of one node."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_platform import Platform, platform_up
from second_node import SecondNode, nodes_of, second_node
from short_tasks import STEPS, completed, starts_of, wait_saved, wait_step
from waiting import wait_until

from tunesmith.lifecycle import State
from tunesmith.spec.task import new_task
from tunesmith.views import TaskView

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.long]

ELASTIC: dict[str, Any] = {
    "num_workers": "1:2", "resources_per_worker": {"CPU": 1}, "placement": "spread", "lora_dropout": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Platform]:
    """A platform whose Ray has one CPU on its own node."""
    root = tmp_path_factory.mktemp("nodes")
    with platform_up(root, tiny_model, 0, ["--ray-cpus", "1"]) as home:
        yield Platform(home, tiny_model, is_warm=False)


@pytest.fixture(scope="module")
def alone(platform: Platform) -> TaskView:
    """The task on one node, before another has joined."""
    assert nodes_of(platform.home) == 1
    return completed(platform.client, platform.submit(**ELASTIC))


@pytest.fixture
def other(platform: Platform, alone: TaskView) -> Iterator[SecondNode]:
    with second_node(platform.home, platform.folder / "second-node.log") as node:
        yield node


def on_both(platform: Platform, other: SecondNode, task: TaskView) -> None:
    """Wait until a task trains on both nodes, and has a checkpoint and some steps beyond it."""
    wait_until(
        lambda: any("RayTrainWorker" in name for name in other.works()), 240, "a worker on the second node"
    )
    wait_saved(platform.client, task)
    wait_step(platform.client, task, platform.client.task(task.id).progress.step + 2)


def same_curve(platform: Platform, task: TaskView, alone: TaskView) -> None:
    """Each step once, and the losses of the run on one node: its batches are the same."""
    found, expected = platform.losses(task), platform.losses(alone)
    assert sorted(found) == list(range(1, STEPS + 1))
    assert found == pytest.approx(expected, rel=2e-3)


def test_an_evaluation_is_spread_over_both_nodes(
    platform: Platform, other: SecondNode, alone: TaskView
) -> None:
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            seen.update(other.works())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        asked = {"task_id": alone.id, "sample_file": str(platform.rows), "max_new_tokens": 8}
        task = platform.client.create_task(new_task("evaluate", asked))
        done = platform.client.wait(task.id, timeout=300)
    finally:
        over.set()
        looking.join()
    assert done.state is State.COMPLETED, done.message
    assert seen, "nothing of it ran on the second node"


def test_a_task_over_both_nodes_goes_on_when_one_is_lost(
    platform: Platform, other: SecondNode, alone: TaskView
) -> None:
    task = platform.submit(**ELASTIC)
    on_both(platform, other, task)
    other.kill()
    done = completed(platform.client, task)
    assert done.attempt == 1, "its driver starts the workers again where there is room"
    starts = starts_of(platform.client, task)
    assert [start.step == 0 for start in starts] == [True, False], "it resumed, it did not begin again"
    same_curve(platform, task, alone)
