"""What other tools write is read, with a notice of each thing that was said in another way."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunesmith.cli.given import given_training
from tunesmith.cli.train import switches
from tunesmith.errors import InvalidInput
from tunesmith.other_tools.reading import task_and_parameters
from tunesmith.spec.training import TrainSpec

BASE = {"model_name_or_path": "m", "train_file": "/t"}

SIMPLE_FOUNDATION = {
    "model_name_or_path": "mistralai/Mistral-7B-v0.1",
    "use_lora": True,
    "load_in_4bit": True,
    "lora_r": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.05,
    "output_dir": "/checkpoints/mistral-7b-reasoning",
    "max_seq_length": 2048,
    "train_batch_size": 1,
    "gradient_accumulation_steps": 4,
    "num_train_epochs": 3,
    "learning_rate": 2e-5,
    "weight_decay": 0.01,
    "warmup_ratio": 0.03,
    "fp16": True,
    "gradient_checkpointing": True,
    "use_wandb": True,
    "wandb_project": "SimpleFoundation",
    "wandb_name": "mistral-7b-v0.1-reasoning",
}

MODEL_COMPOSE = """
components:
  - id: alpaca-loader
    type: datasets
    path: tatsu-lab/alpaca
  - id: qlora-trainer
    type: model-trainer
    task: sft
    peft_adapter: lora
    lora_r: 64
    lora_alpha: 16
    lora_bias: none
    lora_target_modules: null
    quantization: nf4
    bnb_4bit_compute_dtype: bfloat16
    bnb_4bit_use_double_quant: true
    dataset: /data/train.json
    text_column: text
    max_seq_length: 2048
    packing: true
    learning_rate: 2e-4
    num_epochs: 1
    per_device_train_batch_size: 1
    gradient_accumulation_steps: 16
    optimizer: adamw_8bit
    gradient_checkpointing: true
    bf16: true
    seed: null
    output_dir: /output/qlora-model
"""


def values(spec: TrainSpec, expected: Mapping[str, Any]) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in expected}


def test_a_simple_foundation_config() -> None:
    spec = TrainSpec.read({**SIMPLE_FOUNDATION, "train_file": "/t"})
    expected = {
        "load_in_4bit": True,
        "r": 16,
        "lora_alpha": 32,
        "max_length": 2048,
        "per_device_train_batch_size": 1,
        "num_train_epochs": 3,
        "learning_rate": 2e-5,
        "fp16": True,
        "report_to": ["mlflow", "wandb"],
        "wandb_project": "SimpleFoundation",
    }
    assert values(spec, expected) == expected
    said = " ".join(notice.message for notice in spec.notices)
    for spelling in ("lora_r", "max_seq_length", "train_batch_size", "use_wandb=true"):
        assert f"`{spelling}` was read as" in said


def test_a_simple_foundation_command_line() -> None:
    line = "--use_lora True --load_in_4bit True --num_train_epochs 3 --deepspeed_config /zero3.json --use_wandb True"
    flags = iter(switches(line.split()))
    given = {flag.removeprefix("--"): next(flags) for flag in flags}
    parameters = given_training(None, None, given).parameters
    expected = {"use_lora": True, "load_in_4bit": True, "num_train_epochs": 3, "deepspeed": "/zero3.json"}
    spec = TrainSpec.read(BASE | parameters)
    assert values(spec, expected) == expected
    assert spec.report_to == ["mlflow", "wandb"]


def test_model_composes_trainer_block() -> None:
    task, parameters = task_and_parameters(yaml.safe_load(MODEL_COMPOSE))
    assert task == {}
    spec = TrainSpec.read({"model": "m", **parameters})
    expected = {
        "training_type": "sft",
        "use_lora": True,
        "r": 64,
        "lora_alpha": 16,
        "bias": "none",
        "target_modules": ["auto"],
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_compute_dtype": "bfloat16",
        "train_file": "/data/train.json",
        "max_length": 2048,
        "packing": True,
        "learning_rate": 2e-4,
        "num_train_epochs": 1,
        "optim": "adamw_8bit",
        "seed": 42,
    }
    assert values(spec, expected) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # C22
        ({"quantization": "int4"}, {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}),
        ({"quantization": "int8"}, {"load_in_8bit": True, "load_in_4bit": False}),
        ({"quantization": None}, {"load_in_4bit": False, "load_in_8bit": False}),
        # C28
        (
            {"lora": {"rank": 8, "alpha": 32, "dropout": 0.1, "bias": "all"}},
            {"use_lora": True, "r": 8, "lora_alpha": 32, "lora_dropout": 0.1, "bias": "all"},
        ),
        ({"lora": {}}, {"use_lora": True}),
        ({"lora.rank": 8, "lora.alpha": 4}, {"r": 8, "lora_alpha": 4}),
        ({"peft_adapter": None}, {"use_lora": False}),
        ({"finetuning_type": "full"}, {"use_lora": False, "learning_rate": 2e-5}),
        # Hugging Face
        ({"completion_only_loss": False}, {"assistant_only_loss": False}),
        ({"train_on_inputs": True}, {"assistant_only_loss": False}),
        ({"dataset_text_field": "body"}, {"text_column": "body"}),
        ({"activation_checkpointing": False}, {"gradient_checkpointing": False}),
        ({"use_cpu": "True"}, {"device": "cpu"}),
        ({"use_cpu": False}, {"device": "auto"}),
        ({"task_type": "SEQ_CLS"}, {"training_type": "classification"}),
        ({"task_type": "CAUSAL_LM"}, {"training_type": "sft"}),
        ({"warmup_steps": 0.03}, {"warmup_ratio": 0.03, "warmup_steps": 0}),
        (
            {"lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 3}},
            {"num_cycles": 3},
        ),
        (
            {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs.min_lr": 1e-6},
            {"min_lr": 1e-6},
        ),
        ({"flash_attention": True}, {"attn_implementation": "flash_attention_2"}),
        ({"flash_attn": "fa2"}, {"attn_implementation": "flash_attention_2"}),
        ({"deepspeed": 2}, {"deepspeed_stage": 2, "deepspeed": None}),
        ({"deepspeed": "zero3"}, {"deepspeed_stage": 3, "deepspeed": None}),
        ({"deepspeed_config": "/d.json"}, {"deepspeed": "/d.json", "deepspeed_stage": 0}),
        ({"adapter_name_or_path": "/lora"}, {"attach_lora": True, "attach_lora_path": "/lora"}),
        ({"report_to": "all"}, {"report_to": ["mlflow", "tensorboard", "wandb"]}),
        ({"report_to": "tensorboard", "use_wandb": True}, {"report_to": ["tensorboard", "wandb"]}),
        ({"fraction": 1.0}, {"max_samples": 0}),
    ],
)
def test_other_structures(given: dict[str, Any], expected: dict[str, Any]) -> None:
    spec = TrainSpec.read(BASE | given)
    assert values(spec, expected) == expected


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"quantization": "gptq"}, "quantization", "not known here"),
        ({"peft_adapter": "prefix"}, "peft_adapter", "not known here"),
        ({"lora": {"rnk": 8}}, "lora.rnk", "knows no `rnk`"),
        ({"lora": 8}, "lora", "mapping"),
        ({"lora": {"rank": 8}, "r": 16}, "r", "is given too"),
        ({"quantization": "nf4", "load_in_4bit": False}, "load_in_4bit", "is given too"),
        ({"use_cpu": True, "device": "gpu"}, "device", "is given too"),
        ({"use_wandb": "perhaps"}, "use_wandb", "neither true nor false"),
        ({"deepspeed": {"zero_optimization": {"stage": 2}}}, "deepspeed", "given as a file"),
        ({"fraction": 0.1}, "fraction", "share of the rows"),
    ],
)
def test_what_cannot_be_read_is_said(given: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        TrainSpec.read(BASE | given)
    (problem,) = caught.value.problems
    assert problem.field == field
    assert words in problem.message
    assert problem.hint


@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump])
def test_a_file_may_hold_the_task_too(tmp_path: Path, write: Any) -> None:
    file = tmp_path / "task.yml"
    file.write_text(
        write({"name": "ember", "tags": ["a"], "spec": {"lora": {"rank": 8, "alpha": 4}, "seed": 1}})
    )
    given = given_training(file, None, {"r": "2"})
    assert given.task == {"name": "ember", "tags": ["a"]}
    assert given.parameters == {"use_lora": True, "lora_alpha": 4, "seed": 1, "r": "2"}
    file.write_text(write({"task_name": "ember", "seed": 1}))
    given = given_training(file, None, {})
    assert (given.task, given.parameters) == ({"name": "ember"}, {"seed": 1})
