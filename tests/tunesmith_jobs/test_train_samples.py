"""Prompts that are answered while a model trains: what is said of them, and that no figure of the run changes."""

import json
from pathlib import Path
from typing import Any

import pytest
import training_run as tr

from tunesmith.lifecycle import State
from tunesmith_jobs.train.run import samples

PROMPTS = ["What is 2 + 2?", "Name a colour.", "你好吗？"]
EVALUATED = {"eval_strategy": "steps", "eval_steps": 3, "eval_sampling_ratio": 0.2}


def answered(folder: Path, attempt: int = 1) -> dict[int, list[dict[str, Any]]]:
    return {event["step"]: event["answers"] for event in tr.kinds(folder, "samples", attempt)}


def weights(folder: Path, step: int) -> bytes:
    return (folder / f"artifacts/checkpoints/checkpoint-{step}/adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"optim": "schedule_free_adamw", "lr_scheduler_type": "constant", **EVALUATED},
        pytest.param(EVALUATED, marks=pytest.mark.long),
        pytest.param({"gradient_checkpointing": True}, marks=pytest.mark.long),
        pytest.param({"use_lora": False}, marks=pytest.mark.long),
    ],
    ids=["saves", "schedule-free", "evaluations", "checkpointing", "full"],
)
def test_every_figure_and_every_weight_is_the_same_with_and_without(
    tmp_path: Path, model: Path, more: dict[str, Any]
) -> None:
    """Dropout draws from the random state at each step: one draw too many would show."""
    folders = tmp_path / "without", tmp_path / "with"
    for folder, prompts in zip(folders, ({}, {"sample_prompts": PROMPTS}), strict=True):
        folder.mkdir()
        assert tr.run(folder, model, **more, **prompts).outcome is State.COMPLETED
    for name in ("loss", "grad_norm", "eval_loss"):
        assert tr.losses(folders[0], name=name) == tr.losses(folders[1], name=name)
    if more.get("use_lora", True):
        assert weights(folders[0], 12) == weights(folders[1], 12)
    assert not answered(folders[0])
    expected = {4, 8, 12} | ({0, 3, 6, 9} if "eval_steps" in more else set())
    assert answered(folders[1]).keys() == expected


def test_each_prompt_has_its_answer_in_the_event_and_in_the_log(
    tmp_path: Path, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    given = {"sample_prompts": PROMPTS, "sample_max_new_tokens": 5}
    assert tr.run(tmp_path, model, **given).outcome is State.COMPLETED
    found = answered(tmp_path)
    assert all([one["prompt"] for one in step] == PROMPTS for step in found.values())
    assert found[4] != found[12], "the model has learnt something"
    assert any(f"Sample 2 after step 12: Name a colour. -> {found[12][1]['text']}".split("->")[0].strip()
               in line for line in caplog.messages)  # fmt: skip
    # As the trained model answers when it is asked by itself, each prompt alone.
    assert [one["text"] for one in found[12]] == [_alone(tmp_path, model, prompt) for prompt in PROMPTS]


def _alone(folder: Path, model: Path, prompt: str) -> str:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    tuned = PeftModel.from_pretrained(base, folder / "artifacts/checkpoints/checkpoint-12").eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    turns = [{"role": "user", "content": prompt}]
    ids = tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, return_tensors="pt", return_dict=False
    )
    with torch.no_grad():
        made = tuned.generate(input_ids=ids, max_new_tokens=5, do_sample=False)
    return str(tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True))


def test_a_run_that_goes_on_answers_what_comes_and_is_the_same(tmp_path: Path, model: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    given = {"sample_prompts": PROMPTS[:1], **EVALUATED}
    for folder in (whole, cut):
        folder.mkdir()
    tr.run(whole, model, **given)
    tr.run(cut, model, stop_at=7, **given)
    assert tr.run(cut, model, attempt=2, **given).outcome is State.COMPLETED
    assert tr.losses(cut, 1, 2) == tr.losses(whole)
    assert answered(cut) | answered(cut, 2) == answered(whole)


def test_texts_of_a_pretraining_go_on(tmp_path: Path, model: Path) -> None:
    rows = tr.write_lines(tmp_path / "texts.jsonl", [{"text": "The quick brown fox jumps. " * 5}] * 20)
    given = {"training_type": "pretrain", "max_steps": 2, "save_steps": 2, "max_length": 32}
    assert (
        tr.run(tmp_path, model, rows=rows, sample_prompts=["The quick"], **given).outcome is State.COMPLETED
    )
    assert answered(tmp_path)[2][0]["finish_reason"] in ("stop", "length")


@pytest.mark.parametrize("is_slow", [True, False])
def test_what_takes_too_long_or_fails_is_one_warning_and_the_training_goes_on(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, is_slow: bool
) -> None:
    given: dict[str, Any] = {"sample_prompts": PROMPTS}
    if is_slow:
        monkeypatch.setattr(samples, "MOST_SECONDS", 0.0)
    else:  # longer than the model reads
        given = {"sample_prompts": ["word " * 399], "sample_max_new_tokens": 512}
    assert tr.run(tmp_path, model, **given).outcome is State.COMPLETED
    warned = [event["code"] for event in tr.kinds(tmp_path, "warning")]
    assert warned == ["samples_slow" if is_slow else "samples_failed"]
    assert not answered(tmp_path)
    assert tr.saved(tmp_path) == [4, 8, 12]


def test_a_stop_ends_the_answers(tmp_path: Path, model: Path) -> None:
    outcome = tr.run(tmp_path, model, stop_at=4, sample_prompts=PROMPTS, sample_max_new_tokens=400)
    assert outcome.outcome is State.STOPPED
    assert not answered(tmp_path)
    assert not tr.kinds(tmp_path, "warning")


def test_a_classifier_answers_nothing(tmp_path: Path, model: Path) -> None:
    rows = tr.write_lines(tmp_path / "c.jsonl", [{"text": f"t {n}", "label": "ab"[n % 2]} for n in range(20)])
    given = {"training_type": "classification", "max_steps": 2, "save_steps": 2}
    assert tr.run(tmp_path, model, rows=rows, sample_prompts=["t 1"], **given).outcome is State.COMPLETED
    assert not answered(tmp_path)
    assert json.dumps(tr.kinds(tmp_path, "warning")) == "[]"
