"""What of a LoRA adapter's folder is read: its weights in safetensors, and the keys of `adapter_config.json` on a list.

peft would import a module, or read a pickle, that some of the other keys name. Knows peft's configuration; knows no
library.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tunesmith.errors import InvalidInput
from tunesmith.model_folder.contents import is_plain_file, refuse_contents
from tunesmith.model_folder.files import MAX_CONFIG_BYTES
from tunesmith.model_folder.safetensors import read_safetensors_header
from tunesmith.rows.files.json_file import read_object
from tunesmith.spec.problems import did_you_mean
from tunesmith.yaml_text import load_yaml

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
MAX_LORA_FILE_BYTES = 2**20
_LORA_WORDS = """
    alora_invocation_tokens alpha_pattern bias ensure_weight_tying exclude_modules fan_in_fan_out init_lora_weights
    layer_replication layers_pattern layers_to_transform lora_alpha lora_bias lora_dropout modules_to_save
    qalora_group_size r rank_pattern target_modules target_parameters trainable_token_indices use_dora use_qalora
    use_rslora
"""
LORA_KEYS = frozenset(_LORA_WORDS.split())
"""The fields of peft's `LoraConfig` that say what a LoRA is."""
_SAVED_WORDS = """
    auto_mapping base_model_name_or_path inference_mode peft_type peft_version revision task_type runtime_config
    megatron_config megatron_core
"""
_SAVED = frozenset(_SAVED_WORDS.split())
"""How it was made, and where: the run sets that itself."""
_NEVER_WORDS = """
    arrow_config corda_config eva_config kasa_config loftq_config lora_ga_config monteclora_config use_bdlora
    velora_config
"""
_NEVER = frozenset(_NEVER_WORDS.split())
"""They name files that peft reads as pickles, or need more than a folder holds."""
_BEGINNING = re.compile(r"gaussian|olora|orthogonal|pissa(_niter_\d{1,3})?|mica")


def readable_lora(values: Mapping[str, Any], file: Path, field: str | None = None) -> dict[str, Any]:
    """The fields of a LoRA that a configuration sets.

    Args:
        values: What the file says.
        file: Where it lies, for the words.
        field: The parameter that named it.

    Raises:
        InvalidInput: It is no LoRA's, or sets a field that is not on the list.
    """
    kind = values.get("peft_type") or "LORA"
    if kind != "LORA":
        raise InvalidInput(f"`{file}`: `peft_type` is {kind}, only LORA is trained.", field=field)
    kept: dict[str, Any] = {}
    for name, value in values.items():
        if name in LORA_KEYS:
            kept[name] = value
        elif name in _NEVER and value:
            raise InvalidInput(
                f"`{file}` sets `{name}`, which is refused: peft reads files by it that may run code.",
                hint="Take it out: a saved adapter needs it no more.",
                field=field,
            )
        elif name not in _SAVED | _NEVER and value is not None:
            # What peft writes for a field that was not set is no wish.
            meant = did_you_mean(name, sorted(LORA_KEYS))
            raise InvalidInput(
                f"`{file}`: a `LoraConfig` has no field `{name}`.",
                hint=f"Did you mean `{meant}`?"
                if meant
                else "Take it out: peft's `LoraConfig` says what there is.",
                field=field,
            )
    begin = kept.get("init_lora_weights")
    if isinstance(begin, str) and not _BEGINNING.fullmatch(begin):
        raise InvalidInput(
            f"`{file}`: `init_lora_weights` is `{begin[:40]}`, which needs more than a LoRA's file holds.",
            hint="Use `true`, `gaussian`, `olora`, `orthogonal` or `pissa`.",
            field=field,
        )
    if kept.get("bias", "none") not in ("none", "all", "lora_only"):
        raise InvalidInput(
            f"`{file}`: `bias` is `{str(kept['bias'])[:40]}`.",
            hint="Use `none`, `all` or `lora_only`.",
            field=field,
        )
    return kept


def read_lora_file(file: Path, field: str = "peft_config_path") -> dict[str, Any]:
    """The fields of a `LoraConfig` from a JSON or YAML file.

    Raises:
        InvalidInput: It cannot be read, or is no configuration of a LoRA.
    """
    try:
        if not file.is_file():  # a pipe would be waited for
            raise ValueError("it is no file" if file.exists() else "it does not exist")
        if file.stat().st_size > MAX_LORA_FILE_BYTES:
            raise ValueError("it is larger than 1 MiB")
        text = file.read_text(encoding="utf-8")
        values = json.loads(text) if file.suffix == ".json" else load_yaml(text)
        if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
            raise ValueError("it is no mapping of names to values")
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InvalidInput(
            f"`{file}` cannot be read: {error}",
            hint='Give JSON or YAML, as `{"r": 8, "target_modules": ["q_proj"]}`.',
            field=field,
        ) from error
    return readable_lora(values, file, field)


def check_adapter_folder(folder: Path, field: str = "attach_lora_path") -> None:
    """See that a folder holds a LoRA adapter in safetensors, and nothing that is none's.

    Raises:
        InvalidInput: It does not; names the file.
    """
    refuse_contents(folder)
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not is_plain_file(folder / name):
            raise InvalidInput(
                f"`{folder}` is no adapter: it has no `{name}`.",
                hint="Give the folder of a LoRA adapter in safetensors: a checkpoint or a final model.",
                field=field,
            )
    readable_lora(read_object(folder / ADAPTER_CONFIG, MAX_CONFIG_BYTES), folder / ADAPTER_CONFIG, field)
    read_safetensors_header(folder / ADAPTER_WEIGHTS)
