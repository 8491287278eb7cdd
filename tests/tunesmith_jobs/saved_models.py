"""What was saved, loaded as anyone loads it, beside what the run's own model computed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import training_run as tr

from tunesmith.lifecycle import State

IDS = list(range(5, 29))
ENDS = ["embed_tokens", "lm_head"]
TIED = {"tie_word_embeddings": True}
Bases = Callable[..., Path]
Seen = dict[str, Any]


def logits(model: Any) -> Any:
    import torch

    was_training = model.training
    model.eval()
    with torch.no_grad():
        found = model(input_ids=torch.tensor([IDS])).logits.float().clone()
    model.train(was_training)
    return found


def loaded(folder: Path, base: Path, seed: int, **options: Any) -> Any:
    """The logits of a folder, loaded as anyone loads it, under another random state than the run's."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    is_adapter = (folder / "adapter_config.json").exists()
    model = AutoModelForCausalLM.from_pretrained(
        base if is_adapter else folder, dtype=torch.float32, **options
    )
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # computes in bf16, whatever it is asked for
    return logits(PeftModel.from_pretrained(model, folder) if is_adapter else model)


def differs(one: Any, other: Any) -> float:
    return float((one - other).abs().max())


def is_same(one: Any, other: Any) -> bool:
    """Whether two hold the same numbers, as far as fp32 holds them: some starts learn logits of hundreds."""
    return differs(one, other) < max(1e-4, 1e-5 * float(other.abs().max()))


def trained(folder: Path, base: Path, lora: dict[str, Any] | None = None, **spec: Any) -> Any:
    """Three steps, saved after the second and the last one."""
    if lora is not None:
        file = folder / "lora.json"
        file.write_text(json.dumps({"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]} | lora))
        spec["peft_config_path"] = str(file)
    return tr.run(folder, base, **({"max_steps": 3, "save_steps": 2, "lora_dropout": 0.0} | spec))


def quantized(spec: dict[str, Any]) -> dict[str, Any]:
    """What loads a base as the run did."""
    import torch
    from transformers import BitsAndBytesConfig

    if spec.get("load_in_8bit"):
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True), "device_map": {"": "cpu"}}
    if not spec.get("load_in_4bit"):
        return {}
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.float32,
        bnb_4bit_use_double_quant=True,
    )
    return {"quantization_config": config, "device_map": {"": "cpu"}}


def check(folder: Path, base: Path, seen: Seen, lora: dict[str, Any] | None = None, **spec: Any) -> None:
    """Train, and compare everything that was saved with the run's own model."""
    is_lora = spec.get("use_lora", True)
    merges = is_lora and spec.setdefault("merge_lora_after_training", True)
    outcome = trained(folder, base, lora, **spec)
    assert outcome.outcome is State.COMPLETED, outcome
    final, checkpoints = folder / "artifacts" / "model", folder / "artifacts" / "checkpoints"
    adapter = final / "adapter" if merges else final
    options = quantized(spec)
    wanted = seen["checkpoint-3"]
    assert differs(wanted, loaded(base, base, 1, **options)) > 1e-2, "nothing was learned"
    assert differs(wanted, seen["checkpoint-2"]) > 1e-4
    for seed, (saved, step) in enumerate(
        ((checkpoints / "checkpoint-2", 2), (checkpoints / "checkpoint-3", 3), (adapter, 3)), start=11
    ):
        assert is_same(loaded(saved, base, seed, **options), seen[f"checkpoint-{step}"]), saved
    if merges:
        # A base that was quantised is merged as it is stored: the same adapter over other weights than the run's.
        over = loaded(adapter, base, 21) if options else wanted
        assert is_same(loaded(final, base, 22), over)


def model_for(base: Path, **given: Any) -> Any:
    """A model as a run has it before its first step."""
    from tunesmith.spec.training import TrainSpec
    from tunesmith_jobs.models import build
    from tunesmith_jobs.models.precision import choose

    spec = TrainSpec.read(
        {"model_name_or_path": str(base), "train_file": "/t", "precision": "fp32", "device": "cpu"} | given
    )
    return build.load(base, spec, choose(spec))


def moved(model: Any) -> Any:
    """What it computes once everything that is trained has moved."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return logits(model)


def moved_to_another_device(model: Any) -> Any:
    """Each tensor made anew, in fp32: which is what a move to a GPU does to memory that two of them share."""
    return model._apply(lambda one: (one.float() if one.is_floating_point() else one).clone())
