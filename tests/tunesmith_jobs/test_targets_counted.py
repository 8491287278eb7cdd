"""How many numbers a LoRA trains: what the estimate counts from the files is what the job trains and says."""

import json
from pathlib import Path
from typing import Any

import pytest
from small_models import model_of

from tunesmith.model_folder import check_model_folder
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.models import build
from tunesmith_jobs.models.precision import choose
from tunesmith_platform.backends.compute import Compute
from tunesmith_platform.estimates.formula import trainable_parameters
from tunesmith_platform.estimates.shapes import model_shape, setting_of

ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
FUSED = {"gate_up_proj", "down_proj"}


@pytest.mark.parametrize(
    ("kind", "targets", "shown"),
    [
        ("llama", "auto", ATTENTION | {"gate_proj", "up_proj", "down_proj"}),
        ("llama", "all-linear", ATTENTION | {"gate_proj", "up_proj", "down_proj"}),
        ("llama", "self_attn.q_proj", {"q_proj"}),
        ("opt", "auto", {"q_proj", "k_proj", "v_proj"}),
        ("opt", "all-linear", {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"}),
        ("qwen3_moe", "auto", ATTENTION | FUSED),
        ("qwen3_moe", "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj", ATTENTION | FUSED),
        ("qwen3_moe", "all-linear", None),
        ("mixtral", "auto", ATTENTION),
        ("mixtral", "all-linear", ATTENTION | FUSED | {"gate"}),
        ("mixtral", "w1,w2,w3", FUSED),
        ("gpt_oss", "auto", ATTENTION),
        ("gpt_oss", "all-linear", ATTENTION),
    ],
)
def test_the_estimate_counts_what_is_trained(
    tmp_path: Path, kind: str, targets: str, shown: set[str] | None
) -> None:
    base = model_of(kind, tmp_path / "model")
    spec = TrainSpec.read(
        {"model_name_or_path": str(base), "train_file": "/t", "target_modules": targets, "precision": "fp32"}
    )
    config: dict[str, Any] = json.loads((base / "config.json").read_text())
    numbers = {name: value for name, value in config.items() if type(value) is int}
    files = check_model_folder(base)
    counted = trainable_parameters(model_shape(files, numbers, spec), setting_of(spec, Compute(), "cpu", 64))
    found = build.facts(build.load(base, spec, choose(spec)), spec)
    assert counted == found["trainable_parameters"]
    if shown is not None:
        assert set(found["lora_targets"]) == shown
