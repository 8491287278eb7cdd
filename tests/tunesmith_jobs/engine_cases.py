"""Candidates that an evaluation's engine is asked about: adapters of every form over a tiny base. No test itself."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from tunesmith.model_step import ModelDocument

LINEAR = ["q_proj", "v_proj", "down_proj"]
FORMS: dict[str, dict[str, Any]] = {
    "lora": {"target_modules": "all-linear"},
    "other_rank": {"target_modules": LINEAR, "r": 8},
    "dora": {"target_modules": LINEAR, "use_dora": True},
    "rslora": {"target_modules": LINEAR, "use_rslora": True},
    "bias": {"target_modules": LINEAR, "bias": "all"},
    "head": {"target_modules": LINEAR, "modules_to_save": ["lm_head"]},
    "rows": {"target_modules": LINEAR, "trainable_token_indices": {"embed_tokens": [5, 6, 7]}},
    "embedding": {"target_modules": [*LINEAR, "embed_tokens"]},
    "lora_bias": {"target_modules": LINEAR, "lora_bias": True},
}


def base_with_bias(folder: Path) -> Path:
    """A tiny Qwen2, which has biases."""
    from small_models import model_of

    return model_of("qwen2", folder)


def make_adapter(base: Path, folder: Path, seed: int = 0, strength: float = 0.2, **config: Any) -> Path:
    """An adapter in which everything that can be trained differs from the base; at strength 0 nothing does."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tuned = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM"} | config))
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(strength * torch.randn_like(parameter))
    tuned.save_pretrained(folder, save_embedding_layers=False)
    return folder


def document(
    base: Path, adapter: Path | None = None, whole: Path | None = None, **training: Any
) -> ModelDocument:
    """The document of a candidate."""
    given: dict[str, Any] = {
        "model_name_or_path": str(whole or base), "train_file": "-", "device": "cpu", "precision": "fp32",
        "use_lora": adapter is not None,
    }  # fmt: skip
    if adapter is not None:
        given |= {"attach_lora": True, "attach_lora_path": str(adapter)}
    from tunesmith.spec.training import TrainSpec

    return ModelDocument(
        task_id="task-1", attempt=1, kind="evaluate", name="step", spec={}, api_url="", token="", work_dir="-",
        submitted_at="2026-11-21T00:00:00Z", model_uri=str(adapter or whole or base),
        training=TrainSpec.read(given | training).model_dump(mode="json"), encoder_path=str(base),
    )  # fmt: skip


def prompts(count: int, low: int = 5, high: int = 70, words: int = 300, seed: int = 1) -> list[list[int]]:
    """Random prompts of many lengths."""
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(low, high, (count,), generator=draw).tolist()
    return [torch.randint(4, words, (length,), generator=draw).tolist() for length in lengths]
