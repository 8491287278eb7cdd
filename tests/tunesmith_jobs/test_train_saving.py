"""When checkpoints are saved, which are kept, which is the best, when training ends early, and what is gone on from."""

import dataclasses
import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import training_run as tr
from training_run import kinds, saved, stored

from tunesmith.artifacts import faults_of
from tunesmith.errors import InvalidInput
from tunesmith.lifecycle import Reason, State

pytestmark = pytest.mark.usefixtures("one_thread")


def scripted(monkeypatch: pytest.MonkeyPatch, values: dict[int, float]) -> None:
    """Let evaluations measure what is given for their step."""
    from tunesmith_jobs.train.run.trainer import TuneTrainer

    def evaluate(self: Any, *_: Any, **__: Any) -> dict[str, float]:
        loss = values[self.state.global_step]
        found = {"eval_loss": loss, "eval_perplexity": math.exp(loss)}
        self.report(found)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found

    monkeypatch.setattr(TuneTrainer, "evaluate", evaluate)


EVALUATED = {"eval_strategy": "steps", "eval_steps": 2, "eval_sampling_ratio": 0.1}
FALLS_THEN_RISES = {0: 9.0, 2: 3.0, 4: 2.0, 6: 2.1, 8: 2.05, 10: 1.0, 12: 1.5}


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ({"save_strategy": "steps", "save_steps": 5}, [5, 10, 12]),
        ({"save_strategy": "epoch"}, [6, 12]),
        ({"save_strategy": "no"}, [12]),
        ({"save_strategy": "steps", "save_steps": 5, "save_at": 7}, [5, 8, 10, 12]),  # heard after step 8
        ({"save_strategy": "no", "save_at": 7}, [8, 12]),
    ],
)
def test_checkpoints_are_saved_when_they_are_due(
    tmp_path: Path, model: Path, given: dict[str, Any], steps: list[int]
) -> None:
    assert tr.run(tmp_path, model, **given).outcome is State.COMPLETED
    assert saved(tmp_path) == steps
    assert not any(event["best"] for event in kinds(tmp_path, "checkpoint"))


def test_the_clock_asks_for_a_checkpoint_too(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith_jobs.train.run import callbacks

    class Minutes:
        """A minute goes by at every look."""

        now = time.perf_counter()

        def perf_counter(self) -> float:
            self.now += 60.0
            return self.now

    monkeypatch.setattr(callbacks, "time", Minutes())
    more = {"save_steps": 100, "max_steps": 6}
    assert tr.run(tmp_path, model, save_interval_minutes=2, **more).outcome is State.COMPLETED
    often = saved(tmp_path)
    assert len(often) > 2
    assert tr.run(tmp_path, model, attempt=2, save_interval_minutes=0, max_steps=8).outcome is State.COMPLETED
    assert saved(tmp_path, 2) == [8]


def test_best_saves_only_what_is_better(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, FALLS_THEN_RISES)
    assert tr.run(tmp_path, model, save_strategy="best", **EVALUATED).outcome is State.COMPLETED
    assert saved(tmp_path) == [2, 4, 10, 12]
    assert [event["step"] for event in kinds(tmp_path, "checkpoint") if event["best"]] == [2, 4, 10]


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"save_total_limit": 1}, [4, 12]),  # the best and the newest
        ({"save_total_limit": 2}, [4, 12]),
        ({"save_total_limit": 3}, [4, 10, 12]),
        ({"save_total_limit": 2, "pinned": [2, 6]}, [2, 4, 6, 12]),
        ({"save_total_limit": 1, "pinned": None}, [2, 4, 6, 8, 10, 12]),  # not heard of yet
    ],
)
def test_the_best_and_the_pinned_are_kept(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], left: list[int]
) -> None:
    scripted(monkeypatch, FALLS_THEN_RISES | {10: 2.2, 12: 2.3})
    assert tr.run(tmp_path, model, save_steps=2, **EVALUATED, **given).outcome is State.COMPLETED
    assert stored(tmp_path) == left
    gone = {event["step"] for event in kinds(tmp_path, "checkpoint_removed")}
    assert gone == {2, 4, 6, 8, 10, 12} - set(left)


@pytest.mark.parametrize(
    "given", [{}, {"eval_strategy": "steps", "eval_steps": 2, "eval_sampling_ratio": 0.25}]
)
def test_training_ends_when_the_platform_knows_of_no_improvement(
    tmp_path: Path, model: Path, given: dict[str, Any]
) -> None:
    """What judges, scores of checkpoints, is no metric of the run: it is not looked for among those that are."""
    scored = {
        "evaluate_checkpoints": True,
        "metric_for_best_model": "composite",
        "early_stopping_patience": 1,
    }
    outcome = tr.run(tmp_path, model, save_steps=4, end_at=5, **scored, **given)
    assert (outcome.outcome, outcome.reason) == (State.COMPLETED, Reason.COMPLETED), outcome
    assert outcome.message == "Early stopping by composite. Trained 6 steps."
    assert saved(tmp_path) == [4, 6]
    assert max(tr.losses(tmp_path)) == 6
    assert not faults_of(tmp_path / "artifacts" / "model")
    last = kinds(tmp_path, "progress")[-1]
    assert (last["step"], last["seconds_left"]) == (6, 0.0)
    assert not any(event["best"] for event in kinds(tmp_path, "checkpoint"))


def test_nothing_is_removed_while_the_newest_is_not_whole(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith_jobs.artifact_store import ArtifactStore

    monkeypatch.setattr(ArtifactStore, "is_whole", lambda self, step, manifest: step != 12)
    assert tr.run(tmp_path, model, save_steps=4, save_total_limit=1).outcome is State.COMPLETED
    assert stored(tmp_path) == [8, 12]


@pytest.mark.parametrize(
    ("given", "last", "words"),
    [
        ({"early_stopping_patience": 1}, 6, "it was 2; evaluations since then: 1."),
        ({"early_stopping_patience": 2}, 8, "it was 2; evaluations since then: 2."),
        ({"early_stopping_patience": 3}, 12, None),
        ({"early_stopping_patience": 2, "early_stopping_threshold": 1.0}, 6, "since step 4, where it was 2;"),
        ({"early_stopping_patience": 0}, 12, None),
        (
            {"early_stopping_patience": 2, "metric_for_best_model": "eval_perplexity"},
            8,
            "eval_perplexity has not",
        ),
    ],
)
def test_training_ends_after_evaluations_without_improvement(
    tmp_path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, Any],
    last: int,
    words: str | None,
) -> None:
    scripted(monkeypatch, FALLS_THEN_RISES)
    outcome = tr.run(tmp_path, model, save_strategy="no", logging_steps=4, **EVALUATED, **given)
    assert (outcome.outcome, outcome.reason) == (State.COMPLETED, Reason.COMPLETED), outcome
    assert saved(tmp_path) == [last]
    assert max(tr.losses(tmp_path)) == last  # also what was measured since the last log line
    assert not faults_of(tmp_path / "artifacts" / "model")
    assert ("Stopped early" in outcome.message) == (words is not None)
    assert words is None or words in outcome.message
    assert kinds(tmp_path, "progress")[-1]["step"] == last


def test_a_resumed_run_counts_its_evaluations_on(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, FALLS_THEN_RISES)
    more = EVALUATED | {"early_stopping_patience": 2, "save_steps": 100}
    outcome = tr.run(tmp_path, model, stop_at=6, **more)
    assert outcome.reason is Reason.STOPPED_BY_USER
    again = tr.run(tmp_path, model, attempt=2, **more)
    assert "it was 2; evaluations since then: 2." in again.message
    assert saved(tmp_path, 2) == [8]
    # It had ended, but the final model was not there yet.
    shutil.rmtree(tmp_path / "artifacts" / "model")
    last = tr.run(tmp_path, model, attempt=3, **more)
    assert last.message == again.message
    assert not kinds(tmp_path, "training_started", 3)
    assert not faults_of(tmp_path / "artifacts" / "model")


def test_a_metric_that_is_not_measured_is_refused(tmp_path: Path, model: Path) -> None:
    from tunesmith.spec.training import TrainSpec

    with pytest.raises(InvalidInput, match="eval_f1"):
        TrainSpec.read({"model": "m", "train_file": "/t", "metric_for_best_model": "eval_f1"} | EVALUATED)


def test_an_answered_request_is_not_answered_again(tmp_path: Path, model: Path) -> None:
    from tunesmith_jobs.train.run.evaluation_state import EvaluationState

    assert tr.run(tmp_path, model, save_steps=100, save_at=3, stop_at=7).reason is Reason.STOPPED_BY_USER
    assert saved(tmp_path) == [4, 7]
    assert EvaluationState.of(tmp_path / "artifacts" / "checkpoints" / "checkpoint-7").saves_answered == 1


def test_an_evaluation_state_survives_its_file_and_reads_an_older_one(tmp_path: Path) -> None:
    from tunesmith_jobs.train.run.evaluation_state import EVALUATION_STATE_FILE, EvaluationState

    one = EvaluationState()
    for step, value in ((2, 3.0), (4, math.nan), (6, 2.5)):
        one.take("eval_loss", value, step, 0.1)
    one.keep(6)
    one.write(tmp_path)
    assert EvaluationState.of(tmp_path) == one
    assert (one.best, one.best_step, one.kept_step, one.misses) == (2.5, 6, 6, 0)
    (tmp_path / EVALUATION_STATE_FILE).write_text(json.dumps({"misses": 2, "from_the_future": 1}))
    assert EvaluationState.of(tmp_path) == dataclasses.replace(EvaluationState(), misses=2)
    (tmp_path / EVALUATION_STATE_FILE).unlink()
    assert EvaluationState.of(tmp_path) == EvaluationState()


@pytest.mark.parametrize("metric", ["eval_accuracy", "eval_f1"])
def test_more_is_better_of_a_score(metric: str) -> None:
    from tunesmith_jobs.train.run.evaluation_state import EvaluationState

    evaluation = EvaluationState()
    found = [evaluation.take(metric, value, step, 0.0) for step, value in enumerate((0.5, 0.7, 0.6), start=1)]
    assert found == [True, True, False]
    assert (evaluation.best, evaluation.misses) == (0.7, 1)


def test_a_run_goes_on_from_another_tasks_state_bit_for_bit(tmp_path: Path, model: Path) -> None:
    whole, first, second = (tmp_path / name for name in ("whole", "first", "second"))
    for folder in (whole, first, second):
        folder.mkdir()
        tr.write_rows(folder / "train.jsonl", 24)
    assert tr.run(whole, model).outcome is State.COMPLETED
    assert tr.run(first, model, stop_at=7).reason is Reason.STOPPED_BY_USER
    checkpoint = first / "artifacts" / "checkpoints" / "checkpoint-7"
    given = {"resume_from_checkpoint": str(checkpoint)}
    assert tr.run(second, model, stop_at=9, **given).reason is Reason.STOPPED_BY_USER
    assert kinds(second, "training_started")[0]["step"] == 7
    shutil.rmtree(first)  # by then it has a state of its own
    assert tr.run(second, model, attempt=2, **given).outcome is State.COMPLETED
    assert tr.losses(second, 1, 2) == {s: v for s, v in tr.losses(whole).items() if s > 7}
    one, other = (f / "artifacts" / "model" / "adapter_model.safetensors" for f in (whole, second))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    "given",
    [
        {"use_dora": True},
        {"bias": "all", "use_rslora": True},
        {"load_in_4bit": True},
        {"load_in_8bit": True},
        {"target_modules": ["embed_tokens", "q_proj"]},
    ],
)
def test_every_kind_of_adapter_is_resumed_exactly(tmp_path: Path, model: Path, given: dict[str, Any]) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    assert tr.run(whole, model, max_steps=6, **given).outcome is State.COMPLETED
    assert tr.run(cut, model, max_steps=6, stop_at=3, **given).reason is Reason.STOPPED_BY_USER
    assert tr.run(cut, model, max_steps=6, attempt=2, **given).outcome is State.COMPLETED
    assert kinds(cut, "training_started", 2)[0]["step"] == 3
    assert tr.losses(cut, 1, 2) == tr.losses(whole)


@pytest.mark.parametrize("fault", ["nowhere", "damaged", "no manifest", "final model"])
def test_a_state_that_is_not_whole_is_refused(tmp_path: Path, model: Path, fault: str) -> None:
    tr.run(tmp_path, model, max_steps=4)
    checkpoint = tmp_path / "artifacts" / "checkpoints" / "checkpoint-4"
    if fault == "damaged":
        data = bytearray((checkpoint / "optimizer.safetensors").read_bytes())
        data[-1] ^= 1
        (checkpoint / "optimizer.safetensors").write_bytes(data)
    elif fault == "no manifest":
        (checkpoint / "manifest.json").unlink()
    elif fault == "final model":
        checkpoint = tmp_path / "artifacts" / "model"
    else:
        checkpoint = tmp_path / "nowhere" / "checkpoint-4"
    other = tmp_path / "other"
    other.mkdir()
    outcome = tr.run(other, model, max_steps=8, resume_from_checkpoint=str(checkpoint))
    assert (outcome.outcome, outcome.reason) == (State.FAILED, Reason.BAD_PARAMETERS), outcome
    assert not kinds(other, "training_started")


def test_a_state_at_the_end_is_only_published(tmp_path: Path, model: Path) -> None:
    tr.run(tmp_path, model, max_steps=4)
    checkpoint = tmp_path / "artifacts" / "checkpoints" / "checkpoint-4"
    other = tmp_path / "other"
    other.mkdir()
    outcome = tr.run(other, model, max_steps=4, resume_from_checkpoint=str(checkpoint))
    assert outcome.outcome is State.COMPLETED, outcome
    one, two = (f / "artifacts" / "model" / "adapter_model.safetensors" for f in (tmp_path, other))
    assert one.read_bytes() == two.read_bytes()
