"""Parameters that rule each other out are refused, each with its place, the reason and the way on."""

from typing import Any

import pytest

from tunesmith.errors import InvalidInput
from tunesmith.spec.training import TrainSpec

EVALUATES = {"eval_strategy": "steps", "eval_file": "/e"}
SCORED = {"evaluate_checkpoints": True, "metric_for_best_model": "composite"}
CASES: list[tuple[dict[str, Any], str, str]] = [
    # C13
    ({"bf16": True, "fp16": True}, "fp16", "exclude each other"),
    ({"bf16": True, "precision": "fp32"}, "bf16", "contradicts"),
    ({"fp16": True, "precision": "bf16"}, "fp16", "contradicts"),
    ({"fp16": True, "device": "cpu"}, "fp16", "needs a GPU"),
    ({"precision": "fp16", "use_cpu": True}, "precision", "needs a GPU"),
    ({"flash_attn": True, "device": "cpu"}, "attn_implementation", "needs a GPU"),
    ({"flash_attn": True, "precision": "fp32"}, "attn_implementation", "16 bits"),
    # C17, C19
    ({"eval_strategy": "epoch"}, "eval_strategy", "needs rows"),
    ({"early_stopping_patience": 3}, "early_stopping_patience", "needs evaluations"),
    ({"metric_for_best_model": "eval_perplexity"}, "metric_for_best_model", "needs evaluations"),
    ({"save_strategy": "best"}, "save_strategy", "needs evaluations"),
    ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "lr_scheduler_type", "needs evaluations"),
    ({**EVALUATES, "metric_for_best_model": "f1"}, "metric_for_best_model", "classification only"),
    (
        {**EVALUATES, "task": "classification", "metric_for_best_model": "eval_perplexity"},
        "metric_for_best_model",
        "not for classes",
    ),
    ({"metric_for_best_model": "composite"}, "metric_for_best_model", "score of answers"),
    ({**EVALUATES, "metric_for_best_model": "rouge_l"}, "metric_for_best_model", "score of answers"),
    ({"evaluate_checkpoints": True, "save_strategy": "best"}, "save_strategy", "needs evaluations"),
    ({**SCORED, **EVALUATES, "save_strategy": "best"}, "save_strategy", "are saved"),
    (
        {**SCORED, "save_strategy": "no", "early_stopping_patience": 2},
        "early_stopping_patience",
        "last alone",
    ),
    (
        {**EVALUATES, "evaluate_checkpoints": True, "task": "classification"},
        "evaluate_checkpoints",
        "no answers",
    ),
    (
        {
            **EVALUATES,
            "eval_strategy": "no",
            "evaluate_checkpoints": True,
            "metric_for_best_model": "eval_loss",
            "early_stopping_patience": 1,
        },
        "early_stopping_patience",
        "needs evaluations",
    ),
    # C27
    ({"text_column": "t", "prompt_column": "p", "response_column": "r"}, "text_column", "exclude each other"),
    ({"dataset_text_field": "t", "response_column": "r"}, "text_column", "exclude each other"),
    # C45, LoRA
    ({"attach_lora": True}, "attach_lora_path", "needs the weights"),
    ({"attach_lora_path": "/l", "use_lora": False}, "attach_lora", "trains none"),
    ({"attach_lora_path": "/l", "peft_config_path": "/c"}, "peft_config_path", "both say"),
    ({"attach_lora_path": "/l", "resume_from_checkpoint": "/c"}, "resume_from_checkpoint", "both say"),
    ({"target_modules": ["all-linear", "q_proj"]}, "target_modules", "stands alone"),
    ({"target_modules": "auto,q_proj"}, "target_modules", "stands alone"),
    # C22
    ({"load_in_4bit": True, "use_lora": False}, "load_in_4bit", "cannot be trained"),
    ({"quantization": "int8", "use_lora": False}, "load_in_8bit", "cannot be trained"),
    ({"task": "pretrain", "load_in_4bit": True}, "load_in_4bit", "cannot be trained"),
    ({"load_in_4bit": True, "load_in_8bit": True}, "load_in_8bit", "exclude each other"),
    # C21 and optimizers
    ({"use_8bit_optimizer": True, "optim": "sgd"}, "use_8bit_optimizer", "no 8-bit form"),
    ({"use_8bit_optimizer": True, "optim": "adafactor"}, "use_8bit_optimizer", "no 8-bit form"),
    ({"use_8bit_optimizer": True, "optim": "grokadamw"}, "use_8bit_optimizer", "no 8-bit form"),
    ({"optim": "galore_adamw"}, "optim", "LoRA trains none"),
    ({"optim": "apollo_adamw"}, "optim", "LoRA trains none"),
    (
        {"lr_scheduler_type": "cosine_with_min_lr", "min_lr": 1e-3, "learning_rate": 1e-4},
        "min_lr",
        "no less than",
    ),
    # DeepSpeed
    ({"deepspeed": "zero3", "load_in_4bit": True}, "deepspeed_stage", "cannot be"),
    ({"deepspeed": 2, "deepspeed_offload": "nvme"}, "deepspeed_offload", "stage 3"),
    # the rest
    ({"max_steps": 0}, "max_steps", "train nothing"),
    ({"report_to": ["none", "wandb"]}, "report_to", "stands alone"),
]


@pytest.mark.parametrize(
    ("given", "field", "reason"), CASES, ids=[f"{c[1]}-{i}" for i, c in enumerate(CASES)]
)
def test_what_cannot_be_together_is_refused(given: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        TrainSpec.read({"model": "m", "train_file": "/t"} | given)
    (problem,) = caught.value.problems
    assert problem.field == field
    assert reason in problem.message
    assert problem.hint


@pytest.mark.parametrize(
    "given",
    [
        {**EVALUATES, "early_stopping_patience": 3, "save_strategy": "best"},
        {"eval_sampling_ratio": 0.1, "eval_strategy": "epoch", "lr_scheduler_type": "reduce_lr_on_plateau"},
        {"optim": "galore_adamw", "use_lora": False},
        {"use_8bit_optimizer": True, "optim": "paged_adamw_8bit"},
        {"load_in_4bit": True, "deepspeed_stage": 2},
        {"deepspeed_stage": 3, "deepspeed_offload": "nvme"},
        {"task": "classification", **EVALUATES, "metric_for_best_model": "f1"},
        {"task": "pretrain", "use_lora": True, "load_in_4bit": True},
        {"text_column": "t", "system_column": "s"},
        {"bf16": True, "precision": "bf16"},
        {**SCORED, "early_stopping_patience": 2},
        {**SCORED, **EVALUATES},
        {**EVALUATES, "evaluate_checkpoints": True, "save_strategy": "best"},
        {"evaluate_checkpoints": True, "save_strategy": "no"},
    ],
)
def test_what_fits_together_is_taken(given: dict[str, Any]) -> None:
    TrainSpec.read({"model": "m", "train_file": "/t"} | given)


def test_all_conflicts_are_named_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        TrainSpec.read({"model": "m", "train_file": "/t", "bf16": 1, "fp16": 1, "max_steps": 0})
    assert [problem.field for problem in caught.value.problems] == ["fp16", "max_steps"]
    assert "(and 1 more)" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("eval_sampling_ratio", 1.0),  # C33: nothing would be left to train on
        ("warmup_ratio", 1.0),  # C10: transformers 5 reads 1.0 as one step
        ("lora_dropout", 1.0),  # zeroes the LoRA
        ("max_length", 131_073),  # C8
        ("seed", 2**32),  # C23
        ("learning_rate", 0.2),
    ],
)
def test_bounds_hold(name: str, value: float) -> None:
    with pytest.raises(InvalidInput) as caught:
        TrainSpec.read({"model": "m", "train_file": "/t", name: value})
    assert caught.value.problems[0].field == name
