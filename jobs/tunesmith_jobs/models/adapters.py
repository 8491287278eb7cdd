"""The LoRA of a run: from the parameters, from a file, or an adapter that is trained on.

Knows peft; knows nothing of rows, steps or checkpoints.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.errors import InvalidInput, TunesmithError
from tunesmith.lora_file import NOT_MERGED, refuse_lora
from tunesmith.model_folder import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    NO_LORA,
    is_plain_file,
    read_lora_file,
)
from tunesmith.spec.groups.lora import ALL_LINEAR
from tunesmith.spec.training import TrainSpec, chosen_targets
from tunesmith_jobs.failures import is_out_of_memory
from tunesmith_jobs.models import saved_adapter
from tunesmith_jobs.models.beside_experts import targets_beside_experts
from tunesmith_jobs.models.fetch import fetch_folder, saved_faults
from tunesmith_jobs.models.tied_lora import tie

_BY_PEFT = ("classifier", "score")
"""The heads of classifiers that peft trains and saves without being told."""
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
    field = "peft_config_path" if spec.peft_config_path else "target_modules"
    values = _from_parameters(spec, layers, NO_LORA.get(model.config.model_type, frozenset()))
    if spec.peft_config_path:
        values = read_lora_file(Path(spec.peft_config_path))
        refuse_lora(values, spec, len(model.get_input_embeddings().weight))
    values = {**values, **_with_class_head(model, values)}
    try:
        tuned = _begun(model, values, task_type(spec))
        _check_rows(tuned, field)
        if spec.merge_lora_after_training:
            check_merging(tuned, "merge_lora_after_training")
        return tuned
    except TunesmithError:
        raise
    except Exception as error:  # what peft makes of values that do not go together is of any kind
        if is_out_of_memory(error):
            raise
        names = ", ".join(f"`{name}`" for name in linear_names(model))
        raise InvalidInput(
            f"The LoRA cannot be added: {error}",
            hint=f"The linear layers of this model are {names}; `all-linear` takes every one.",
            field=field,
        ) from error


def _with_class_head(model: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The modules to train whole, with every one that chance made for a classifier.

    peft names `classifier` and `score` itself. Of a pooler, or a layer before them, it would freeze what nobody
    trained and save nothing of it: over another draw the adapter classifies otherwise.
    """
    made = [path for path in getattr(model, "made_anew", ()) if path.partition(".")[0] not in _BY_PEFT]
    saved = values.get("modules_to_save") or []
    return {"modules_to_save": [*([saved] if isinstance(saved, str) else saved), *made]} if made else {}


def _begun(model: Any, values: Mapping[str, Any], kind: str) -> Any:
    """The model with a new LoRA.

    Raises:
        ValueError: Or whatever else peft makes of values that do not fit.
    """
    from peft import LoraConfig, get_peft_model

    start = values.get("init_lora_weights", True)
    if not saved_adapter.takes_out(start):
        config = LoraConfig(**values, task_type=kind)
        if beside := targets_beside_experts(model, config):
            config.target_parameters = [*(config.target_parameters or ()), *beside]
        tuned = get_peft_model(model, config)
        tie(tuned)
        return tuned
    plain = {**values, "init_lora_weights": True}
    tuned = get_peft_model(model, LoraConfig(**plain, task_type=kind))
    saved_adapter.begin(tuned, start)
    return tuned


def _check_rows(tuned: Any, field: str) -> None:
    """See that a head of which single rows are trained computes what it did: peft passes over its bias.

    Raises:
        InvalidInput: It has one.
    """
    from peft.tuners.trainable_tokens import TrainableTokensLayer

    for name, layer in tuned.named_modules():
        if isinstance(layer, TrainableTokensLayer) and getattr(layer.base_layer, "bias", None) is not None:
            place = name.removeprefix("base_model.model.").removesuffix(".token_adapter")
            raise InvalidInput(
                f"`trainable_token_indices` trains rows of `{place}`, which has a bias: peft would leave that out.",
                hint="Train the rows of the embedding alone, or the head as a whole (`modules_to_save`).",
                field=field,
            )


def check_merging(tuned: Any, field: str | None = None) -> None:
    """See that an adapter can be merged into its base.

    Args:
        tuned: The model with the adapter.
        field: The parameter that asks for it.

    Raises:
        InvalidInput: It cannot.
    """
    config = next(iter(tuned.peft_config.values()))
    for name, why in NOT_MERGED.items():
        if getattr(config, name, None):
            raise InvalidInput(
                f"`{name}` {why}: such a LoRA cannot be merged.", hint="Use it over its base.", field=field
            )
    for name, layer in tuned.named_modules():
        if hasattr(layer, "lora_A") and hasattr(getattr(layer, "base_layer", None), "token_adapter"):
            place = name.removeprefix("base_model.model.")
            raise InvalidInput(
                f"`trainable_token_indices` trains rows of `{place}`, which shares the embedding's weights, under a "
                "LoRA of its own: such a LoRA cannot be merged.",
                hint="Use it over its base, or leave that layer out of `target_modules`.",
                field=field,
            )
        has_bias = any(getattr(layer, "lora_bias", None) or ()) and any(layer.lora_bias.values())
        if has_bias and getattr(layer.get_base_layer(), "bias", None) is None:
            raise InvalidInput(
                f"`lora_bias`: `{name.removeprefix('base_model.model.')}` has no bias to merge the LoRA's into.",
                hint="Use it over its base, or train one without `lora_bias`.",
                field=field,
            )


def attach(model: Any, folder: Path, kind: str) -> Any:
    """The model with a saved adapter that is trained on.

    Args:
        model: The base model.
        folder: The adapter's folder.
        kind: peft's word for the kind of training, as `task_type` gives it.

    Raises:
        InvalidInput: The folder holds no adapter in safetensors, or one of another model.
    """
    from safetensors.torch import load_file

    _check_adapter(folder)
    values = read_lora_file(folder / ADAPTER_CONFIG, field="attach_lora_path")
    if saved_adapter.is_drawn(values.get("init_lora_weights")):
        raise InvalidInput(
            f"`{folder}` was saved over weights that its start (`{values['init_lora_weights']}`) changed at random: "
            "what it is over another copy of its base, nobody knows.",
            hint="Save it with `path_initial_model_for_weight_conversion`, as peft calls it, or train it here.",
            field="attach_lora_path",
        )
    tensors = load_file(folder / ADAPTER_WEIGHTS)
    try:
        tuned = _begun(model, values, kind)
        result = saved_adapter.set_tensors(tuned, tensors, is_joined=False)
    except TunesmithError:
        raise
    except Exception as error:  # as above
        if is_out_of_memory(error):
            raise
        raise _does_not_fit(folder, str(error)) from error
    # peft leaves what it does not find at random values and says nothing.
    if result.missing or result.unexpected:
        what = (
            f"`{result.missing[0]}` is not in it"
            if result.missing
            else f"the model has no `{result.unexpected[0]}`"
        )
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


def _from_parameters(spec: TrainSpec, layers: Sequence[str], without: frozenset[str]) -> dict[str, Any]:
    targets = chosen_targets(spec.target_modules, layers)
    left_out = {"exclude_modules": sorted(without)} if without and ALL_LINEAR in targets else {}
    return left_out | {
        "r": spec.r,
        "lora_alpha": spec.lora_alpha,
        "lora_dropout": spec.lora_dropout,
        "target_modules": ALL_LINEAR if ALL_LINEAR in targets else targets,
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
