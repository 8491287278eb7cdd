"""Training on a tiny model without Ray: the loss, the mask, what is left at the end, and failures."""

import json
from pathlib import Path

import pytest
import training_run as tr
from training_run import kinds, stored

from tunesmith.artifacts import Manifest, faults_of
from tunesmith.lifecycle import Reason, State

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_loss_falls_and_every_event_is_there(tmp_path: Path, model: Path) -> None:
    rows = tr.write_rows(tmp_path / "train.jsonl", 40)
    outcome = tr.run(
        tmp_path,
        model,
        rows=rows,
        max_steps=40,
        eval_strategy="steps",
        eval_steps=15,
        eval_sampling_ratio=0.1,
    )
    assert outcome.outcome is State.COMPLETED, outcome
    loss = tr.losses(tmp_path)
    assert sorted(loss) == list(range(1, 41))
    assert loss[40] < loss[1] - 1.0
    held_out = tr.losses(tmp_path, name="eval_loss")
    assert sorted(held_out) == [0, 15, 30, 40]
    assert held_out[40] < held_out[0] - 1.0
    evaluations = [e for e in kinds(tmp_path, "metrics") if "eval_loss" in e["values"]]
    assert len(evaluations) == 4
    values = next(e["values"] for e in kinds(tmp_path, "metrics") if e["step"] == 1)
    assert set(values) >= {
        "loss", "perplexity", "learning_rate", "grad_norm", "epoch", "tokens_per_second", "samples_per_second",
        "supervised_tokens", "useful_token_share", "memory_bytes",
    }  # fmt: skip
    assert 0.3 < values["useful_token_share"] <= 1
    assert [e["phase"] for e in kinds(tmp_path, "phase")] == ["imports", "data", "weights", "step"]
    started = kinds(tmp_path, "training_started")
    assert len(started) == 1
    assert started[0]["total_steps"] == 40
    assert started[0]["facts"]["rows"] == 36
    assert started[0]["facts"]["precision_why"]
    assert kinds(tmp_path, "progress")[-1]["seconds_left"] == 0
    saved = {e["step"]: e["metrics"] for e in kinds(tmp_path, "checkpoint")}
    assert sorted(saved) == list(range(4, 41, 4))
    assert {step: values["loss"] for step, values in saved.items()} == {step: loss[step] for step in saved}
    # What was evaluated at another step are other weights: only the last of these was evaluated itself.
    assert {step for step, values in saved.items() if "eval_loss" in values} == {40}
    assert saved[40]["eval_loss"] == held_out[40]


def test_the_loss_is_the_mean_over_trained_tokens_of_the_effective_batch(tmp_path: Path, model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from tunesmith.rows.tokens.encoding import IGNORE_INDEX
    from tunesmith_jobs.batches.encoded import load_rows
    from tunesmith_jobs.batches.rows import Order

    tr.run(tmp_path, model, max_steps=1)
    rows = load_rows(tr.source(tmp_path / "train.jsonl", model)).rows
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    batches = iter(Order(len(rows), 2, 42, accumulation=2, lengths=rows.lengths))
    total, count = 0.0, 0
    for index in [
        *next(batches),
        *next(batches),
    ]:  # a fresh LoRA adds nothing: the base's own loss, row by row
        row = rows[index]
        ids, labels = (
            torch.tensor(row.input_ids[None].astype("int64")),
            torch.tensor(row.labels.astype("int64")),
        )
        with torch.no_grad():
            logits = base(ids).logits[0, :-1]
        picked = labels[1:] != IGNORE_INDEX
        assert 0 < picked.sum() < len(labels) - 5  # the question is not trained
        total += float(torch.nn.functional.cross_entropy(logits[picked], labels[1:][picked], reduction="sum"))
        count += int(picked.sum())
    assert tr.losses(tmp_path)[1] == pytest.approx(total / count, rel=1e-5)
    assert tr.losses(tmp_path, name="supervised_tokens")[1] == count


def test_no_more_checkpoints_than_asked_for_are_kept(tmp_path: Path, model: Path) -> None:
    published = tmp_path / "mine"
    tr.run(tmp_path, model, save_steps=2, save_total_limit=2, output_dir=str(published))
    assert stored(tmp_path) == [10, 12]
    assert [e["step"] for e in kinds(tmp_path, "checkpoint_removed")] == [2, 4, 6, 8]
    assert sorted(p.name for p in published.iterdir()) == ["checkpoint-10", "checkpoint-12", "model"]
    assert not faults_of(published / "model")
    assert not faults_of(published / "checkpoint-12")


def test_a_checkpoint_holds_no_pickle_of_arguments(undisturbed: Path) -> None:
    folder = undisturbed / "artifacts" / "checkpoints" / "checkpoint-12"
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "adapter_config.json", "adapter_model.safetensors", "optimizer.safetensors", "scheduler.json",
        "random_state.safetensors",
        "trainer_state.json", "training_args.json", "manifest.json",
    }  # fmt: skip
    assert "training_args.bin" not in names
    assert not faults_of(folder)
    event = kinds(undisturbed, "checkpoint")[-1]
    manifest = Manifest.decode((folder / "manifest.json").read_bytes())
    assert manifest is not None
    assert (event["step"], event["bytes"], event["files"]) == (12, manifest.total_bytes, len(manifest.files))
    assert manifest.chat_template_sha256


def test_the_final_adapter_loads_with_plain_peft(undisturbed: Path, model: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = undisturbed / "artifacts" / "model"
    assert not faults_of(folder)
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == model.name
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "what is 1?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    with torch.no_grad():
        assert not torch.equal(tuned(**ids).logits, AutoModelForCausalLM.from_pretrained(model)(**ids).logits)


def test_a_full_model_loads_with_plain_transformers(tmp_path: Path, model: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    outcome = tr.run(tmp_path, model, use_lora=False, learning_rate=1e-3, max_steps=2)
    assert outcome.outcome is State.COMPLETED, outcome
    tuned = AutoModelForCausalLM.from_pretrained(tmp_path / "artifacts" / "model")
    assert AutoTokenizer.from_pretrained(tmp_path / "artifacts" / "model").chat_template
    assert tuned.config.use_cache
    assert outcome.model_uri == str(tmp_path / "artifacts" / "model")


def test_gradient_checkpointing_changes_no_loss(tmp_path: Path, model: Path, undisturbed: Path) -> None:
    tr.run(tmp_path, model, gradient_checkpointing=True, max_steps=12)
    for step, loss in tr.losses(undisturbed).items():
        assert tr.losses(tmp_path)[step] == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("use_lora", [True, False])
def test_bf16_trains_where_it_is_allowed(
    tmp_path: Path, model: Path, use_lora: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunesmith_jobs.models.precision.cpu_bf16_flags", lambda _: {"amx_bf16"})
    outcome = tr.run(tmp_path, model, use_lora=use_lora, learning_rate=5e-3, max_steps=12, precision="auto")
    assert outcome.outcome is State.COMPLETED, outcome
    assert kinds(tmp_path, "training_started")[0]["facts"]["precision"] == "bf16"
    loss = tr.losses(tmp_path)
    assert loss[12] < loss[1] - 0.3
    from safetensors import safe_open

    name = "adapter_model.safetensors" if use_lora else "model.safetensors"
    with safe_open(tmp_path / "artifacts" / "model" / name, "pt") as file:
        assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"F32"}  # noqa: SIM118


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_precision_the_hardware_lacks_is_refused(
    tmp_path: Path, model: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunesmith_jobs.models.precision.cpu_bf16_flags", lambda _: set())
    device = "cpu" if precision == "bf16" else "auto"  # fp16 on a CPU is refused before it starts
    outcome = tr.run(tmp_path, model, precision=precision, device=device)
    assert (outcome.outcome, outcome.reason) == (State.FAILED, Reason.BAD_PARAMETERS)
    assert precision in outcome.message


def test_a_poisoned_model_ends_the_run_before_anything_is_saved(tmp_path: Path, model: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    bad = tmp_path / "bad"
    shutil.copytree(model, bad)
    tensors = load_file(bad / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, bad / "model.safetensors", metadata={"format": "pt"})
    outcome = tr.run(tmp_path, bad, save_steps=1)
    assert (outcome.outcome, outcome.reason) == (State.FAILED, Reason.NUMERIC)
    assert "Step 1" in outcome.message
    assert not kinds(tmp_path, "checkpoint")
    assert kinds(tmp_path, "warning")[-1]["code"] == "numeric"


def test_a_gradient_that_stays_zero_is_warned_of_once(tmp_path: Path, model: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    still = tmp_path / "still"
    shutil.copytree(model, still)
    tensors = load_file(still / "model.safetensors")
    tensors["model.norm.weight"].zero_()
    save_file(tensors, still / "model.safetensors", metadata={"format": "pt"})
    assert tr.run(tmp_path, still, max_steps=5).outcome is State.COMPLETED
    assert set(tr.losses(tmp_path, name="grad_norm").values()) == {0.0}
    assert [event["code"] for event in kinds(tmp_path, "warning")] == ["zero_gradient"]


def test_rows_that_cannot_be_trained_are_named(tmp_path: Path, model: Path) -> None:
    rows = tr.write_rows(tmp_path / "train.jsonl", 5)
    with rows.open("a") as file:
        file.write('{"messages": [{"role": "user", "content": "hello"}]}\n')
    outcome = tr.run(tmp_path, model)
    assert outcome.reason is Reason.BAD_DATA
    assert "train.jsonl:6" in outcome.message


def test_rows_without_labels_are_left_out_with_a_warning(tmp_path: Path, model: Path) -> None:
    rows = tr.write_rows(tmp_path / "train.jsonl", 6)
    long = {"messages": [{"role": "user", "content": "dog " * 500}, {"role": "assistant", "content": "cat"}]}
    with rows.open("a") as file:
        file.write(json.dumps(long) + "\n")
    assert tr.run(tmp_path, model, max_length=128, max_steps=1).outcome is State.COMPLETED
    assert {w["code"] for w in kinds(tmp_path, "warning")} == {"rows_without_labels", "rows_cut"}
    assert kinds(tmp_path, "training_started")[0]["facts"]["rows"] == 6
    rows.write_text(json.dumps(long) + "\n")
    again = tr.run(tmp_path, model, max_length=128, max_steps=1, attempt=2)
    assert (again.outcome, again.reason) == (State.FAILED, Reason.BAD_DATA)
    assert "max_length" in again.message


def test_a_model_folder_that_is_none_is_a_bad_model(tmp_path: Path, model: Path) -> None:
    import shutil

    bad = tmp_path / "bad"
    shutil.copytree(model, bad)
    (bad / "model.safetensors").write_bytes(b"short")
    assert tr.run(tmp_path, bad).reason is Reason.BAD_MODEL
    outcome = tr.run(tmp_path, model, target_modules=["nothing_is_called_so"], attempt=2)
    assert outcome.reason is Reason.BAD_PARAMETERS


def test_a_storage_that_takes_nothing_ends_the_run(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunesmith_jobs.train.checkpoint.uploading._TRIES", 1)
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "checkpoints").write_text("a file where the folder should be")
    outcome = tr.run(tmp_path, model)
    assert (outcome.outcome, outcome.reason) == (State.FAILED, Reason.STORAGE), outcome


def test_an_error_in_the_training_code_is_logged(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith_jobs.train.run.trainer import TuneTrainer

    def explode(*_: object, **__: object) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(TuneTrainer, "close_step", explode)
    outcome = tr.run(tmp_path, model)
    assert (outcome.outcome, outcome.reason) == (State.FAILED, Reason.USER_CODE)
    last = kinds(tmp_path, "log")[-1]
    assert last["level"] == "error"
    assert "a bug of ours" in last["message"]
