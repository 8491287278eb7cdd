"""The short path: a training in one call, in a script or a notebook."""

import datetime as dt
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fake_api import KEY, FakeApi

import tunesmith
from tunesmith import Client, FinishedTask, ModelTrainer, TrainingConfig, TrainingFailed, finetune, views
from tunesmith.client.datasets import Datasets
from tunesmith.client.monitoring import Monitoring
from tunesmith.client.series import Series
from tunesmith.client.tasks import Tasks
from tunesmith.errors import InvalidInput, NotFound, UnknownField
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


def test_progress_is_shown_and_in_a_script_beside_its_output(
    api: TrainingApi, capsys: pytest.CaptureFixture[str]
) -> None:
    finetune("m", "/t", progress=True)
    assert "checkpoint at step 5" in capsys.readouterr().out
    done = finetune("m", "/t")
    said = capsys.readouterr()
    assert said.out == ""
    assert f"Task `{done.name}` ({done.id}) is submitted." in said.err
    assert "checkpoint at step 5" in said.err
    finetune("m", "/t", progress=False)
    assert capsys.readouterr() == ("", "")


def test_what_there_is_shows_before_it_is_used() -> None:
    assert {"finetune", "Client", "TrainingConfig"} <= set(dir(tunesmith))
    known = inspect.signature(finetune).parameters
    assert list(known)[:3] == ["model", "train_file", "eval_file"]
    assert {"learning_rate", "num_train_epochs", "name", "tags"} <= known.keys()
    assert known["learning_rate"].annotation is float
    config = TrainingConfig(model="m")
    assert {"learning_rate", "lora_r", "r", "max_length"} <= set(dir(config))
    assert all(hasattr(config, name) for name in dir(config))


class Columns:
    """As a `datasets.Dataset`: its rows one after another, and what they hold."""

    features: ClassVar = {"text": "string"}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter([{"text": "a"}, {"text": "b"}])


@pytest.mark.parametrize("rows", [[{"text": "a"}, {"text": "b"}], Columns()])
def test_rows_themselves_become_a_data_set_once(
    api: TrainingApi, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, bytes] = {}

    def show(_: Any, name: str) -> None:
        if name not in kept:
            raise NotFound("none")

    def upload(_: Any, file: Path, name: str) -> None:
        assert name not in kept
        kept[name] = file.read_bytes()

    monkeypatch.setattr(Datasets, "show", show)
    monkeypatch.setattr(Datasets, "upload", upload)
    for done in (finetune("m", rows), _trained(rows)):
        spec = api.tasks[done.id].spec
        assert list(kept) == [spec["train_file"]]
        assert kept[spec["train_file"]] == b'{"text": "a"}\n{"text": "b"}\n'


def _trained(rows: Any) -> FinishedTask:
    trainer = ModelTrainer(TrainingConfig(model="m"))
    trainer.train(rows)
    assert trainer.task is not None
    return trainer.task


@pytest.mark.parametrize("value", [object(), float("nan"), dt.date(2026, 1, 1)])
def test_a_row_that_json_cannot_hold_is_refused_and_not_guessed(api: TrainingApi, value: object) -> None:
    with pytest.raises(InvalidInput, match="Row 2 is nothing that JSON holds"):
        finetune("m", [{"text": "a"}, {"text": value}])
    assert ("POST", "/v1/tasks") not in api.requests


def test_an_error_that_nobody_catches_ends_with_what_to_do(api: TrainingApi) -> None:
    with pytest.raises(InvalidInput) as caught:
        finetune("m")
    assert str(caught.value) == "train_file: It must be given. Give `train_file=...`."
    with pytest.raises(InvalidInput) as caught:
        finetune("m", "/t", learning_rate=7.0, num_train_epochs=-1)
    assert str(caught.value).startswith("2 things are wrong: ")
    assert "learning_rate: " in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(NotFound) as missing:
        Client().stop_task("nothing")
    assert str(missing.value) == "There is no task `nothing`."
    api.end = (State.FAILED, Reason.NUMERIC)
    with pytest.raises(TrainingFailed) as failed:
        finetune("m", "/t", progress=False)
    assert str(failed.value).endswith("Lower `learning_rate`.")


def test_every_call_on_a_task_takes_its_name(api: TrainingApi) -> None:
    done = finetune("m", "/t", name="ember", progress=False)
    client = Client()
    assert client.task("ember").id == done.id
    assert [one.step for one in client.checkpoints("ember")] == [
        one.step for one in client.checkpoints(done.id)
    ]
    assert client.metrics("ember") == client.metrics(done.id)
    assert [one.n for one in client.events("ember")] == [one.n for one in client.events(done.id)]
    assert [one.n for one in client.stream("ember")] == [one.n for one in client.stream(done.id)]
    assert client.update_task("ember", notes="x").notes == "x"


def test_no_call_on_a_task_takes_an_id_alone() -> None:
    for namespace in (Tasks, Series, Monitoring):
        for name, call in inspect.getmembers(namespace, inspect.isfunction):
            if not name.startswith("_"):
                assert not {"task_id", "task_ids"} & set(inspect.signature(call).parameters), name


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
