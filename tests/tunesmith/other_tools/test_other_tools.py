"""Files of LLaMA-Factory and Axolotl train what they say, or are refused with what to do."""

from pathlib import Path
from typing import Any

import pytest
from tool_files import AXOLOTL, LLAMA_FACTORY, given

from tunesmith.cli.given import GivenTraining
from tunesmith.cli.train import check
from tunesmith.errors import InvalidInput
from tunesmith.other_tools import axolotl, llama_factory
from tunesmith.other_tools.reading import read_document
from tunesmith.spec.training import TrainSpec

TOOLS = {"LLaMA-Factory": LLAMA_FACTORY, "Axolotl": AXOLOTL}


def read(tmp_path: Path, document: dict[str, Any], **flags: Any) -> TrainSpec:
    return TrainSpec.read(given(tmp_path, document, **flags).parameters)


def said(training: GivenTraining) -> str:
    return "\n".join(notice.message for notice in training.notices)


def values(spec: TrainSpec, expected: dict[str, Any]) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in expected}


def test_llama_factory(tmp_path: Path) -> None:
    expected = {
        "model_name_or_path": "org/model",
        "training_type": "sft",
        "use_lora": True,
        "r": 12,
        "target_modules": ["q_proj", "v_proj"],
        "train_file": "/data/a.json",
        "max_length": 1024,
        "output_dir": "saves/one/lora",
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 8,
        "learning_rate": 1e-4,
        "num_train_epochs": 4,
        "lr_scheduler_type": "cosine",
        "bf16": True,
        # what the tool takes where its file says nothing
        "lora_alpha": 24,
        "weight_decay": 0,
        "warmup_ratio": 0,
    }
    training = given(tmp_path, LLAMA_FACTORY)
    assert values(TrainSpec.read(training.parameters), expected) == expected
    (harmless,) = [line for line in said(training).splitlines() if "Nothing here depends on" in line]
    for name in ("do_train", "overwrite_cache", "preprocessing_num_workers", "plot_loss", "ddp_timeout"):
        assert f"`{name}`" in harmless
    assert "`weight_decay=0.0`, `lora_alpha=24`" in said(training)
    assert "the model's own is taken" in said(training)


def test_axolotl(tmp_path: Path) -> None:
    expected = {
        "model_name_or_path": "org/model",
        "use_lora": True,
        "load_in_4bit": True,
        "load_in_8bit": False,
        "train_file": "/data/a.jsonl",
        "eval_sampling_ratio": 0.05,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "max_length": 2048,
        "packing": True,
        "r": 32,
        "lora_alpha": 16,
        "target_modules": ["all-linear"],
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 4,
        "num_train_epochs": 3,
        "optim": "paged_adamw_32bit",
        "learning_rate": 2e-4,
        "precision": "auto",
        "bf16": False,
        "attn_implementation": "flash_attention_2",
        "output_dir": "outputs/out",
        "warmup_ratio": 0.03,
        "weight_decay": 0,
    }
    training = given(tmp_path, AXOLOTL)
    assert values(TrainSpec.read(training.parameters), expected) == expected
    assert "not with Axolotl's own prompt text" in said(training)


@pytest.mark.parametrize("tool", TOOLS)
def test_options_win_over_a_file_and_its_tools_defaults(tmp_path: Path, tool: str) -> None:
    spec = read(
        tmp_path, TOOLS[tool], lora_rank="4", lr="1e-5", weight_decay="0.5", train_file="/other.jsonl"
    )
    assert (spec.r, spec.learning_rate, spec.weight_decay, spec.train_file) == (4, 1e-5, 0.5, "/other.jsonl")


@pytest.mark.parametrize("rank", [None, 6, 64])
def test_alpha_follows_the_rank_as_it_does_there(tmp_path: Path, rank: int | None) -> None:
    document = {name: value for name, value in LLAMA_FACTORY.items() if name != "lora_rank"}
    document |= {} if rank is None else {"lora_rank": rank}
    assert read(tmp_path, document).lora_alpha == 2 * (rank or 8)
    assert read(tmp_path, document, r="20").lora_alpha == 40


@pytest.mark.parametrize(
    ("tool", "change", "expected"),
    [
        ("LLaMA-Factory", {"stage": "pt"}, {"training_type": "pretrain", "use_lora": True}),
        ("LLaMA-Factory", {"finetuning_type": "full", "bf16": None}, {"use_lora": False, "learning_rate": 1e-4}),
        ("LLaMA-Factory", {"lora_target": "all"}, {"target_modules": ["all-linear"]}),
        ("LLaMA-Factory", {"lora_target": ["a", "b"]}, {"target_modules": ["a", "b"]}),
        ("LLaMA-Factory", {"quantization_bit": 4}, {"load_in_4bit": True}),
        ("LLaMA-Factory", {"quantization_bit": 8, "quantization_method": "bnb"}, {"load_in_8bit": True}),
        ("LLaMA-Factory", {"flash_attn": "fa2"}, {"attn_implementation": "flash_attention_2"}),
        ("LLaMA-Factory", {"flash_attn": "disabled"}, {"attn_implementation": "eager"}),
        ("LLaMA-Factory", {"train_on_prompt": True}, {"assistant_only_loss": False}),
        ("LLaMA-Factory", {"val_size": 0.1, "eval_strategy": "steps"}, {"eval_sampling_ratio": 0.1}),
        ("LLaMA-Factory", {"disable_gradient_checkpointing": True}, {"gradient_checkpointing": False}),
        ("LLaMA-Factory", {"neat_packing": True}, {"packing": True}),
        ("LLaMA-Factory", {"template": "chatml"}, {"chat_template": "chatml"}),
        ("LLaMA-Factory", {"deepspeed": "/ds/z3.json", "bf16": None}, {"deepspeed": "/ds/z3.json"}),
        ("LLaMA-Factory", {"max_samples": 50}, {"max_samples": 50}),
        ("LLaMA-Factory", {"warmup_steps": 20}, {"warmup_steps": 20}),
        ("LLaMA-Factory", {"report_to": "none"}, {"report_to": ["none"]}),
        ("Axolotl", {"adapter": "lora", "load_in_4bit": None}, {"use_lora": True, "load_in_4bit": False}),
        ("Axolotl", {"adapter": None, "load_in_4bit": False}, {"use_lora": False, "weight_decay": 0}),
        ("Axolotl", {"lora_target_modules": ["q_proj"]}, {"target_modules": ["all-linear"]}),
        ("Axolotl", {"lora_target_linear": None, "lora_target_modules": ["q_proj"]}, {"target_modules": ["q_proj"]}),
        ("Axolotl", {"bf16": True, "fp16": None}, {"bf16": True}),
        ("Axolotl", {"train_on_inputs": True}, {"assistant_only_loss": False}),
        ("Axolotl", {"gradient_checkpointing": "offload"}, {"gradient_checkpointing": True}),
        ("Axolotl", {"gradient_checkpointing": None}, {"gradient_checkpointing": False}),
        ("Axolotl", {"sdp_attention": True, "attn_implementation": None}, {"attn_implementation": "sdpa"}),
        ("Axolotl", {"val_set_size": 0}, {"eval_sampling_ratio": 0, "eval_strategy": "no"}),
        ("Axolotl", {"evals_per_epoch": None}, {"eval_strategy": "epoch"}),
        ("Axolotl", {"evals_per_epoch": None, "eval_steps": 20}, {"eval_strategy": "steps", "eval_steps": 20}),
        ("Axolotl", {"wandb_project": "p"}, {"report_to": ["mlflow", "wandb"], "wandb_project": "p"}),
        ("Axolotl", {"chat_template": "tokenizer_default"}, {"chat_template": None}),
        ("Axolotl", {"batch_size": 8, "gradient_accumulation_steps": None}, {"gradient_accumulation_steps": 4}),
        (
            "Axolotl",
            {"model_type": "AutoModelForSequenceClassification", "sample_packing": None},
            {"training_type": "classification"},
        ),
        ("Axolotl", {"datasets": [{"path": "/t.jsonl", "type": "completion"}]}, {"text_column": "text"}),
        ("Axolotl", {"cosine_min_lr_ratio": 0.1}, {"lr_scheduler_type": "cosine_with_min_lr", "min_lr": 2e-5}),
    ],
)  # fmt: skip
def test_what_single_names_mean(
    tmp_path: Path, tool: str, change: dict[str, Any], expected: dict[str, Any]
) -> None:
    document = {name: value for name, value in (TOOLS[tool] | change).items() if value is not None}
    spec = read(tmp_path, document)
    found = values(spec, expected)
    assert found == pytest.approx(expected) if "min_lr" in expected else found == expected


@pytest.mark.parametrize(
    ("tool", "change", "field"),
    [
        ("LLaMA-Factory", {"stage": "dpo"}, "stage"),
        ("LLaMA-Factory", {"stage": "kto"}, "stage"),
        ("LLaMA-Factory", {"finetuning_type": "freeze"}, "finetuning_type"),
        ("LLaMA-Factory", {"template": "default"}, "template"),
        ("LLaMA-Factory", {"quantization_bit": 3}, "quantization_bit"),
        ("LLaMA-Factory", {"mask_history": True}, "mask_history"),
        ("LLaMA-Factory", {"val_size": 100}, "val_size"),
        ("LLaMA-Factory", {"val_size": "some"}, "val_size"),
        ("LLaMA-Factory", {"neftune_noise_alpha": 5}, "neftune_noise_alpha"),
        ("LLaMA-Factory", {"loraplus_lr_ratio": 16.0}, "loraplus_lr_ratio"),
        ("LLaMA-Factory", {"additional_target": "embed_tokens"}, "additional_target"),
        ("LLaMA-Factory", {"adam_beta2": 0.95}, "adam_beta2"),
        ("LLaMA-Factory", {"do_predict": True}, "do_predict"),
        ("LLaMA-Factory", {"resume_from_checkpoint": True}, "resume_from_checkpoint"),
        ("LLaMA-Factory", {"max_samples": "many"}, "max_samples"),
        ("LLaMA-Factory", {"use_badam": True}, "use_badam"),
        ("Axolotl", {"rl": "dpo"}, "rl"),
        ("Axolotl", {"adapter": "llama-adapter"}, "adapter"),
        ("Axolotl", {"fsdp": ["full_shard"]}, "fsdp"),
        ("Axolotl", {"lora_modules_to_save": ["lm_head"]}, "lora_modules_to_save"),
        ("Axolotl", {"val_set_size": 200}, "val_set_size"),
        ("Axolotl", {"datasets": [{"path": "x/y", "type": "jeopardy"}]}, "datasets"),
        ("Axolotl", {"datasets": [{"type": "alpaca"}]}, "datasets"),
        ("Axolotl", {"datasets": [{"path": "/a", "type": "chat_template", "field_messages": "talk"}]}, "datasets"),
        ("Axolotl", {"datasets": [{"path": "/a", "type": "chat_template", "roles": {"user": ["client"]}}]}, "datasets"),
        ("Axolotl", {"tokens": ["<new>"]}, "tokens"),
        ("Axolotl", {"relora": True}, "relora"),
        ("Axolotl", {"plugins": ["axolotl.integrations.kd.KDPlugin"]}, "plugins"),
        ("Axolotl", {"context_parallel_size": 4}, "context_parallel_size"),
    ],
)  # fmt: skip
def test_what_would_mean_something_else_is_refused(
    tmp_path: Path, tool: str, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        check(given(tmp_path, TOOLS[tool] | change).parameters)
    (problem,) = caught.value.problems
    assert problem.field == field
    assert problem.hint


def test_every_problem_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        given(tmp_path, LLAMA_FACTORY | {"stage": "rm", "use_muon": True, "shift_attn": True})
    assert [problem.field for problem in caught.value.problems] == ["shift_attn", "stage", "use_muon"]


@pytest.mark.parametrize("rules", [llama_factory.RULES, axolotl.RULES], ids=["LLaMA-Factory", "Axolotl"])
@pytest.mark.parametrize("value", [None, False, "", 0, [], {}])
def test_what_is_off_trains_the_same(rules: dict[str, Any], value: Any, tmp_path: Path) -> None:
    """A name that asks for nothing changes nothing, whichever it is: none of them may end in a traceback."""
    tool = LLAMA_FACTORY if rules is llama_factory.RULES else AXOLOTL
    meant = read(tmp_path, tool)
    bare = {name: given for name, given in tool.items() if given is not None}
    for name in rules:
        if name in bare or name in (
            "do_train",
            "lora_target",
            "packing",
            "sample_packing",
            "train_on_inputs",
        ):
            continue
        try:
            other = TrainSpec.read(read_document(bare | {name: value}).parameters)
        except InvalidInput:
            continue  # said in words, as it should be
        kept = ("use_lora", "r", "learning_rate", "max_length", "train_file", "training_type")
        assert {field: getattr(other, field) for field in kept} == {
            field: getattr(meant, field) for field in kept
        }, name
