"""What trackers beside our own record hold, and that one that fails costs training nothing."""

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import training_run as tr

from tunesmith.availability import is_installed
from tunesmith.errors import InvalidInput
from tunesmith.events import Metrics, SampleAnswer, SamplesAnswered, TrainingStarted
from tunesmith.lifecycle import State
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.train.telemetry import trackers


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Everything in TensorBoard's event files: name -> step -> value."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, dict[int, float]] = {}
    for file in sorted(folder.glob("events.*")):
        data = file.read_bytes()
        while data:
            length = int.from_bytes(
                data[:8], "little"
            )  # a record: length, its checksum, the event, its checksum
            event = Event.FromString(data[12 : 12 + length])
            data = data[12 + length + 4 :]
            if event.HasField("session_log"):
                for steps in found.values():
                    for step in [step for step in steps if step >= event.step]:
                        del steps[step]
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_tensorboard_holds_the_same_curve_also_over_a_restart(tmp_path: Path, model: Path) -> None:
    given = {
        "report_to": ["mlflow", "tensorboard"],
        "eval_strategy": "steps",
        "eval_steps": 4,
        "eval_sampling_ratio": 0.1,
    }
    tr.run(tmp_path, model, stop_at=6, **given)
    assert tr.run(tmp_path, model, attempt=2, **given).outcome is State.COMPLETED
    found = scalars(tmp_path / "artifacts" / trackers.FOLDER)
    assert found["train/loss"] == pytest.approx(tr.losses(tmp_path, 1, 2), rel=1e-6)
    assert found["eval/loss"] == pytest.approx(tr.losses(tmp_path, 1, 2, name="eval_loss"), rel=1e-6)


def test_tensorboards_files_are_found_in_the_output_folder(tmp_path: Path, model: Path) -> None:
    output = tmp_path / "published"
    given = {"report_to": ["tensorboard"], "max_steps": 2, "output_dir": str(output)}
    assert tr.run(tmp_path, model, **given).outcome is State.COMPLETED
    assert sorted(scalars(output / trackers.SHOWN / "task-1")["train/loss"]) == [1, 2]
    assert scalars(output / trackers.SHOWN / "task-1") == scalars(tmp_path / "artifacts" / trackers.FOLDER)


@pytest.mark.parametrize("is_local", [True, False])
def test_what_stands_there_already_stays(tmp_path: Path, run: trackers.Run, is_local: bool) -> None:
    """A folder of the user's is added to at most, and a file of his ends the tracker alone."""
    place = tmp_path / "published" / trackers.SHOWN / "task-1"
    place.mkdir(parents=True)
    (place / "notes.txt").write_text("mine")
    uri = run.artifact_uri if is_local else f"file://{tmp_path}/elsewhere"
    told = dataclasses.replace(run, output_dir=tmp_path / "published", artifact_uri=uri)
    board = trackers.TensorBoard(told)
    board.start(0, {})
    board.write(1, {"loss": 1.0}, dt.datetime.now(dt.UTC))
    board.close()
    assert (place / "notes.txt").read_text() == "mine"


def test_tensorboard_shows_what_a_model_writes_as_it_is(tmp_path: Path, run: trackers.Run) -> None:
    board = trackers.TensorBoard(run)
    board.start(0, {})
    answer = SampleAnswer(prompt="# p", text="<b>t</b>\nu", finish_reason="stop")
    board.show(4, [answer], dt.datetime.now(dt.UTC))
    board.close()
    (file,) = (tmp_path / "artifacts" / trackers.FOLDER).glob("events.*")
    assert b"samples/1" in file.read_bytes()
    assert b"    # p\n\n---\n\n    <b>t</b>\n    u" in file.read_bytes()


def test_without_a_tracker_nothing_is_written(tmp_path: Path, model: Path) -> None:
    assert tr.run(tmp_path, model, max_steps=2, report_to=["none"]).outcome is State.COMPLETED
    assert not (tmp_path / "artifacts" / trackers.FOLDER).exists()


@pytest.mark.slow
def test_wandb_is_written_as_files_where_it_has_no_key(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    given = {"report_to": "wandb", "wandb_project": "trees", "wandb_name": "oak", "max_steps": 3}
    given |= {"sample_prompts": ["What is an oak?"], "sample_max_new_tokens": 4}
    assert tr.run(tmp_path, model, **given).outcome is State.COMPLETED
    assert [e for e in tr.events(tmp_path) if e["kind"] == "warning"] == []
    files = list((tmp_path / "artifacts" / "wandb").rglob("run-*.wandb"))
    assert len(files) == 1
    data = files[0].read_bytes()
    assert b"trees" in data
    assert b"oak" in data
    assert data.count(b"train/loss") >= 3
    (table,) = (tmp_path / "artifacts" / "wandb").rglob("samples_*.table.json")
    shown = json.loads(table.read_text())
    (answer,) = tr.kinds(tmp_path, "samples")[-1]["answers"]
    assert shown["data"] == [[3, "What is an oak?", answer["text"], answer["finish_reason"]]]


def test_wandb_gets_what_the_gpus_measure(run: trackers.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[dict[str, Any]] = []

    class Logs:
        def log(self, values: dict[str, Any], step: int) -> None:
            logged.append(values)

    sink = trackers.Wandb(run)
    sink._wandb = Logs()
    measured = {"gpu_0_utilization_percentage": 71.0, "gpu_0_memory_usage_megabytes": 4000.0}
    monkeypatch.setattr(sink._gpus, "values", lambda: measured)
    sink.write(1, {"loss": 1.0}, dt.datetime.now(dt.UTC))
    assert {name: logged[0][f"system/{name}"] for name in measured} == measured
    assert logged[0]["train/loss"] == 1.0


class Recorder:
    def __init__(self, run: trackers.Run) -> None:
        self.said: list[Any] = []

    def start(self, step: int, facts: Mapping[str, Any]) -> None:
        self.said.append(("start", step))

    def write(self, step: int, values: Mapping[str, float], moment: dt.datetime) -> None:
        self.said.append((step, dict(values)))

    def show(self, step: int, answers: Sequence[SampleAnswer], moment: dt.datetime) -> None:
        self.said.append((step, [one.text for one in answers]))

    def close(self) -> None:
        self.said.append("close")


class Broken(Recorder):
    def write(self, step: int, values: Mapping[str, float], moment: dt.datetime) -> None:
        raise OSError("the disk is full")


@pytest.fixture
def run(tmp_path: Path) -> trackers.Run:
    spec = TrainSpec.read(
        {"model_name_or_path": "/m", "train_file": "/t.jsonl", "report_to": ["tensorboard", "wandb"]}
    )
    return trackers.Run(spec, "task-1", "run", str(tmp_path / "artifacts"), tmp_path / "scratch")


def test_a_tracker_that_fails_is_left_out_with_one_warning(
    tmp_path: Path, run: trackers.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Recorder] = []

    def recorder(run: trackers.Run) -> Recorder:
        kept.append(Recorder(run))
        return kept[0]

    monkeypatch.setattr(trackers, "SINKS", {"tensorboard": recorder, "wandb": Broken})
    tee = trackers.Tee(tr.FileOutlet(tmp_path / "events-1.jsonl"), run)
    tee.emit(TrainingStarted(step=0, total_steps=2))
    for step in (1, 2):
        tee.emit(Metrics(step=step, values={"loss": 1.0}))
    answer = SampleAnswer(prompt="p", text="t", finish_reason="stop")
    tee.emit(SamplesAnswered(step=2, answers=[answer]))
    tee.close()
    assert kept[0].said == [("start", 0), (1, {"loss": 1.0}), (2, {"loss": 1.0}), (2, ["t"]), "close"]
    said = tr.events(tmp_path)
    assert [e["kind"] for e in said].count("metrics") == 2
    warnings = [e for e in said if e["kind"] == "warning"]
    assert [w["code"] for w in warnings] == ["tracker_failed"]
    assert "the disk is full" in json.dumps(warnings)


def test_a_tracker_whose_package_is_absent_is_refused(
    tmp_path: Path, run: trackers.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tunesmith.availability.is_installed", lambda name: name != "wandb" and is_installed(name)
    )
    with pytest.raises(InvalidInput, match="wandb") as caught:
        trackers.Tee(tr.FileOutlet(tmp_path / "events-1.jsonl"), run)
    assert "tunesmith[trackers]" in (caught.value.hint or "")
