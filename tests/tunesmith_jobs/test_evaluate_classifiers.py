"""Classifiers compared: as the trainer measures them, each text by itself, and tested as McNemar does."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import training_run as tr
from compared import TASK, Asked
from test_train_classification import feelings

from tunesmith.errors import InvalidData
from tunesmith.evaluation.document import CandidateDocument
from tunesmith.evaluation.report import html
from tunesmith.evaluation.results import Candidate
from tunesmith.events import EvaluationMade
from tunesmith.lifecycle import State
from tunesmith.spec.training import TrainSpec

STEPS = (3, 30)


class Sorters:
    """A tiny classifier with two checkpoints; what `compared.Trained` is to models that answer."""

    def __init__(self, folder: Path, model: Path, *, use_lora: bool = True) -> None:
        self.folder, self.model = folder, model
        feelings(folder / "train.jsonl", 48)
        self.held_out = feelings(folder / "eval.jsonl", 24, seed=1)
        given = {"training_type": "classification", "use_lora": use_lora, "lora_dropout": 0.0,
                 "learning_rate": 1e-2 if use_lora else 3e-3}  # fmt: skip
        outcome = tr.run(
            folder, model, rows=folder / "train.jsonl", eval_rows=str(self.held_out), max_steps=30, save_steps=3,
            eval_strategy="steps", eval_steps=3, eval_file="/x", **given,
        )  # fmt: skip
        assert outcome.outcome is State.COMPLETED, outcome
        self.spec = TrainSpec.read(
            {"model_name_or_path": str(model), "train_file": str(folder / "train.jsonl"), "precision": "fp32",
             "target_modules": "all-linear"} | given
        ).model_dump(mode="json")  # fmt: skip
        self.is_adapter = use_lora

    def candidate(self, step: int | None, **more: Any) -> CandidateDocument:
        uri = f"{self.folder}/artifacts/checkpoints/checkpoint-{step}"
        training = self.spec | {
            "attach_lora": self.is_adapter,
            "attach_lora_path": uri if self.is_adapter else None,
        }
        key = f"{TASK}/checkpoint-{step}"
        return CandidateDocument(
            candidate=Candidate(key=key, label=key, step=step or 0, uri=uri, task_id=TASK),
            training=training | more.pop("training", {}), encoder_path=str(self.model), base_path=str(self.model),
            classes=["bad", "good", "so-so"], train_path=str(self.folder / "train.jsonl"), **more,
        )  # fmt: skip


@pytest.fixture(scope="module")
def sorters(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Sorters:
    return Sorters(tmp_path_factory.mktemp("sorters"), model)


@pytest.fixture
def asked(tmp_path: Path, sorters: Sorters, monkeypatch: pytest.MonkeyPatch) -> Asked:
    made: Any = Asked(tmp_path / "asked", sorters, monkeypatch)  # type: ignore[arg-type]
    rows = [json.loads(line) for line in sorters.held_out.read_text().splitlines()]
    # Texts of its own: what was trained on counts for nothing.
    write(made, [{"text": f"{row['text']} No. {n}.", "label": row["label"]} for n, row in enumerate(rows)])
    return made


def write(asked: Asked, rows: list[dict[str, Any]]) -> None:
    (asked.folder / "samples.json").write_text(json.dumps({"validation": rows}))


def test_accuracy_f1_and_confusion_of_each_and_the_paired_test_is_mcnemars(asked: Asked) -> None:
    outcome = asked.run([asked.trained.candidate(step) for step in STEPS], temperature=0.7, repeats=3)
    assert outcome.outcome is State.COMPLETED, outcome
    result = asked.result
    assert result.sorts
    early, late = result.candidates
    assert {answer.text for one in result.candidates for answer in one.answers} <= {"bad", "good", "so-so"}
    assert len(early.answers) == len(late.answers) == 24, "the likeliest class is the same each time"
    assert late.means["accuracy"] > early.means["accuracy"]
    assert late.means["composite"] == late.means["accuracy"]
    assert set(late.means) == {"accuracy", "composite", "perplexity"}
    expected = {sample.id: sample.label for sample in result.samples}
    hits = [[answer.text == expected[answer.sample_id] for answer in one.answers] for one in (early, late)]
    only = [sum(a and not b for a, b in zip(*pair, strict=True)) for pair in (hits, hits[::-1])]
    discordant, least = sum(only), min(only)
    exact = min(1.0, 2 * sum(math.comb(discordant, k) for k in range(least + 1)) / 2**discordant)
    comparison = result.comparison
    assert comparison is not None
    (pair,) = comparison.pairs
    assert comparison.score == "accuracy"
    assert pair.p_value == pytest.approx(exact, abs=0.005)
    assert pair.difference == pytest.approx(late.means["accuracy"] - early.means["accuracy"])
    assert comparison.recommended == (late.candidate.key if pair.verdict == "better" else early.candidate.key)
    (made,) = asked.said(EvaluationMade)
    assert made.means[late.candidate.key]["macro_f1"] == late.macro_f1
    for language, words in (("en", "Macro F1"), ("zh", "宏平均")):
        assert words in html(result, language)


@pytest.mark.parametrize("step", STEPS)
def test_it_is_what_the_training_measured(asked: Asked, sorters: Sorters, step: int) -> None:
    rows = [json.loads(line) for line in sorters.held_out.read_text().splitlines()]
    write(asked, rows)
    assert (
        asked.run(
            [
                sorters.candidate(
                    step,
                )
            ],
            include_base=False,
        ).outcome
        is State.COMPLETED
    )
    (one,) = asked.result.candidates
    by_text = {sample.id: sample for sample in asked.result.samples}
    answers = {by_text[a.sample_id].turns[0].content: a for a in one.answers}
    found = [answers[row["text"]] for row in rows]  # a text that stands there twice is asked once
    loss = sum(answer.nll or 0.0 for answer in found) / len(rows)
    accuracy = sum(a.text == row["label"] for a, row in zip(found, rows, strict=True)) / len(rows)
    assert loss == pytest.approx(tr.losses(sorters.folder, name="eval_loss")[step], rel=1e-5)
    assert accuracy == pytest.approx(tr.losses(sorters.folder, name="eval_accuracy")[step])


def test_an_answer_is_the_same_beside_others_and_is_kept(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith_jobs.evaluate import classing

    asked.run([asked.trained.candidate(30)])
    before = asked.result.candidates[0].answers
    orders: list[Any] = []
    real = classing.run
    monkeypatch.setattr(classing, "run", lambda order: orders.append(order) or real(order))
    asked.run([asked.trained.candidate(30)], attempt=2)
    assert orders == []
    rows = json.loads((asked.folder / "samples.json").read_text())["validation"]
    write(
        asked, [*rows[:3], {"text": "a far longer text that stands beside the others " * 3, "label": "bad"}]
    )
    asked.run([asked.trained.candidate(30)], attempt=3)
    assert [len(order["questions"]) for order in orders] == [1]
    (asked.folder / "work").rename(asked.folder / "gone")  # nothing is known any more
    asked.run([asked.trained.candidate(30)], attempt=4)
    again = {a.sample_id: (a.text, a.nll) for a in asked.result.candidates[0].answers}
    assert all(again[a.sample_id] == (a.text, a.nll) for a in before if a.sample_id in again)
    assert len(again) == 4


def test_what_no_classifier_can_be_asked_is_refused_with_its_place(asked: Asked) -> None:
    write(asked, [{"text": "x", "label": "furious"}])
    with pytest.raises(InvalidData, match="`furious`"):
        asked.run([asked.trained.candidate(3)])
    (asked.folder / "samples.json").write_text(
        json.dumps({"validation": [{"prompt": "a", "completion": "b"}]})
    )
    with pytest.raises(InvalidData, match="no text with a class"):
        asked.run([asked.trained.candidate(3)])


@pytest.mark.long
def test_whole_classifiers_too(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "whole").mkdir()
    whole = Sorters(tmp_path / "whole", model, use_lora=False)
    asked: Any = Asked(tmp_path / "asked", whole, monkeypatch)  # type: ignore[arg-type]
    write(asked, [json.loads(line) for line in whole.held_out.read_text().splitlines()])
    assert asked.run([whole.candidate(step) for step in STEPS]).outcome is State.COMPLETED
    assert asked.result.candidates[1].means["accuracy"] > 0.9
