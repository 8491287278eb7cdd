"""Every combination of architecture, method, quantisation and task trains, or is refused at submit by its field."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import training_run as tr
from architectures import make

from tunesmith.errors import InvalidInput, TunesmithError
from tunesmith.lifecycle import State
from tunesmith.spec.training import TrainSpec

METHODS: dict[str, dict[str, Any]] = {
    "full": {"use_lora": False},
    "lora": {"target_modules": ["all-linear"]},
    "lora-auto": {"target_modules": ["auto"]},
    "lora-default": {"target_modules": ...},
    "lora-bias": {"target_modules": ["all-linear"], "bias": "all"},
    "dora": {"target_modules": ["all-linear"], "use_dora": True},
    "rslora-merged": {
        "target_modules": ["all-linear"], "use_rslora": True, "merge_lora_after_training": True,
    },
    "qlora": {"target_modules": ["all-linear"], "load_in_4bit": True},
    "qlora-fp4-double": {
        "target_modules": ["all-linear"], "load_in_4bit": True, "bnb_4bit_quant_type": "fp4",
        "bnb_4bit_use_double_quant": True, "merge_lora_after_training": True,
    },
    "qdora": {"target_modules": ["all-linear"], "load_in_4bit": True, "use_dora": True},
    "int8": {"target_modules": ["all-linear"], "load_in_8bit": True},
    "galore": {"use_lora": False, "optim": "galore_adamw"},
    "checkpointing": {"target_modules": ["all-linear"], "gradient_checkpointing": True},
    "eager": {"use_lora": False, "attn_implementation": "eager"},
    "full-bf16": {"use_lora": False, "precision": "auto"},
    "lora-bf16": {"target_modules": ["all-linear"], "precision": "auto"},
}  # fmt: skip
TASKS: dict[str, dict[str, Any]] = {
    "sft": {},
    "packed": {"packing": True},
    "text": {"text_column": "text"},
    "pretrain": {"training_type": "pretrain"},
    "classification": {"training_type": "classification"},
    "evaluated": {"eval_sampling_ratio": 0.4, "eval_strategy": "steps", "eval_steps": 1},
}
QUICK: dict[str, list[tuple[str, str]]] = {
    "llama": [("lora", "sft"), ("full", "pretrain")],
    "opt": [("lora-default", "sft"), ("lora", "classification"), ("qlora", "packed")],
    "gpt2": [("lora", "text"), ("int8", "sft"), ("dora", "sft")],
    "mamba2": [("lora-auto", "packed"), ("full", "classification"), ("lora-bf16", "sft")],
    "bert": [("qlora", "classification")],
    "rwkv": [("qlora", "sft")],
    "mixtral": [("lora", "sft"), ("qlora", "sft")],
}
"""One of each way to be different: names of layers, Conv1D, a state, experts."""
LONG = (
    "llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi", "phi3", "mistral", "falcon", "bloom", "opt", "gpt2",
    "gpt_neox", "gptj", "mpt", "stablelm", "starcoder2", "olmo2", "cohere", "glm4", "granite", "smollm3", "mixtral",
    "qwen3_moe", "gpt_oss", "deepseek_v3", "granitemoe", "mamba", "mamba2", "rwkv", "falcon_mamba", "jamba", "lfm2",
    "qwen3_next", "recurrent_gemma", "nemotron", "bert", "xglm", "gpt_bigcode", "openai-gpt",
)  # fmt: skip


def rows_of(folder: Path, task: str) -> Path:
    file = folder / f"{task}.jsonl"
    if task in ("text", "pretrain"):
        return tr.write_lines(file, [{"text": f"document {n} " + "so very " * n} for n in range(8)])
    if task == "classification":
        return tr.write_lines(file, [{"text": f"row {n}", "label": "ab"[n % 2]} for n in range(8)])
    return tr.write_rows(file, 8)


def refused(spec: dict[str, Any], folder: Path) -> list[str] | None:
    """The fields by which a submit refuses a task on a machine of this kind; None where it takes it."""
    from tunesmith_platform.backends.compute import compute_of
    from tunesmith_platform.settings import Settings
    from tunesmith_platform.tasks.inputs import check_train_inputs

    compute = compute_of(None, "http://127.0.0.1:1")
    try:
        read = TrainSpec.read(spec)
        settings = Settings(home=folder / "home", allowed_roots=[folder])
        check_train_inputs(read, settings, compute=compute)
    except InvalidInput as error:
        return [problem.field or "" for problem in error.problems] or [error.field or ""]
    return None


def combine(kind: str, pairs: list[tuple[str, str]], folder: Path) -> Iterator[str]:
    """What went wrong: each line names a combination, and how it ended."""
    model = make(kind, folder / "model")
    for method, task in pairs:
        place = folder / f"{method}-{task}"
        place.mkdir()
        rows = rows_of(place, task)
        more = {key: value for key, value in (METHODS[method] | TASKS[task]).items() if value is not ...}
        given = {
            "model_name_or_path": str(model), "train_file": str(rows), "max_steps": 1, "save_strategy": "no",
            "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "max_length": 256, "precision": "fp32",
            "gradient_checkpointing": False, "device": "cpu",
        } | more  # fmt: skip
        by = refused(given, folder)
        if by is not None:
            if not by or not all(
                field.removeprefix("spec.").partition(":")[0] in TrainSpec.model_fields for field in by
            ):
                yield f"{kind} {method} {task}: refused, by no field: {by}"
            continue
        found = end_of(place, model, rows, given)
        if found:
            yield f"{kind} {method} {task}: {found}"


def end_of(folder: Path, model: Path, rows: Path, given: dict[str, Any]) -> str:
    """How a training that was accepted ended, where it did not complete with a loss."""
    from tunesmith_jobs.train.core import train
    from tunesmith_jobs.train.job import Identity, Paths

    paths = Paths(
        model=model, train=rows, eval=None, artifact_uri=str(folder / "artifacts"), scratch=folder / "scratch"
    )
    outlet = tr.FileOutlet(folder / "events-1.jsonl")
    try:
        outcome = train(TrainSpec.read(given), paths, outlet, Identity("task-1"))
    except TunesmithError as error:
        return f"refused by the job alone: {error.message}"
    if outcome.outcome is not State.COMPLETED:
        return f"{outcome.reason}: {outcome.message[:300]}"
    losses = tr.losses(folder)
    if losses.get(1) is None or not losses[1] > 0:
        return f"no loss: {losses}"
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("kind", QUICK)
def test_a_combination_trains_or_is_refused_at_submit(tmp_path: Path, kind: str) -> None:
    assert list(combine(kind, QUICK[kind], tmp_path)) == []


@pytest.mark.long
@pytest.mark.parametrize("kind", LONG)
def test_every_combination_trains_or_is_refused_at_submit(tmp_path: Path, kind: str) -> None:
    pairs = [(method, "sft") for method in METHODS]
    pairs += [(method, task) for method in ("full", "lora", "qlora") for task in TASKS if task != "sft"]
    assert list(combine(kind, pairs, tmp_path)) == []
