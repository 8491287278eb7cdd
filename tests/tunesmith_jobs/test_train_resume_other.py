"""Going on from another task's checkpoint under other parameters: refused with each parameter, or they count."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import training_run as tr
from training_run import kinds, losses

from tunesmith.lifecycle import Reason, State

SAME = {"r": 4, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"], "max_steps": 4, "save_steps": 2,
        "lora_dropout": 0.0}  # fmt: skip


@pytest.fixture(scope="module")
def first(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps, with checkpoints after two and four."""
    folder = tmp_path_factory.mktemp("first")
    assert tr.run(folder, model, **SAME).outcome is State.COMPLETED
    return folder


def checkpoint(folder: Path, step: int = 2) -> str:
    return str(folder / "artifacts" / "checkpoints" / f"checkpoint-{step}")


def go_on(first: Path, folder: Path, model: Path, **other: Any) -> Any:
    rows = {"rows": first / "train.jsonl"}
    return tr.run(folder, model, resume_from_checkpoint=checkpoint(first), **(rows | SAME | other))


@pytest.mark.parametrize(
    ("other", "field"),
    [
        ({"lora_alpha": 32}, "lora_alpha"),
        ({"use_rslora": True}, "use_rslora"),
        ({"use_dora": True}, "use_dora"),
        ({"r": 8}, "r"),
        ({"bias": "lora_only"}, "bias"),
        ({"target_modules": ["q_proj", "k_proj"]}, "target_modules"),
        ({"target_modules": ["q_proj"]}, "target_modules"),
        ({"target_modules": "all-linear"}, "target_modules"),
        ({"optim": "sgd"}, "optim"),
        ({"load_in_8bit": True}, "load_in_8bit"),
        ({"peft_config_path": {"r": 4, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"],
                               "alpha_pattern": {"q_proj": 9}}}, "peft_config_path"),
    ],
)  # fmt: skip
def test_another_model_or_optimizer_is_refused_with_its_parameter(
    first: Path, tmp_path: Path, model: Path, other: dict[str, Any], field: str
) -> None:
    if isinstance(other.get("peft_config_path"), dict):
        (tmp_path / "lora.json").write_text(json.dumps(other["peft_config_path"]))
        other = {"peft_config_path": str(tmp_path / "lora.json")}
    outcome = go_on(first, tmp_path, model, **other)
    assert (outcome.outcome, outcome.reason) == (State.FAILED, Reason.BAD_PARAMETERS), outcome
    said = "alpha_pattern" if field == "peft_config_path" else field
    assert f"`{said}" in outcome.message
    assert not kinds(tmp_path, "training_started")


def test_another_base_of_the_same_shape_is_refused(first: Path, tmp_path: Path, model: Path) -> None:
    from safetensors.torch import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(model, other)
    weights = load_file(other / "model.safetensors")
    name = next(name for name in sorted(weights) if "q_proj" in name)
    save_file(weights | {name: weights[name] * 1.01}, other / "model.safetensors", {"format": "pt"})
    outcome = go_on(first, tmp_path, other)
    assert (outcome.outcome, outcome.reason) == (State.FAILED, Reason.BAD_PARAMETERS), outcome
    assert "another base model" in outcome.message


def test_the_same_base_may_lie_elsewhere_and_be_cut_into_files_otherwise(
    first: Path, tmp_path: Path, model: Path
) -> None:
    from transformers import AutoModelForCausalLM

    moved = tmp_path / "moved"
    shutil.copytree(model, moved)
    (moved / "model.safetensors").unlink()
    whole = AutoModelForCausalLM.from_pretrained(model, dtype="auto")
    whole.save_pretrained(moved, max_shard_size="100KB")
    assert len(list(moved.glob("model-*.safetensors"))) > 1
    outcome = go_on(first, tmp_path, moved)
    assert outcome.outcome is State.COMPLETED, outcome
    assert losses(tmp_path) == {step: loss for step, loss in losses(first).items() if step > 2}


def test_a_base_that_was_changed_under_its_own_task_is_not_trained_on(tmp_path: Path, model: Path) -> None:
    from safetensors.torch import load_file, save_file

    base = tmp_path / "base"
    shutil.copytree(model, base)
    assert tr.run(tmp_path, base, stop_at=3, **SAME).reason is Reason.STOPPED_BY_USER
    weights = load_file(base / "model.safetensors")
    save_file({name: tensor * 2 for name, tensor in weights.items()}, base / "model.safetensors")
    outcome = tr.run(tmp_path, base, attempt=2, **SAME)
    assert (outcome.outcome, outcome.reason) == (State.FAILED, Reason.BAD_PARAMETERS), outcome
    assert "another base model" in outcome.message


def test_what_is_asked_of_the_optimizer_counts(first: Path, tmp_path: Path, model: Path) -> None:
    """The checkpoint's rate once won without a word."""
    other = {"learning_rate": 1e-4, "lr_scheduler_type": "constant", "weight_decay": 0.2}
    assert go_on(first, tmp_path, model, **other).outcome is State.COMPLETED
    assert losses(tmp_path, name="learning_rate") == {3: 1e-4, 4: 1e-4}
    from tunesmith_jobs.train.checkpoint.restore import optimizer_state

    groups = optimizer_state(Path(checkpoint(tmp_path, 4)), True)["param_groups"]
    assert max(group["weight_decay"] for group in groups) == 0.2


def test_a_checkpoint_of_before_says_what_it_can(first: Path, tmp_path: Path, model: Path) -> None:
    """One without the file is held against its adapter's own configuration."""
    from tunesmith.artifacts import Manifest, list_files

    old = tmp_path / "old" / "artifacts" / "checkpoints" / "checkpoint-2"
    shutil.copytree(checkpoint(first), old)
    (old / "tunesmith_state_of.json").unlink()
    manifest = Manifest.decode((old / "manifest.json").read_bytes())
    assert manifest
    manifest.files = list_files(old)
    (old / "manifest.json").write_bytes(manifest.encode())
    shutil.copy(first / "train.jsonl", tmp_path / "old" / "train.jsonl")
    for name, other, expected in (("a", {}, State.COMPLETED), ("b", {"lora_alpha": 9}, State.FAILED)):
        (tmp_path / name).mkdir()
        assert go_on(tmp_path / "old", tmp_path / name, model, **other).outcome is expected
