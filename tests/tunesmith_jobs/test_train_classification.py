"""Training a classifier: the classes, the loss over rows, and the scores."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import training_run as tr

from tunesmith.lifecycle import Reason, State

pytestmark = pytest.mark.usefixtures("one_thread")


def feelings(path: Path, count: int, *more: str, seed: int = 0) -> Path:
    draw = random.Random(seed)
    words = {"good": ("fine", "glad", "happy"), "bad": ("sad", "broken", "wrong"), "so-so": ("maybe", "hm")}
    names = [draw.choice(list(words)) for _ in range(count)]
    rows = [{"text": f"This is {draw.choice(words[name])}.", "label": name} for name in names]
    return tr.write_lines(path, [*rows, *({"text": "x", "label": name} for name in more)])


@pytest.mark.parametrize("use_lora", [True, False])
def test_classification_learns_the_classes(tmp_path: Path, model: Path, use_lora: bool) -> None:
    rows = feelings(tmp_path / "train.jsonl", 48)
    held_out = feelings(tmp_path / "eval.jsonl", 17, seed=1)
    outcome = tr.run(
        tmp_path, model, rows=rows, eval_rows=str(held_out), training_type="classification", use_lora=use_lora,
        learning_rate=1e-2 if use_lora else 3e-3, max_steps=30, eval_strategy="steps", eval_steps=15, eval_file="/x",
        lora_dropout=0.0, save_steps=15,
    )  # fmt: skip
    assert outcome.outcome is State.COMPLETED, outcome
    assert tr.facts(tmp_path)["classes"] == ["bad", "good", "so-so"]
    values = {name: tr.losses(tmp_path, name=name) for name in ("eval_loss", "eval_accuracy", "eval_f1")}
    assert values["eval_loss"][30] < values["eval_loss"][0]
    assert values["eval_accuracy"][30] > 0.9
    assert values["eval_f1"][30] > 0.9
    assert not tr.losses(tmp_path, name="eval_perplexity")
    assert tr.losses(tmp_path, name="supervised_tokens")[1] == 4  # rows of the effective batch


def test_the_loss_of_classes_is_the_mean_over_the_rows_of_the_step(tmp_path: Path, model: Path) -> None:
    import torch
    from transformers import AutoTokenizer

    rows = feelings(tmp_path / "train.jsonl", 5)
    tr.run(
        tmp_path, model, rows=rows, training_type="classification", use_lora=False, max_steps=1,
        gradient_accumulation_steps=4, warmup_ratio=0.99,  # so that the first step moves nothing
    )  # fmt: skip
    from transformers import AutoModelForSequenceClassification

    net = AutoModelForSequenceClassification.from_pretrained(tmp_path / "artifacts" / "model")
    assert net.config.label2id == {name: i for i, name in net.config.id2label.items()}
    tokenizer = AutoTokenizer.from_pretrained(model)
    total = 0.0
    for line in rows.read_text().splitlines():
        row = json.loads(line)
        ids = tokenizer(row["text"], return_tensors="pt")["input_ids"]
        label = torch.tensor([net.config.label2id[row["label"]]])
        with torch.no_grad():
            total += float(torch.nn.functional.cross_entropy(net(input_ids=ids).logits, label))
    assert tr.losses(tmp_path)[1] == pytest.approx(total / 5, rel=1e-4)


def test_classes_that_cannot_be_learned_are_refused(tmp_path: Path, model: Path) -> None:
    one = tr.write_lines(tmp_path / "one.jsonl", [{"text": "x", "label": 1}] * 3)
    outcome = tr.run(tmp_path, model, rows=one, training_type="classification")
    assert (outcome.outcome, outcome.reason) == (State.FAILED, Reason.BAD_DATA)
    assert "same class" in outcome.message
    rows = feelings(tmp_path / "train.jsonl", 8)
    other = feelings(tmp_path / "eval.jsonl", 2, "furious")
    outcome = tr.run(
        tmp_path, model, rows=rows, eval_rows=str(other), training_type="classification", attempt=2
    )
    assert outcome.reason is Reason.BAD_DATA
    assert "`furious`" in outcome.message


def test_f1_is_the_mean_over_the_classes_that_are_there() -> None:
    import torch

    from tunesmith_jobs.models.scores import ClassScores

    class Net:
        def __call__(self, **inputs: Any) -> Any:
            return type("Outputs", (), {"logits": inputs["logits"]})

    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    answers = torch.tensor([0, 1, 1, 1, 0, 2])
    scores = ClassScores(torch.device("cpu"), 5)
    for part in (slice(0, 2), slice(2, 6)):
        logits = torch.nn.functional.one_hot(answers[part], 5) * 50.0
        scores.add(Net(), {"logits": logits, "labels": labels[part]})
    values = scores.values()
    # Precision and recall by hand: 1/2 and 1/2; 2/3 and 2/2; 1/1 and 1/2.
    assert values["eval_f1"] == pytest.approx((1 / 2 + 4 / 5 + 2 / 3) / 3)
    assert values["eval_accuracy"] == pytest.approx(4 / 6)
    assert values["eval_loss"] == pytest.approx(100 / 6)


@pytest.mark.parametrize("names", [["bad", "good", "so-so"], ["no", "yes"]], ids=["three", "two"])
@pytest.mark.parametrize("way", [{"use_lora": True}, {"use_lora": False}], ids=["adapter", "whole"])
def test_the_lines_of_its_readme_load_it_with_its_classes(
    tmp_path: Path, model: Path, names: list[str], way: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"text": f"{name} {number}", "label": name} for number in range(4) for name in names]
    file = tr.write_lines(tmp_path / "rows.jsonl", rows)
    outcome = tr.run(
        tmp_path, model, rows=file, training_type="classification", max_steps=1, save_strategy="no", **way
    )
    assert outcome.outcome is State.COMPLETED, outcome
    folder = tmp_path / "artifacts" / "model"
    lines = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(folder)
    found: dict[str, Any] = {}
    exec(lines, found)  # what a reader of the card does
    assert found["model"].config.id2label == dict(enumerate(names))
    ids = found["tokenizer"]("good", return_tensors="pt")
    assert found["model"](**ids).logits.shape == (1, len(names))
