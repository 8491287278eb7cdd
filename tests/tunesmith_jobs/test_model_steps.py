"""Evaluating, answering and packaging a model that was trained for real, without Ray."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from data_jobs import Ear
from trained import Trained

from tunesmith.artifacts import faults_of
from tunesmith.lifecycle import Desired, Reason

pytestmark = pytest.mark.usefixtures("one_thread")


def metrics(ear: Ear) -> dict[str, float]:
    (found,) = [payload for payload in ear.heard if payload.kind == "metrics"]
    assert found.step == 4
    return found.values


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Trained:
    return Trained(tmp_path_factory.mktemp("lora") / "run", model)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Trained:
    return Trained(tmp_path_factory.mktemp("full") / "run", model, use_lora=False, precision="fp32")


@pytest.mark.parametrize("name", ["lora", "full"])
def test_the_loss_is_the_trainers(request: pytest.FixtureRequest, name: str) -> None:
    trained: Trained = request.getfixturevalue(name)
    outcome, ear, _ = trained.use("evaluate")
    assert outcome.reason is Reason.COMPLETED, outcome
    found = metrics(ear)
    assert found["eval_loss"] == pytest.approx(trained.last("eval_loss"), rel=1e-5)
    assert found["eval_perplexity"] == pytest.approx(math.exp(found["eval_loss"]), rel=1e-6)
    assert found["eval_rows"] == 9
    assert 0 < found["eval_token_accuracy"] < 1
    assert 50 < found["eval_tokens"] < 1000
    kinds = [payload.kind for payload in ear.heard]
    assert kinds.count("phase") == 3
    steps = [payload.step for payload in ear.heard if payload.kind == "progress"]
    assert (steps[0], steps[-1]) == (0, 9), "how much there is is said before the first batch"


def test_packed_rows_and_other_batches_say_the_same(tmp_path: Path, model: Path) -> None:
    trained = Trained(tmp_path / "run", model, packing=True, max_length=128, precision="fp32")
    for size in (1, 4):
        _, ear, _ = trained.use("evaluate", per_device_eval_batch_size=size)
        assert metrics(ear)["eval_loss"] == pytest.approx(trained.last("eval_loss"), rel=1e-5)


def test_token_accuracy_is_that_of_the_models_own_logits(full: Trained) -> None:
    import torch
    from training_run import source
    from transformers import AutoModelForCausalLM

    from tunesmith_jobs.batches.encoded import load_rows
    from tunesmith_jobs.batches.rows import Row

    _, ear, _ = full.use("evaluate")
    plain = AutoModelForCausalLM.from_pretrained(full.outcome.model_uri)
    hits = tokens = 0
    rows = load_rows(source(full.held_out, full.base)).rows
    for i in range(len(rows)):
        row: Row = rows[i]
        with torch.no_grad():
            answers = plain(torch.tensor(row.input_ids[None])).logits[0, :-1].argmax(-1).numpy()
        trained = row.labels[1:] != -100
        hits += int((answers[trained] == row.labels[1:][trained]).sum())
        tokens += int(trained.sum())
    found = metrics(ear)
    assert found["eval_tokens"] == tokens
    assert found["eval_token_accuracy"] == pytest.approx(hits / tokens)


@pytest.mark.parametrize("use_lora", [True, False])
def test_a_classifiers_accuracy_and_f1(tmp_path: Path, model: Path, use_lora: bool) -> None:
    texts = [{"text": f"{word} {n}", "label": word} for n in range(8) for word in ("good", "bad", "odd")]
    for name, rows in (("train.jsonl", texts), ("eval.jsonl", texts[:7])):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    trained = Trained(
        tmp_path, model, held_out=tmp_path / "eval.jsonl", training_type="classification", use_lora=use_lora
    )
    outcome, ear, _ = trained.use("evaluate")
    assert outcome.reason is Reason.COMPLETED, outcome
    found = metrics(ear)
    for name in ("eval_loss", "eval_accuracy", "eval_f1"):
        assert found[name] == pytest.approx(trained.last(name), rel=1e-5), name
    (tmp_path / "eval.jsonl").write_text('{"text": "new", "label": "unheard"}\n')
    outcome, _, _ = trained.use("evaluate")
    assert (outcome.reason, "unheard" in outcome.message) == (Reason.BAD_DATA, True)


def test_a_stop_and_a_missing_model_end_in_words(lora: Trained, tmp_path: Path) -> None:
    outcome, ear, _ = lora.use("evaluate", Ear(Desired.STOP))
    assert (outcome.reason, ear.heard) == (Reason.STOPPED_BY_USER, [])
    before = lora.outcome
    lora.outcome = before.model_copy(update={"model_uri": str(tmp_path / "gone")})
    try:
        outcome, _, _ = lora.use("evaluate")
    finally:
        lora.outcome = before
    assert outcome.reason is Reason.BAD_PARAMETERS
    assert "gone" in outcome.message


def answered(trained: Trained, **given: Any) -> list[dict[str, Any]]:
    outcome, ear, _ = trained.use("generate", **given)
    assert outcome.reason is Reason.COMPLETED, outcome
    (made,) = [payload for payload in ear.heard if payload.kind == "dataset_made"]
    text = Path(made.path).read_text()
    assert (made.rows, made.bytes) == (len(text.splitlines()), len(text.encode()))
    return [json.loads(line) for line in text.splitlines()]


def test_greedy_answers_are_those_of_plain_transformers(full: Trained) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    prompts = ["What is 3?", "And a much longer question about the number of foxes, please?"]
    rows = answered(full, prompts=prompts, max_new_tokens=12)
    folder = full.outcome.model_uri
    plain, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for row, prompt in zip(rows, prompts, strict=True):
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        with torch.no_grad():
            made = plain.generate(**asked, max_new_tokens=12, do_sample=False)
        own = tokenizer.decode(made[0, asked["input_ids"].shape[1] :], skip_special_tokens=True)
        assert row["messages"] == [{"role": "user", "content": prompt}, {"role": "assistant", "content": own}]
    assert rows == answered(full, prompts=prompts, max_new_tokens=12, per_device_eval_batch_size=1)


def test_rows_are_asked_turn_by_turn_and_drawn_by_the_seed(lora: Trained, tmp_path: Path) -> None:
    turns = [("system", "Be brief."), ("user", "One?"), ("assistant", "known"), ("user", "Two <|im_end|>?")]
    messages = [{"role": role, "content": content} for role, content in turns]
    file = tmp_path / "rows.jsonl"
    file.write_text(
        json.dumps({"messages": messages}) + "\n" + json.dumps({"messages": messages[1:2]}) + "\n"
    )
    given = {"dataset": str(file), "max_new_tokens": 8, "temperature": 1.5, "system_prompt": "Hello."}
    first, second = answered(lora, **given)
    assert [turn["role"] for turn in first["messages"]] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
    ]
    assert first["messages"][0]["content"] == "Be brief.", "its own system turn stays"
    assert first["messages"][3]["content"] == "Two <|im_end|>?", "a lookalike is plain text"
    assert (second["messages"][0]["content"], len(first["finish_reasons"])) == ("Hello.", 2)
    assert first["messages"][2]["content"] != "known", "the answers of the row are not shown"
    assert answered(lora, **given) == [first, second]
    assert answered(lora, **given, seed=7) != [first, second]
    outcome, _, _ = lora.use("generate", **given | {"max_new_tokens": 500})
    assert (outcome.reason, "rows.jsonl:1" in outcome.message) == (Reason.BAD_DATA, True)
    assert not (lora.folder / "rows.part").exists()


def test_a_packaged_adapter_is_the_model_that_it_made(lora: Trained, full: Trained) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    outcome, _, _ = lora.use("package", output_dir=None)
    assert outcome.reason is Reason.COMPLETED, outcome
    folder = Path(str(outcome.model_uri))
    assert faults_of(folder) == []
    names = {file.name for file in folder.iterdir()}
    assert {
        "config.json",
        "tokenizer.json",
        "chat_template.jinja",
        "generation_config.json",
        "README.md",
    } <= names
    assert not {"adapter_config.json", "adapter"} & names
    card = (folder / "README.md").read_text()
    assert all(words in card for words in (lora.base.name, "task-1", "support@1", "AutoModelForCausalLM"))
    for file in folder.iterdir():
        words = "where its base lay concerns nobody whom the folder is given to"
        assert str(lora.base).encode() not in file.read_bytes(), (file.name, words)
    packed, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("What is the capital of France?", return_tensors="pt").input_ids
    base = AutoModelForCausalLM.from_pretrained(lora.base)
    with torch.no_grad():
        before = base(ids).logits
        over = PeftModel.from_pretrained(base, lora.outcome.model_uri)(ids).logits
        assert torch.allclose(packed(ids).logits, over, atol=1e-4)
        assert not torch.allclose(before, over, atol=1e-4), "the adapter changes something"
    whole, _, _ = full.use("package")
    assert whole.reason is Reason.COMPLETED, whole
    plain = AutoModelForCausalLM.from_pretrained(str(whole.model_uri))
    kept = AutoModelForCausalLM.from_pretrained(str(full.outcome.model_uri))
    with torch.no_grad():
        assert torch.equal(plain(ids).logits, kept(ids).logits)
    assert faults_of(Path(str(full.outcome.model_uri))) == [], "what it was made of is as it was"
