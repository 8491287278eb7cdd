"""Two nodes of Ray under one platform: a task over both, one of them lost, and the head lost."""

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from live_platform import Platform, platform_up
from second_node import SecondNode, nodes_of, second_node
from short_tasks import (
    ENDLESS,
    STEPS,
    completed,
    job_processes,
    starts_of,
    stop_all,
    submit_short,
    trainer_of,
    wait_saved,
    wait_step,
)
from waiting import wait_until

from tunesmith.job import AttemptDocument
from tunesmith.lifecycle import State
from tunesmith.processes import DONE, ProcessRecord
from tunesmith.spec.task import new_task
from tunesmith.views import TaskView
from tunesmith_platform.embedded.record import read_record

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
    wait_until(lambda: nodes_of(platform.home) == 1, 60, "Ray's count of its nodes")
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


FAR = {"far": 1.0}
"""What only the second node has: a task that asks for it works there, and not where its driver is."""


def test_the_head_lost_is_a_new_cluster_and_a_new_attempt(platform: Platform) -> None:
    client, log = platform.client, platform.folder / "far-node.log"
    with second_node(platform.home, log, FAR) as far:
        task = submit_short(
            client,
            platform.model,
            platform.rows,
            ENDLESS,
            num_workers=1,
            resources_per_worker={"CPU": 1} | FAR,
        )
        wait_saved(client, task)
        lost = trainer_of(task.id)
        assert lost in far.processes()
        document = _document(platform, task, 1)
        _as_on_another_machine(platform, task)
        far.cut_off()  # else it ends its workers once it hears of the head's end
        head = psutil.Process(read_record(platform.home).parts["ray"].pid)
        for process in [head, *head.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        wait_until(lambda: client.task(task.id).attempt == 2, 240, "another attempt", every=0.05)
        assert lost.is_running(), "the worker of the attempt before outlived its head"
        assert _report(document, "said by the attempt that was lost").status_code == 409
        # The same answer tells the worker, which leaves by itself; its process is Ray's to end.
        wait_until(lambda: any(_records(platform, task, DONE)), 120, "the end of its work")
        with second_node(platform.home, log, FAR):
            wait_until(lambda: len(starts_of(client, task)) == 2, 240, "its training on the new cluster")
            again = starts_of(client, task)[-1]
            assert again.step >= 25, "it resumed, it did not begin again"
            wait_step(client, task, again.step + 30)
            stop_all(client)
    done = client.task(task.id)
    assert (done.state, done.attempt) == (State.STOPPED, 2)
    steps = [point.step for point in client.metrics(task.id).series["loss"]]
    assert steps == list(range(1, done.progress.step + 1)), "each step once"
    attempts = [event.attempt for event in client.events(task.id)]
    assert attempts == sorted(attempts), "nothing of the first one came after the second had begun"
    assert not any("said by the attempt" in line.message for line in client.logs(task.id))
    assert job_processes(task.id) == [], "also of the attempt that lost its head"
    late = _report(document, "later still")
    assert late.status_code == 409
    assert late.json()["error"]["code"] == "stale_attempt"


def _as_on_another_machine(platform: Platform, task: TaskView) -> None:
    """Have the worker's record say so: the platform ends what an attempt leaves on the machine that both are on."""
    (file,) = _records(platform, task, ".json")
    record = ProcessRecord.model_validate_json(file.read_bytes())
    file.write_text(record.model_copy(update={"boot": "of another machine"}).model_dump_json())


def _records(platform: Platform, task: TaskView, suffix: str) -> list[Path]:
    return list((platform.home.work / task.id).glob(f"process-1-worker-0-*{suffix}"))


def _document(platform: Platform, task: TaskView, attempt: int) -> AttemptDocument:
    file = platform.home.files / "tasks" / task.id / f"attempt-{attempt}.json"
    return AttemptDocument.model_validate_json(file.read_bytes())


def _report(document: AttemptDocument, message: str) -> httpx.Response:
    """What a worker would say that outlived the end of its attempt."""
    payload = {"kind": "log", "source": "worker-0", "message": message}
    event = {"seq": 10_000, "time": "2026-11-30T00:00:00Z", "payload": payload}
    return httpx.post(
        f"{document.api_url}/v1/tasks/{document.task_id}/reports",
        content=json.dumps({"attempt": document.attempt, "events": [event]}),
        headers={"Authorization": f"Bearer {document.token}", "Content-Type": "application/json"},
        trust_env=False,
    )
