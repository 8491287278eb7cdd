"""The formula against what the libraries make: counts exactly, memory in the right order and direction."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunesmith.model_folder import check_model_folder
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.estimates import formula
from tunesmith_platform.estimates.shapes import model_shape
from tunesmith_platform.sandbox.checks import model_numbers

SEVEN = {
    "q_proj": (576, 576),
    "k_proj": (576, 192),
    "v_proj": (576, 192),
    "o_proj": (576, 576),
    "gate_proj": (576, 1536),
    "up_proj": (576, 1536),
    "down_proj": (1536, 576),
}
SMOLLM2 = formula.ModelShape(
    parameters=134_515_008,
    hidden=576,
    layers=30,
    heads=9,
    kv_heads=3,
    head_dim=64,
    intermediate=1536,
    vocabulary=49_152,
    matrices=tuple(formula.Matrices(name, i, o, 30, True) for name, (i, o) in SEVEN.items()),
)
LORA = formula.Setting(
    use_lora=True,
    r=16,
    lora_dropout=0.0,
    bias="none",
    use_dora=False,
    bits=0,
    precision="fp32",
    optim="adamw_torch",
    batch=4,
    accumulation=2,
    length=512,
    gradient_checkpointing=False,
)
FULL = replace(LORA, use_lora=False)


def test_the_lora_of_smollm2_is_counted_as_peft_counts_it() -> None:
    assert formula.trainable_parameters(SMOLLM2, LORA) == 4_884_480


@pytest.mark.parametrize(
    "changes",
    [
        {"target_modules": "all-linear", "r": 8},
        {"target_modules": "q_proj,v_proj", "r": 4},
        {"target_modules": "q_proj", "use_dora": True},
        {"use_lora": False},
    ],
)
def test_trainable_parameters_are_those_of_the_library(tiny_model: Path, changes: dict[str, Any]) -> None:
    from tunesmith_jobs.models.build import load, trainable_parameters
    from tunesmith_jobs.models.precision import choose

    spec = TrainSpec.read(
        {"model_name_or_path": str(tiny_model), "train_file": "/t", "device": "cpu", "precision": "fp32"}
        | changes
    )
    trained, total = trainable_parameters(load(tiny_model, spec, choose(spec)))
    shape = model_shape(check_model_folder(tiny_model), model_numbers(tiny_model), spec)
    setting = replace(LORA, use_lora=spec.use_lora, r=spec.r, use_dora=spec.use_dora)
    assert formula.trainable_parameters(shape, setting) == trained
    assert shape.parameters == total - (trained if spec.use_lora else 0)


@pytest.mark.parametrize(
    ("setting", "weights", "gradients", "optimizer"),
    [
        (FULL, 4.0, 4.0, 8.0),
        (replace(FULL, optim="sgd"), 4.0, 4.0, 0.0),
        (replace(FULL, optim="adamw_8bit"), 4.0, 4.0, 2.0),
        (replace(FULL, workers=4, zero_stage=1), 4.0, 4.0, 2.0),
        (replace(FULL, workers=4, zero_stage=2), 4.0, 1.0, 2.0),
        (replace(FULL, workers=4, zero_stage=3), 1.0, 1.0, 2.0),
    ],
)
def test_bytes_a_parameter(
    setting: formula.Setting, weights: float, gradients: float, optimizer: float
) -> None:
    found = formula.memory(SMOLLM2, setting)
    per = SMOLLM2.parameters
    assert (found.weights / per, found.gradients / per, found.optimizer / per) == pytest.approx(
        (weights, gradients, optimizer)
    )


@pytest.mark.parametrize(
    "less",
    [
        replace(LORA, batch=1, accumulation=8),
        replace(LORA, gradient_checkpointing=True),
        replace(LORA, bits=4),
        replace(LORA, length=256),
        replace(LORA, r=4),
    ],
)
def test_what_saves_memory_is_seen_to(less: formula.Setting) -> None:
    assert formula.memory(SMOLLM2, less).peak < formula.memory(SMOLLM2, LORA).peak
    assert formula.memory(SMOLLM2, LORA).peak < formula.memory(SMOLLM2, replace(LORA, use_lora=False)).peak


def test_recomputing_costs_time_and_a_frozen_base_saves_it() -> None:
    def operations(setting: formula.Setting) -> float:
        return formula.step_operations(SMOLLM2, setting, 4096.0, 512.0)

    kept, again, full = (
        operations(LORA),
        operations(replace(LORA, gradient_checkpointing=True)),
        operations(FULL),
    )
    assert 1.2 < again / kept < 1.4
    assert 1.3 < full / kept < 1.6
    # Six operations a parameter and token of a model that is trained whole (Kaplan et al. 2020), and the attention's.
    assert full / (6 * SMOLLM2.parameters * 4096) == pytest.approx(1.13, abs=0.03)


@pytest.mark.parametrize(
    ("lengths", "size", "packs"),
    [([8], 8, 1), ([4, 4], 8, 1), ([5, 4], 8, 2), ([5, 4, 3, 4], 8, 2), ([1] * 9, 8, 2)],
)
def test_packs_are_filled_best_fit(lengths: list[int], size: int, packs: int) -> None:
    assert formula.packed_rows(lengths, size) == packs
