"""Two workers on the real Ray: the same losses as one, the tokens of the run before, and both seen at work."""

import json
from pathlib import Path
from typing import Any

import pytest
from live_platform import Platform
from short_tasks import completed, starts_of, wait_warm

from tunesmith.client import Client
from tunesmith.spec.task import NewTrainTask
from tunesmith.views import TaskView

STEPS = 12

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def rows(warm: Platform) -> Path:
    """Dialogues of very different lengths: two workers never have as many trained tokens."""
    file = warm.folder / "uneven.jsonl"
    with file.open("w") as out:
        for i in range(24):
            out.write(
                json.dumps({"instruction": f"count to {i}", "output": "one more, " * (1 + i % 7)}) + "\n"
            )
    return file


def trained(warm: Platform, rows: Path, **spec: Any) -> TaskView:
    base = {
        "model_name_or_path": str(warm.model),
        "train_file": str(rows),
        "max_steps": STEPS,
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "lora_dropout": 0.0,
        "gradient_accumulation_steps": 1,
        "gradient_checkpointing": False,
        "resources_per_worker": {"CPU": 1},
    }
    return completed(warm.client, warm.client.create_task(NewTrainTask.model_validate({"spec": base | spec})))


def facts(client: Client, task: TaskView) -> dict[str, Any]:
    (started,) = starts_of(client, task)
    return started.facts


def test_two_workers_train_as_one_and_take_its_tokens(warm: Platform, rows: Path) -> None:
    client = warm.client
    wait_warm(client)
    one = trained(warm, rows, per_device_train_batch_size=4)
    two = trained(warm, rows, per_device_train_batch_size=2, num_workers=2)
    assert (facts(client, one)["token_cache"], facts(client, two)["token_cache"]) == ("filled", "used")
    of_one, of_two = (client.metrics(task.id).series for task in (one, two))
    assert [point.step for point in of_two["loss"]] == list(range(1, STEPS + 1)), "each step once"
    expected = [point.value for point in of_one["loss"]]
    assert [point.value for point in of_two["loss"]] == pytest.approx(expected, rel=1e-4)
    machines = client.metrics(two.id, ["system/"]).series
    of_second = "system/worker-1/cpu_utilization_percentage"
    assert {of_second, of_second.replace("worker-1/", "")} <= machines.keys()
