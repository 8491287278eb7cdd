"""A LoRA adapter's GGUF file from a folder as peft writes it.

llama.cpp reads pairs of matrices for linear layers inside the blocks, and one number for how much they count. What a
LoRA can be besides is refused, with the way out: merge it, then write the whole model. Knows peft's configuration;
imports no library.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.errors import InvalidInput, NotConvertible
from tunesmith.gguf.architectures import Architecture, Tensor, architecture_of
from tunesmith.gguf.file import Content, Progress, Value, Written, write_file
from tunesmith.gguf.problems import cannot
from tunesmith.gguf.tensors import STORED_TYPES, Added, Planned, Stored, stored_tensors
from tunesmith.gguf.types import FileType
from tunesmith.model_folder import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    check_adapter_folder,
    read_config,
    readable_lora,
)
from tunesmith.rows.files.json_file import read_object

_HINT = "Merge the adapter into its base (a `package` task) and write the merged model."
_NOT_WRITTEN = {
    "use_dora": "scales whole matrices besides",
    "use_qalora": "puts inputs into groups first",
    "modules_to_save": "trains whole layers besides",
    "trainable_token_indices": "trains rows of the embedding besides",
    "target_parameters": "changes experts, which lie in one tensor of many",
    "layer_replication": "lets several layers share the weights of one",
    "alora_invocation_tokens": "lets it count only after certain tokens",
    "lora_bias": "adds a bias to its matrices",
    "fan_in_fan_out": "is for layers that store their weights the other way round",
}
"""Fields of a LoRA that its file has no place for, each with the reason."""
_CHANGE_BASE = ("pissa", "olora")
"""Starts after which peft saves what belongs to a changed base; what is trained here is saved without them."""
_PAIR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")


class LoraPlan(NamedTuple):
    """What an adapter's file will hold, before any weights are read."""

    architecture: str
    metadata: dict[str, Value]
    tensors: tuple[Planned, ...]

    @property
    def bytes(self) -> int:
        """Of all tensors."""
        return sum(tensor.bytes for tensor in self.tensors)


class _Pair(NamedTuple):
    """A layer's two matrices."""

    module: str
    down: Stored
    up: Stored
    layer: Tensor
    scaling: float
    """What its product counts."""

    @property
    def rank(self) -> int:
        return self.down.shape[0]


def plan_lora_gguf(adapter: str | Path, base: str | Path, file_type: FileType = FileType.F32) -> LoraPlan:
    """See what comes of an adapter as a GGUF file, and whether anything does: reads headers and JSON, no weights.

    Args:
        adapter: The adapter's folder: `adapter_config.json` and safetensors.
        base: The model that it was trained over; its configuration is read, and no weights.
        file_type: What its matrices are stored as. They are small, and F32 keeps them as they were trained.

    Raises:
        InvalidModel: The base's folder is none of a model.
        InvalidInput: The adapter's folder is none of a LoRA.
        NotConvertible: Something of it has no place in the file, or it belongs to another model.
        NotInstalled: The package `gguf` is not.
    """
    adapter = Path(adapter)
    architecture = architecture_of(read_config(Path(base)))
    pairs = _pairs_of(adapter, architecture)
    # llama.cpp multiplies each product by alpha / rank; what one alpha cannot say for all layers, a matrix holds.
    alphas = {pair.scaling * pair.rank for pair in pairs}
    alpha = alphas.pop() if len(alphas) == 1 and 0 not in alphas else 1.0
    names = architecture.names_in_file(f"{pair.module}.weight" for pair in pairs)
    tensors = []
    for pair in pairs:
        name = names[f"{pair.module}.weight"]
        factor = pair.scaling * pair.rank / alpha
        kind = file_type.usual
        tensors.append(Planned(f"{name}.lora_a", pair.down.shape, kind, (pair.down,)))
        tensors.append(Planned(f"{name}.lora_b", pair.up.shape, kind, (pair.up,), pair.layer.heads, factor))
    metadata: dict[str, Value] = {
        "general.type": "adapter",
        "general.name": adapter.name,
        "adapter.type": "lora",
        "adapter.lora.alpha": float(alpha),
    }
    return LoraPlan(architecture.word, metadata, tuple(tensors))


def write_lora_gguf(
    adapter: str | Path,
    base: str | Path,
    target: str | Path,
    file_type: FileType = FileType.F32,
    progress: Progress | None = None,
) -> Written:
    """Write an adapter as a GGUF file, for a file of its base: all of it or nothing, on the disk before this returns.

    Args:
        adapter: See `plan_lora_gguf`.
        base: See `plan_lora_gguf`.
        target: The file; must not be there yet.
        file_type: See `plan_lora_gguf`.
        progress: Told how far it is; what it raises ends the writing.

    Raises:
        InvalidModel: See `plan_lora_gguf`.
        InvalidInput: See `plan_lora_gguf`.
        NotConvertible: See `plan_lora_gguf`; or a weight is no number, or too large for the type.
        NotInstalled: See `plan_lora_gguf`.
        NotOurs: Something has that name already.
        OSError: The system does not take it.
    """
    plan = plan_lora_gguf(adapter, base, file_type)
    return write_file(Path(target), Content(plan.architecture, plan.metadata, plan.tensors), (), progress)


def added_by(adapter: Path, architecture: Architecture) -> dict[str, Added]:
    """What an adapter adds to a model's matrices, by their names in the folder: what a file of it holds, and no more.

    Raises:
        InvalidInput: The adapter's folder is none of a LoRA.
        NotConvertible: It changes something else than linear layers inside the blocks, or belongs to another model.
    """
    pairs = _pairs_of(adapter, architecture)
    return {f"{pair.module}.weight": Added(pair.down, pair.up, pair.scaling) for pair in pairs}


def _pairs_of(adapter: Path, architecture: Architecture) -> "list[_Pair]":
    """An adapter's pairs, where it is nothing else than them."""
    check_adapter_folder(adapter, "adapter")
    values = read_object(adapter / ADAPTER_CONFIG)
    config = readable_lora(values, adapter / ADAPTER_CONFIG, "adapter")
    for name, why in _NOT_WRITTEN.items():
        if config.get(name):
            raise cannot(
                name, f"{why}, which its GGUF file has no place for", file=ADAPTER_CONFIG, hint=_HINT
            )
    if str(config.get("init_lora_weights")).lower().startswith(_CHANGE_BASE):
        raise cannot(
            "init_lora_weights",
            "took its beginning out of the base's weights, which nobody does again",
            file=ADAPTER_CONFIG,
            hint=_HINT,
        )
    if config.get("bias", "none") != "none":
        raise cannot(
            "bias",
            "trains biases of the base, which its GGUF file has no place for",
            file=ADAPTER_CONFIG,
            hint=_HINT,
        )
    return _pairs(stored_tensors([adapter / ADAPTER_WEIGHTS]), config, architecture)


def _pairs(
    stored: Mapping[str, Stored], config: Mapping[str, Any], architecture: Architecture
) -> list[_Pair]:
    """The layers with an adapter, each with its two matrices."""
    layers = architecture.tensors()
    sides: dict[str, dict[str, Stored]] = {}
    for name, tensor in stored.items():
        found = _PAIR.fullmatch(name)
        layer = layers.get(f"{found['module']}.weight") if found else None
        if found is None or layer is None or len(layer.shape) != 2 or ".layers." not in found["module"]:
            raise cannot(
                name,
                "is no part of a linear layer inside the model's blocks",
                file=ADAPTER_WEIGHTS,
                hint=_HINT,
            )
        if tensor.dtype not in STORED_TYPES:
            raise cannot(name, f"is stored as {tensor.dtype}", file=ADAPTER_WEIGHTS, hint=_HINT)
        sides.setdefault(found["module"], {})[found["side"]] = tensor
    if not sides:
        raise cannot("lora_A", "is in none of its tensors", file=ADAPTER_WEIGHTS, hint=_HINT)
    pairs = []
    for module in sorted(sides, key=list(layers_in_order(layers)).index):
        if len(sides[module]) < 2:
            raise cannot(module, "has one of its two matrices alone", file=ADAPTER_WEIGHTS, hint=_HINT)
        down, up, layer = sides[module]["A"], sides[module]["B"], layers[f"{module}.weight"]
        rank, scaling = _scaling(module, config)
        if (down.shape, up.shape) != ((rank, layer.shape[1]), (layer.shape[0], rank)):
            raise NotConvertible(
                f"`{ADAPTER_WEIGHTS}`: `{module}` is {list(up.shape)} by {list(down.shape)}, for a layer of "
                f"{list(layer.shape)} and a rank of {rank}.",
                hint="Give the base model that the adapter was made for (`base_model_name_or_path` in "
                f"`{ADAPTER_CONFIG}`).",
                field=module,
            )
        pairs.append(_Pair(module, down, up, layer, scaling))
    return pairs


def layers_in_order(layers: Mapping[str, Tensor]) -> list[str]:
    """The modules that hold the tensors of a model, in its order."""
    return [name.removesuffix(".weight") for name in layers if name.endswith(".weight")]


def _scaling(module: str, config: Mapping[str, Any]) -> tuple[int, float]:
    """A layer's rank and how much its product counts, as peft computes them.

    Raises:
        NotConvertible: They are no numbers.
    """
    rank, alpha = config.get("r", 8), config.get("lora_alpha", 8)
    rank = _by_pattern(module, config.get("rank_pattern"), rank)
    alpha = _by_pattern(module, config.get("alpha_pattern"), alpha)
    if not isinstance(rank, int) or rank < 1:
        raise cannot("r", "is no whole number above 0", file=ADAPTER_CONFIG, hint=_HINT)
    if not isinstance(alpha, int | float):
        raise cannot("lora_alpha", "is no number", file=ADAPTER_CONFIG, hint=_HINT)
    return rank, float(alpha) / (rank**0.5 if config.get("use_rslora") else rank)


def _by_pattern(module: str, patterns: Any, default: Any) -> Any:
    """The value whose pattern is the end of a module's path; the first counts."""
    if not isinstance(patterns, Mapping):
        return default
    for pattern, value in patterns.items():
        try:
            is_meant = re.match(rf"(.*\.)?({pattern})$", module)
        except re.error as error:
            raise InvalidInput(f"`{ADAPTER_CONFIG}`: `{pattern[:40]}` is no pattern: {error}.") from error
        if is_meant:
            return value
    return default
