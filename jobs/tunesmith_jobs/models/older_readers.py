"""Configurations that older readers understand too: transformers 4, vLLM and llama.cpp know other names of the same.

transformers 5 writes `rope_parameters` where 4 reads `rope_theta` and `rope_scaling`, and passes over what it does not
know: a model would compute with other positions and say nothing. So both spellings are written; transformers 5 reads
the same from them. Knows which names were changed; knows nothing of who writes a folder.
"""

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
_THREE_FIELDS = frozenset({"phi3", "phi4_multimodal"})
"""Whose `rope_scaling` transformers 4 takes with just these three fields."""
_THREE = ("type", "short_factor", "long_factor")
_TWO_FIELDS = frozenset({"olmo", "olmo2"})
"""And there with two."""
_PERCENT = {"gpt_neox", "gpt_neox_japanese"}
_GLOBAL_AND_LOCAL = {"modernbert-decoder", "modernbert"}
_FULL_ALONE = {"olmo3"}
_LOCAL_BASE = {"gemma3_text", "gemma3n_text"}
"""What else turns positions otherwise in some of its layers is younger than transformers 5."""
_OLD_LAYERS = {"granitemoehybrid": {"linear_attention": "mamba", "full_attention": "attention"}}
_NEW_CLASS, _OLD_CLASS = "TokenizersBackend", "PreTrainedTokenizerFast"


def write_for_older_readers(folder: Path) -> None:
    """Add the spellings of before to a model folder's configurations, where they lack them.

    The files are changed in place: they were just written, and nothing else is linked to them.

    Raises:
        OSError: They cannot be written.
    """
    _rewrite(folder / CONFIG, with_older_names)
    _rewrite(folder / TOKENIZER_CONFIG, with_older_tokenizer)


def _rewrite(file: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    if not file.is_file():
        return
    before = json.loads(file.read_bytes())
    after = change(before)
    if after != before:
        file.write_text(json.dumps(after, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def with_older_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """A model's configuration with the names of before beside those of today, its parts' too."""
    found = dict(config)
    for name, part in config.items():
        if name.endswith("_config") and isinstance(part, dict) and "model_type" in part:
            found[name] = with_older_names(part)
        else:
            found[name] = _plain_floats(part)
    kind = str(config.get("model_type"))
    if isinstance(config.get("dtype"), str):
        found.setdefault("torch_dtype", config["dtype"])
    layers, names = config.get("layer_types"), _OLD_LAYERS.get(kind)
    if names and isinstance(layers, list):
        found["layer_types"] = [names.get(layer, layer) for layer in layers]
    for old, new in _aliases(kind).items():
        if new in found:
            found.setdefault(old, found[new])
    parameters = config.get("rope_parameters")
    if isinstance(parameters, dict):
        older = {name: value for name, value in _rope(parameters, kind).items() if name not in config}
        if _is_read_alike(kind, found, found | older):
            found |= older
    return found


def _is_read_alike(kind: str, config: dict[str, Any], older: dict[str, Any]) -> bool:
    """Whether the library takes the same from both spellings as from its own: some kinds prefer the one of before."""
    from transformers import CONFIG_MAPPING

    try:
        one, other = (
            CONFIG_MAPPING[kind].from_dict(copy.deepcopy(each)).rope_parameters for each in (config, older)
        )
    except Exception:  # a field that its own check does not take, or a kind that it does not know
        return False
    return bool(_without_type(other) == _without_type(one))


def _without_type(parameters: Any) -> Any:
    """Without the older name of `rope_type`."""
    if not isinstance(parameters, dict):
        return parameters
    return {name: _without_type(value) for name, value in parameters.items() if name != "type"}


def _plain_floats(value: Any) -> Any:
    """Infinity as Python's JSON has it: transformers 5 writes `{"__float__": "Infinity"}`, and 4 keeps the mapping."""
    if isinstance(value, dict):
        if value.keys() == {"__float__"}:
            return float(value["__float__"])
        return {name: _plain_floats(one) for name, one in value.items()}
    return [_plain_floats(one) for one in value] if isinstance(value, list) else value


def _aliases(kind: str) -> Mapping[str, str]:
    """Which other names the library takes for a kind's fields: some of them were the ones to write before."""
    from transformers import CONFIG_MAPPING

    try:
        found: Mapping[str, str] = CONFIG_MAPPING[kind].attribute_map
    except KeyError:
        return {}
    return found


def _rope(parameters: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The turning of positions as transformers 4 reads it."""
    full, sliding = (parameters.get(f"{name}_attention") for name in ("full", "sliding"))
    if not isinstance(full, dict) and not isinstance(sliding, dict):
        return _flat_rope(parameters, kind)
    full, sliding = full or sliding or {}, sliding or full or {}
    if kind in _GLOBAL_AND_LOCAL:
        return {"global_rope_theta": full.get("rope_theta"), "local_rope_theta": sliding.get("rope_theta")}
    if kind in _LOCAL_BASE:
        return {"rope_local_base_freq": sliding.get("rope_theta"), **_flat_rope(full, kind)}
    return _flat_rope(full, kind) if kind in _FULL_ALONE else {}


def _flat_rope(parameters: Mapping[str, Any], kind: str) -> dict[str, Any]:
    theta, share = parameters.get("rope_theta"), parameters.get("partial_rotary_factor")
    found: dict[str, Any] = {}
    if theta is not None:
        found["rotary_emb_base" if kind in _PERCENT else "rope_theta"] = theta
    if share is not None:
        found["rotary_pct" if kind in _PERCENT else "partial_rotary_factor"] = share
    form = parameters.get("rope_type", "default")
    if form != "default":
        scaling = {
            name: value
            for name, value in parameters.items()
            if name not in ("rope_theta", "partial_rotary_factor")
        }
        scaling |= {"type": form, "rope_type": form}
        is_short = kind in _THREE_FIELDS and form == "longrope"
        if kind not in _TWO_FIELDS:
            only = _THREE if is_short else scaling
            found["rope_scaling"] = {name: scaling[name] for name in only if name in scaling}
        elif form in ("linear", "dynamic"):  # it knows no other
            found["rope_scaling"] = {"type": form, "factor": parameters.get("factor")}
        if is_short and "original_max_position_embeddings" in parameters:
            found["original_max_position_embeddings"] = parameters["original_max_position_embeddings"]
    return found


def with_older_tokenizer(config: Mapping[str, Any]) -> dict[str, Any]:
    """A tokenizer's configuration that transformers 4 reads: of a class that it has, and lists where it wants them."""
    found = dict(config)
    if config.get("tokenizer_class") == _NEW_CLASS:
        found["tokenizer_class"] = _OLD_CLASS
    extra = config.get("extra_special_tokens")
    if isinstance(extra, list):  # there, a mapping of names to tokens
        del found["extra_special_tokens"]
        found.setdefault("additional_special_tokens", extra)
    return found
