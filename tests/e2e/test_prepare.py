"""What a user does before and between starts, on the real platform: each promise with a run that keeps it."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from short_tasks import at_step, held, wait_warm

import tunesmith
from tunesmith.client import Client
from tunesmith.errors import QuotaExceeded
from tunesmith.estimate import EstimateView
from tunesmith.home import Home
from tunesmith.lifecycle import Reason, State
from tunesmith.sdk import FinishedTask
from tunesmith.spec.task import NewTrainTask

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def client(warm_home: Home) -> Iterator[Client]:
    before = os.environ.get("TUNESMITH_HOME")
    os.environ["TUNESMITH_HOME"] = str(warm_home.root)
    yield Client()
    if before is None:
        os.environ.pop("TUNESMITH_HOME", None)
    else:
        os.environ["TUNESMITH_HOME"] = before


@pytest.fixture(scope="module")
def files(warm_home: Home) -> dict[str, str]:
    """A small file of each kind of row, inside an allowed root."""
    folder = warm_home.root.parent / "prepare"
    folder.mkdir()
    rows: dict[str, list[dict[str, Any]]] = {
        "chat": [
            {"messages": [{"role": "user", "content": f"{i} + {i}?"}, {"role": "assistant", "content": f"{i + i}."}]}
            for i in range(40)
        ],
        "text": [{"text": f"Once upon a time there were {i} small models that wanted to learn."} for i in range(40)],
        "labels": [{"text": f"the answer is {i}", "label": "even" if i % 2 == 0 else "odd"} for i in range(40)],
    }  # fmt: skip
    for name, items in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    return {name: str(folder / f"{name}.jsonl") for name in rows}


def spec(tiny_model: Path, train_file: str, **more: Any) -> dict[str, Any]:
    return {
        "model_name_or_path": str(tiny_model),
        "train_file": train_file,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "max_length": 128,
        "logging_steps": 1,
        "gradient_checkpointing": False,
    } | more


def run(client: Client, **given: Any) -> tunesmith.views.TaskView:
    wait_warm(client)
    task = client.create_task(NewTrainTask.model_validate({"spec": given}))
    return client.wait(task.id, timeout=180)


def test_the_environment_is_fit(client: Client) -> None:
    found = client.environment()
    assert found.ok, [check for check in found.checks if check.status != "ok"]
    assert {"ray", "mlflow"} <= {check.name for check in found.checks}


@pytest.fixture(scope="module")
def short(client: Client, tiny_model: Path, files: dict[str, str]) -> tuple[EstimateView, FinishedTask]:
    """What was estimated of a run on the short path, and what came of it."""
    parameters = spec(
        tiny_model, files["chat"], num_train_epochs=2, save_steps=8, eval_steps=10, learning_rate=1e-2
    )
    estimate = client.estimate(parameters | {"eval_file": files["chat"], "eval_strategy": "steps"})
    model, train_file = parameters.pop("model_name_or_path"), parameters.pop("train_file")
    wait_warm(client)
    done = tunesmith.finetune(model, train_file, files["chat"], client=client, progress=False, **parameters)
    return estimate, done


def test_the_short_path_returns_the_final_checkpoint(
    client: Client, short: tuple[EstimateView, FinishedTask]
) -> None:
    """The estimate says beforehand what the run then takes."""
    estimate, done = short
    assert done.checkpoint is not None
    assert (Path(done.checkpoint) / "adapter_model.safetensors").is_file()
    assert done.metrics["eval_loss"] > 0
    assert done.task.progress.step == estimate.steps.total_steps == 20
    assert len(client.checkpoints(done.id)) == estimate.steps.checkpoints == 3


def test_a_measured_estimate_takes_two_real_steps_on_ray(
    client: Client, tiny_model: Path, files: dict[str, str]
) -> None:
    wanted = spec(tiny_model, files["chat"])
    found = client.estimate(wanted, measure=True)
    assert found.measurement is not None
    until = time.monotonic() + 150
    while found.measurement.state not in ("done", "failed") and time.monotonic() < until:
        time.sleep(1)
        found = client.estimation(found.measurement.id)
    assert found.measurement.state == "done", found.measurement
    assert found.level == "measured"
    assert client.estimate(wanted, measure=True).level == "measured", "kept: it is not measured again"


@pytest.mark.parametrize(
    ("rows", "more", "metric"),
    [
        pytest.param(
            "text", {"training_type": "pretrain", "max_steps": 6}, "eval_perplexity", marks=pytest.mark.long
        ),
        ("labels", {"training_type": "classification", "max_steps": 6}, "eval_accuracy"),
        pytest.param(
            "chat",
            {"packing": True, "use_lora": False, "max_steps": 6, "optim": "adafactor"},
            "eval_loss",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "chat",
            {"use_dora": True, "merge_lora_after_training": True, "max_steps": 6},
            "eval_loss",
            marks=pytest.mark.long,  # `test_saved_is_trained` merges DoRA's, and the guide's pages train on chats
        ),
    ],
    ids=["pretrain", "classification", "packed-full", "dora-merged"],
)
def test_every_training_type_runs_to_its_final_model(
    client: Client, tiny_model: Path, files: dict[str, str], rows: str, more: dict[str, Any], metric: str
) -> None:
    done = run(client, **spec(tiny_model, files[rows], eval_file=files[rows], eval_strategy="epoch", **more))
    assert done.state is State.COMPLETED, done.message
    assert metric in client.metrics(done.id).series
    assert list(Path(done.model_uri or "").glob("*.safetensors"))


def test_a_new_stage_starts_from_the_weights_at_step_0(
    client: Client, short: tuple[EstimateView, FinishedTask]
) -> None:
    first = short[1].task
    wait_warm(client)
    second = client.wait(client.new_stage(first.id, {"max_steps": 5}).id, timeout=180)
    assert second.state is State.COMPLETED, second.message
    before, after = (client.metrics(task.id).series["loss"] for task in (first, second))
    assert after[0].step == 1
    assert after[0].value < before[0].value, "it goes on from what was learned"


def test_a_quota_that_runs_out_saves_then_stops_and_goes_on_after_a_grant(
    client: Client, warm_home: Home, tiny_model: Path, files: dict[str, str]
) -> None:
    client.quota.change("small", enabled=True)
    client.quota.grant(3, "small", note="three checkpoints")
    wanted = spec(tiny_model, files["chat"], save_steps=15, max_steps=120)
    with pytest.raises(QuotaExceeded) as refused:
        client.create_task(NewTrainTask.model_validate({"spec": wanted, "project": "small"}))
    assert "8" in refused.value.message
    client.quota.grant(5, "small")
    wait_warm(client)
    task = client.create_task(NewTrainTask.model_validate({"spec": wanted, "project": "small"}))
    with held(warm_home, task, at_step(1)):
        client.quota.grant(-5, "small", note="taken away again")
    stopped = client.wait(task.id, timeout=180)
    assert (stopped.state, stopped.reason) == (State.STOPPED, Reason.QUOTA), stopped.message
    saved = len(client.checkpoints(task.id))
    assert client.quota.show("small").charged == saved
    client.quota.grant(8, "small")
    wait_warm(client)
    done = client.wait(client.continue_task(task.id).id, timeout=180)
    assert done.state is State.COMPLETED, done.message
    assert {point.step for point in client.metrics(task.id).series["loss"]} == set(range(1, 121))
