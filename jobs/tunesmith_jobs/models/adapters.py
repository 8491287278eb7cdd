"""The LoRA of a run: from the parameters, from a file, or an adapter that is trained on.

Knows peft; knows nothing of rows, steps or checkpoints.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunesmith.errors import InvalidInput
from tunesmith.model_folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS, is_plain_file, read_lora_file
from tunesmith.spec.training import TrainSpec, chosen_targets
from tunesmith_jobs.models.fetch import fetch_folder, saved_faults

_TASK_TYPES = {"classification": "SEQ_CLS"}


def task_type(spec: TrainSpec) -> str:
    """What peft calls the kind of training."""
    return _TASK_TYPES.get(spec.training_type, "CAUSAL_LM")


def add_lora(model: Any, spec: TrainSpec, layers: Sequence[str]) -> Any:
    """The model with its base frozen and a new LoRA, or with the adapter that is trained on.

    Args:
        model: The base model.
        spec: The parameters.
        layers: Names of the linear layers by the model's files. A loaded mixture of experts has others: its experts'
            matrices are one tensor a layer, which peft finds by the names in the files.

    Raises:
        InvalidInput: The LoRA does not fit this model, or its file cannot be read.
    """
    if spec.attach_lora and spec.attach_lora_path:
        with tempfile.TemporaryDirectory() as scratch:
            return attach(model, fetch_folder(spec.attach_lora_path, Path(scratch)), task_type(spec))
    from peft import LoraConfig, get_peft_model

    field = "peft_config_path" if spec.peft_config_path else "target_modules"
    values = (
        read_lora_file(Path(spec.peft_config_path))
        if spec.peft_config_path
        else _from_parameters(spec, layers)
    )
    try:
        return get_peft_model(model, LoraConfig(**values, task_type=task_type(spec)))
    except (ValueError, TypeError) as error:
        names = ", ".join(f"`{name}`" for name in linear_names(model))
        raise InvalidInput(
            f"The LoRA cannot be added: {error}",
            hint=f"The linear layers of this model are {names}; `all-linear` takes every one.",
            field=field,
        ) from error


def attach(model: Any, folder: Path, kind: str) -> Any:
    """The model with a saved adapter that is trained on.

    Args:
        model: The base model.
        folder: The adapter's folder.
        kind: peft's word for the kind of training, as `task_type` gives it.

    Raises:
        InvalidInput: The folder holds no adapter in safetensors, or one of another model.
    """
    from peft import LoraConfig, get_peft_model
    from peft.utils.save_and_load import set_peft_model_state_dict
    from safetensors.torch import load_file

    _check_adapter(folder)
    values = read_lora_file(folder / ADAPTER_CONFIG, field="attach_lora_path")
    try:
        config = LoraConfig(**values, task_type=kind)
        tuned = get_peft_model(model, config)
        result = set_peft_model_state_dict(tuned, load_file(folder / ADAPTER_WEIGHTS))
    except (ValueError, TypeError, RuntimeError) as error:
        raise _does_not_fit(folder, str(error)) from error
    # peft leaves what it does not find at random values and says nothing.
    trained = {name for name, parameter in tuned.named_parameters() if parameter.requires_grad}
    missing, unexpected = sorted(trained.intersection(result.missing_keys)), result.unexpected_keys
    if missing or unexpected:
        what = f"`{missing[0]}` is not in it" if missing else f"the model has no `{unexpected[0]}`"
        raise _does_not_fit(folder, what)
    return tuned


def _check_adapter(folder: Path) -> None:
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not is_plain_file(folder / name):
            raise InvalidInput(
                f"`{folder}` is no adapter: it has no `{name}`.",
                hint="Give the folder of a LoRA adapter in safetensors: a checkpoint or a final model.",
                field="attach_lora_path",
            )
    if faults := saved_faults(folder):
        raise InvalidInput(
            f"`{folder}` is not what was saved: {faults[0]}.",
            hint="Take another checkpoint.",
            field="attach_lora_path",
        )


def _does_not_fit(folder: Path, why: str) -> InvalidInput:
    return InvalidInput(
        f"The adapter `{folder}` does not fit this model: {why}.",
        hint="Give the base model that the adapter was made for (`base_model_name_or_path` in "
        f"`{ADAPTER_CONFIG}`).",
        field="attach_lora_path",
    )


def _from_parameters(spec: TrainSpec, layers: Sequence[str]) -> dict[str, Any]:
    targets = chosen_targets(spec.target_modules, layers)
    return {
        "r": spec.r,
        "lora_alpha": spec.lora_alpha,
        "lora_dropout": spec.lora_dropout,
        "target_modules": "all-linear" if "all-linear" in targets else targets,
        "bias": spec.bias,
        "use_rslora": spec.use_rslora,
        "use_dora": spec.use_dora,
    }


def linear_names(model: Any) -> list[str]:
    """The last parts of the names of all linear layers."""
    import torch
    from transformers.pytorch_utils import Conv1D

    return sorted(
        {
            name.rsplit(".", 1)[-1]
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear | Conv1D)
        }
    )
