"""The short path: a training in one call, in a script or a notebook."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_api import KEY, FakeApi

from tunesmith import Client, ModelTrainer, TrainingConfig, TrainingFailed, finetune, views
from tunesmith.errors import InvalidInput, UnknownField
from tunesmith.lifecycle import Reason, State


class TrainingApi(FakeApi):
    """Every task that it is sent trains at once, and ends as the test wants."""

    end = (State.COMPLETED, Reason.COMPLETED)

    def create(self, body: dict[str, Any], key: str | None) -> tuple[views.TaskView, int]:
        task, status = super().create(body, key)
        for step in (2, 5):
            saved = {"step": step, "uri": f"file:///files/{task.id}/checkpoint-{step}"}
            saved |= {"bytes": 1, "files": 1, "manifest_sha256": "0" * 64}
            self.append(task.id, {"kind": "checkpoint", **saved})
        self.run_to(task.id, *self.end)
        change = {"model_uri": f"file:///files/{task.id}/model", "next_step": "Lower `learning_rate`."}
        self.tasks[task.id] = self.tasks[task.id].model_copy(update=change)
        return self.tasks[task.id], status


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[TrainingApi]:
    with TrainingApi() as server:
        monkeypatch.setenv("TUNESMITH_URL", server.url)
        monkeypatch.setenv("TUNESMITH_API_KEY", KEY)
        yield server


def test_finetune_returns_the_finished_task(
    api: TrainingApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = finetune(
        model="m", train_file="t.jsonl", eval_file=Path("e.jsonl"), lora_r=8, name="ember", tags=["a"]
    )
    assert (done.name, done.task.tags) == ("ember", ["a"])
    assert done.checkpoint == f"/files/{done.id}/checkpoint-5"
    assert done.model_path == f"/files/{done.id}/model"
    assert done.metrics["loss"] == pytest.approx(3 / 5)
    spec = api.tasks[done.id].spec
    assert (spec["train_file"], spec["eval_file"]) == (str(tmp_path / "t.jsonl"), str(tmp_path / "e.jsonl"))
    assert (spec["r"], spec["eval_strategy"]) == (8, "steps"), "rows to evaluate are evaluated"


def test_what_is_said_of_evaluation_counts(api: TrainingApi) -> None:
    done = finetune("m", "/t", "/e", evaluation_strategy="epoch", client=Client())
    assert api.tasks[done.id].spec["eval_strategy"] == "epoch"
    done = finetune("m", "/t")
    assert api.tasks[done.id].spec["eval_strategy"] == "no"


def test_progress_is_shown_if_asked_for(api: TrainingApi, capsys: pytest.CaptureFixture[str]) -> None:
    finetune("m", "/t", progress=True)
    assert "checkpoint at step 5" in capsys.readouterr().out
    finetune("m", "/t")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("end", "word"),
    [((State.FAILED, Reason.NUMERIC), "failed"), ((State.STOPPED, Reason.STOPPED_BY_USER), "stopped")],
)
def test_what_does_not_complete_is_an_error(api: TrainingApi, end: tuple[State, Reason], word: str) -> None:
    api.end = end
    with pytest.raises(TrainingFailed, match=f"is {word}") as caught:
        finetune("m", "/t")
    assert caught.value.hint == "Lower `learning_rate`."
    assert caught.value.task.id in caught.value.message


def test_wrong_parameters_reach_no_server(api: TrainingApi) -> None:
    with pytest.raises(InvalidInput, match="train_file: It must be given") as caught:
        finetune("m")
    assert caught.value.hint == "Give `train_file=...`."
    with pytest.raises(UnknownField) as unknown:
        finetune("m", "/t", lerning_rate=1)
    assert unknown.value.hint == "Did you mean `learning_rate`?"
    assert api.requests == []


def test_simple_foundations_two_steps(api: TrainingApi) -> None:
    config = TrainingConfig(
        model_name_or_path="mistral",
        use_lora=True,
        load_in_4bit=True,
        num_train_epochs=3,
        early_stopping_patience=5,
    )
    trainer = ModelTrainer(config)
    checkpoint = trainer.train(train_file="/data/combined.json", eval_file="/data/validation.json")
    assert trainer.task is not None
    assert checkpoint == trainer.task.checkpoint == f"/files/{trainer.task.id}/checkpoint-5"
    spec = api.tasks[trainer.task.id].spec
    assert (spec["load_in_4bit"], spec["num_train_epochs"], spec["eval_strategy"]) == (True, 3, "steps")


def test_a_config_is_checked_when_made_and_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "default.json"
    file.write_text('{"model_name_or_path": "m", "max_seq_length": 2048, "learning_rate": 2e-5, "name": "n"}')
    config = TrainingConfig.from_file(file, lora_alpha=32, max_length=1024)
    assert (config.max_length, config.max_seq_length, config.learning_rate) == (1024, 1024, 2e-5)
    assert (config.lora_alpha, config.r) == (32, 16)
    with pytest.raises(AttributeError, match="no parameter `rank`"):
        config.rank  # noqa: B018
    with pytest.raises(InvalidInput, match="learning_rate"):
        TrainingConfig(model="m", learning_rate=3)
    with pytest.raises(InvalidInput, match="exclude each other"):
        TrainingConfig(model="m", bf16=True, fp16=True)
