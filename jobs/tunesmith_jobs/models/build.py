"""The model of a run: loaded and made trainable.

Knows transformers and peft; knows nothing of rows or steps.
"""

import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunesmith.errors import InvalidInput, InvalidModel
from tunesmith.lifecycle import Reason
from tunesmith.model_folder import TOKENIZER_FILES, bits_of, check_model_folder, is_plain_file, whole_layers
from tunesmith.rows.chat.template import TEMPLATE_FILE
from tunesmith.rows.files.json_file import read_object
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.failures import reason_of
from tunesmith_jobs.models.adapters import add_lora, linear_names
from tunesmith_jobs.models.precision import Choice
from tunesmith_jobs.models.reading import CLASS_HEADS, load_model


def load(path: Path, spec: TrainSpec, choice: Choice, labels: Sequence[str] | None = None) -> Any:
    """The base model in the run's precision, with LoRA matrices or with all weights trainable.

    A frozen base is held in the reduced precision, or quantised; whatever is trained is held in fp32.

    Args:
        path: The base model's folder.
        spec: The parameters.
        choice: The device and the precision.
        labels: The classes' names in the order of their numbers, where it is to classify.

    Raises:
        InvalidModel: The folder cannot be loaded.
        InvalidInput: The LoRA does not fit this model, or a package is missing.
    """
    model = load_frozen(path, spec, choice, labels, is_trained=not spec.use_lora)
    return with_adapter(model, path, spec) if spec.use_lora else model


def load_frozen(
    path: Path,
    spec: TrainSpec,
    choice: Choice,
    labels: Sequence[str] | None = None,
    *,
    is_trained: bool = False,
) -> Any:
    """The base model as a run holds it before a LoRA is added; see `load`.

    Args:
        path: The base model's folder.
        spec: The parameters.
        choice: The device and the precision.
        labels: The classes' names, where it is to classify.
        is_trained: Whether its own weights are trained, and so held in fp32.

    Raises:
        InvalidModel: The folder cannot be loaded.
        InvalidInput: A package is missing.
    """
    import torch

    reduced = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[choice.precision]
    options: dict[str, Any] = {"dtype": torch.float32 if is_trained else reduced}
    if spec.attn_implementation != "auto" or choice.attention != "sdpa":
        # Else transformers picks: SDPA too, but not for an architecture that lacks it.
        options["attn_implementation"] = choice.attention
    if spec.load_in_4bit or spec.load_in_8bit:
        options |= _quantized(spec, choice, reduced)
        whole = whole_layers(str(read_object(path / "config.json").get("model_type")), bits_of(spec))
        if whole or labels is not None:
            # What is named here takes the place of the head that transformers leaves whole by itself.
            heads = ("lm_head",) if labels is None else CLASS_HEADS
            options["quantization_config"].llm_int8_skip_modules = [*heads, *sorted(whole)]
    return load_base(path, labels, options)


def with_adapter(model: Any, path: Path, spec: TrainSpec) -> Any:
    """A base model of `load_frozen` with the run's LoRA: a new one, or the adapter that is trained on.

    Raises:
        InvalidInput: The LoRA does not fit this model.
    """
    import torch

    if spec.load_in_4bit or spec.load_in_8bit:
        from peft import prepare_model_for_kbit_training

        _keep_differentiable(model)
        # The Trainer turns gradient checkpointing on, without reentry: it needs no help here.
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    tuned = add_lora(model, spec, _layers_in_files(path, model))
    for parameter in tuned.parameters():
        if parameter.requires_grad:  # a trained bias or head: peft leaves it as the base has it
            parameter.data = parameter.data.to(torch.float32)
    return tuned


def _layers_in_files(path: Path, model: Any) -> Sequence[str]:
    """The names of the linear layers by the files, as who looks before the start sees them."""
    try:
        return check_model_folder(path, needs_tokenizer=False).linear_modules
    except InvalidModel:  # a folder that transformers loads all the same
        return linear_names(model)


def load_base(path: Path, labels: Sequence[str] | None, options: dict[str, Any]) -> Any:
    """A base model from its folder.

    Args:
        path: The folder.
        labels: The classes' names, where it is to classify.
        options: What transformers is told besides.

    Raises:
        InvalidModel: The folder cannot be loaded.
    """
    try:
        model = load_model(path, labels, **options)
    except InvalidModel:
        raise
    except Exception as error:  # every library on the way raises its own kind
        if reason_of(error) in (Reason.OUT_OF_MEMORY, Reason.BAD_MODEL):
            raise
        raise InvalidModel(
            f"`{path}` cannot be loaded: {error}", hint="`tunesmith models pull` fetches a model that works."
        ) from error
    if labels is not None:
        model.config.pad_token_id = pad_id(model)  # the head reads the last token that is no padding
    return model


def _quantized(spec: TrainSpec, choice: Choice, reduced: Any) -> dict[str, Any]:
    """What loads a quantised base.

    Raises:
        InvalidInput: bitsandbytes is not installed.
    """
    field = "load_in_4bit" if spec.load_in_4bit else "load_in_8bit"
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InvalidInput(
            f"`{field}` needs the package bitsandbytes, which is not installed here.",
            hint="Install it where the workers run: `pip install bitsandbytes`.",
            field=field,
        )
    import torch
    from transformers import BitsAndBytesConfig

    compute = reduced if spec.bnb_4bit_compute_dtype == "auto" else spec.bnb_4bit_compute_dtype
    config = (
        BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=spec.bnb_4bit_quant_type,
            bnb_4bit_compute_dtype=compute,
            bnb_4bit_use_double_quant=spec.bnb_4bit_use_double_quant,
        )
        if spec.load_in_4bit
        else BitsAndBytesConfig(load_in_8bit=True)
    )
    # Quantised weights cannot be moved later: they are made where they are needed.
    place: Any = torch.cuda.current_device() if choice.device == "cuda" else "cpu"
    return {"quantization_config": config, "device_map": {"": place}}


def _keep_differentiable(model: Any) -> None:
    """Keep 4-bit weights in the layout that gradients pass through.

    On a CPU with bf16 instructions bitsandbytes (0.50) lays them out anew at the first forward pass of an evaluation,
    for a kernel that has no gradient, and leaves them so: training would go on without each layer's input gradient.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def facts(model: Any, spec: TrainSpec) -> dict[str, Any]:
    """What became of the model's parameters, for the task's page."""
    trained, total = trainable_parameters(model)
    found: dict[str, Any] = {
        "trainable_parameters": trained,
        "parameters": total,
        "attention": getattr(model.config, "_attn_implementation", None),
        "quantization": _quantization(spec),
    }
    configs = getattr(model, "peft_config", None)
    if configs:
        config = next(iter(configs.values()))
        targets = config.target_modules
        found |= {
            "lora_r": config.r,
            "lora_alpha": config.lora_alpha,
            "lora_targets": targets
            if isinstance(targets, str)
            else sorted({name.rsplit(".", 1)[-1] for name in targets or ()} | _expert_targets(config)),
            "adapter": spec.attach_lora_path,
        }
    return found


def _expert_targets(config: Any) -> set[str]:
    """Tensors of a layer's experts and router that have a LoRA."""
    names = getattr(config, "target_parameters", None) or ()
    return {name.removesuffix(".weight").rsplit(".", 1)[-1] for name in names}


def _quantization(spec: TrainSpec) -> str:
    if spec.load_in_8bit:
        return "int8"
    if not spec.load_in_4bit:
        return "none"
    return spec.bnb_4bit_quant_type + (", double" if spec.bnb_4bit_use_double_quant else "")


def pad_id(model: Any) -> int:
    """Any token will do for padding: it is masked and never trained."""
    config = model.config
    for name in ("pad_token_id", "eos_token_id"):
        value = getattr(config, name, None)
        if isinstance(value, list):
            value = value[0] if value else None
        if isinstance(value, int) and value >= 0:
            return value
    return 0


def trainable_parameters(model: Any) -> tuple[int, int]:
    """How many parameters are trained, and how many there are."""
    trained = total = 0
    for parameter in model.parameters():
        count = parameter.numel()
        if type(parameter).__name__ == "Params4bit":
            count *= 2 * parameter.element_size()  # two to a byte
        total += count
        trained += count if parameter.requires_grad else 0
    return trained, total


def copy_tokenizer(source: Path, target: Path, template: str | None = None) -> None:
    """Bring a tokenizer's files, its chat template among them; `template` is put in that one's place."""
    for name in TOKENIZER_FILES:
        if is_plain_file(source / name):
            shutil.copyfile(source / name, target / name)
    if template is not None:
        (target / TEMPLATE_FILE).write_text(template, encoding="utf-8")
