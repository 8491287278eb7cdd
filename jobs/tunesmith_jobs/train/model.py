"""The model of a run: loaded, made trainable, and at the end laid out for those who use it.

Knows transformers and peft; knows nothing of rows or steps.
"""

import shutil
from pathlib import Path
from typing import Any

from tunesmith.errors import InvalidInput, InvalidModel
from tunesmith.lifecycle import Reason
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.train.checkpoints import link_or_copy
from tunesmith_jobs.train.failures import reason_of
from tunesmith_jobs.train.precision import Choice

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
_WEIGHTS = ("*.safetensors", "adapter_config.json", "config.json", "generation_config.json")
_INDEX = "model.safetensors.index.json"

_README = """---
base_model: {base}
---
# {title}

Made by Tunesmith.

```python
{code}
```
"""
_LORA_CODE = """from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer
model, tokenizer = AutoPeftModelForCausalLM.from_pretrained("."), AutoTokenizer.from_pretrained(".")"""
_FULL_CODE = """from transformers import AutoModelForCausalLM, AutoTokenizer
model, tokenizer = AutoModelForCausalLM.from_pretrained("."), AutoTokenizer.from_pretrained(".")"""


def load(path: Path, spec: TrainSpec, choice: Choice) -> Any:
    """The base model in the run's precision, with LoRA matrices or with all weights trainable.

    A frozen base is held in the reduced precision; whatever is trained is held in fp32.

    Raises:
        InvalidModel: The folder cannot be loaded.
        InvalidInput: `target_modules` names nothing that a LoRA can be added to.
    """
    import torch
    from transformers import AutoModelForCausalLM

    reduced = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[choice.precision]
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=reduced if spec.use_lora else torch.float32,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except Exception as error:  # every library on the way raises its own kind
        if reason_of(error) in (Reason.OUT_OF_MEMORY, Reason.BAD_MODEL):
            raise
        raise InvalidModel(
            f"`{path}` cannot be loaded: {error}", hint="`tunesmith models pull` fetches a model that works."
        ) from error
    if not spec.use_lora:
        return model
    from peft import LoraConfig, get_peft_model

    targets: str | list[str] = spec.target_modules
    if targets == ["all-linear"]:
        targets = "all-linear"
    try:
        return get_peft_model(
            model,
            LoraConfig(
                r=spec.r,
                lora_alpha=spec.lora_alpha,
                lora_dropout=spec.lora_dropout,
                target_modules=targets,
                bias=spec.bias,
                task_type="CAUSAL_LM",
            ),
        )
    except ValueError as error:
        raise InvalidInput(f"The LoRA cannot be added: {error}", field="target_modules") from error


def trainable_parameters(model: Any) -> tuple[int, int]:
    """How many parameters are trained, and how many there are."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return trained, sum(p.numel() for p in model.parameters())


def lay_out_final(checkpoint: Path, base: Path, target: Path, *, title: str) -> None:
    """Make the final model's folder from the last checkpoint: by construction the same weights."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for pattern in (*_WEIGHTS, _INDEX):
        for file in sorted(checkpoint.glob(pattern)):
            link_or_copy(file, target / file.name)
    for name in TOKENIZER_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, target / name)
    is_lora = (target / "adapter_config.json").exists()
    readme = _README.format(base=base.name, title=title, code=_LORA_CODE if is_lora else _FULL_CODE)
    (target / "README.md").write_text(readme)
