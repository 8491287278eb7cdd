"""What of `config.json` and `generation_config.json` is read: keys on a list, with plain values.

A library that loads a model may let its configuration name programs, kernels, files and places. Here it sees no key
that is not listed, and no text that could be a path or a name on the hub. Knows configurations; knows no library.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from tunesmith.model_folder.config_keys import CONFIG_KEYS
from tunesmith.model_folder.problems import REMOTE_CODE, bad

CONFIG = "config.json"
GENERATION = "generation_config.json"
_GENERATION_WORDS = """
    begin_suppress_tokens bos_token_id decoder_start_token_id diversity_penalty do_sample early_stopping
    encoder_no_repeat_ngram_size encoder_repetition_penalty eos_token_id epsilon_cutoff eta_cutoff
    exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id guidance_scale length_penalty max_length
    max_new_tokens min_length min_new_tokens min_p no_repeat_ngram_size num_beams num_return_sequences output_attentions
    output_hidden_states output_logits output_scores pad_token_id penalty_alpha remove_invalid_values
    renormalize_logits repetition_penalty return_dict_in_generate suppress_tokens temperature top_k top_p
    transformers_version typical_p use_cache
"""
GENERATION_KEYS = frozenset(_GENERATION_WORDS.split())
"""How text is sampled, in numbers."""
_CODE = ("auto_map", "custom_pipelines", "custom_generate", "trust_remote_code", "configuration_files")
"""Keys by which a folder asks for code, or for another file than `config.json`."""
_IMPLEMENTATION = re.compile(r"_?(attn|attention|experts)_(implementation|impl)(_internal)?")
_LABELS = ("id2label", "label2id")
_LAYERS = "per_layer_config"
_NESTED = re.compile(r".*_config")
_PLAIN = re.compile(r"[\w.+ -]{0,100}")
"""A word: no place in a file system, no `owner/name` of the hub."""
_DTYPES = frozenset({"float16", "bfloat16", "float32", "float64"})
_DEPTH = 6
_COPY = "Take it out, or copy the file from the original model folder."


def readable_config(config: Mapping[str, Any], file: str = CONFIG) -> dict[str, Any]:
    """The part of a model's configuration that a library may see.

    Args:
        config: What the file says.
        file: Its name.

    Raises:
        InvalidModel: It asks for code, or a listed key holds what could lead to some.
    """
    refuse_code(config, file)
    return _kept(config, CONFIG_KEYS, file, 0)


def readable_generation(config: Mapping[str, Any], file: str = GENERATION) -> dict[str, Any]:
    """The part of a model's generation settings that a library may see.

    Raises:
        InvalidModel: It asks for code, or a listed key holds what could lead to some.
    """
    refuse_code(config, file)
    return _kept(config, GENERATION_KEYS, file, 0)


def refuse_code(config: Mapping[str, Any], file: str) -> None:
    """Refuse a configuration that asks for code, at whatever depth.

    Raises:
        InvalidModel: Says which key, and in which file.
    """
    todo: list[tuple[Any, int]] = [(config, 0)]
    while todo:
        value, depth = todo.pop()
        if depth > _DEPTH:
            continue  # read by nobody: what is kept ends before
        if isinstance(value, list):
            todo += [(one, depth + 1) for one in value if isinstance(one, dict | list)]
        if not isinstance(value, Mapping):
            continue
        for key, one in value.items():
            if key in _CODE and one:
                raise bad(
                    f"`{file}` has `{key}`: the folder wants to run code of its own, which is refused.",
                    REMOTE_CODE,
                    file,
                )
            names = one.values() if isinstance(one, Mapping) else [one]
            if _IMPLEMENTATION.fullmatch(key) and not all(_is_plain(name) for name in names):
                raise bad(
                    f"`{file}` names a program for `{key}`, which is refused: Tunesmith chooses it.",
                    _COPY,
                    file,
                )
            todo.append((one, depth + 1))


def _kept(config: Mapping[str, Any], keys: frozenset[str], file: str, depth: int) -> dict[str, Any]:
    if depth > _DEPTH:
        raise bad(f"`{file}` is nested too deeply.", _COPY, file)
    found: dict[str, Any] = {}
    for key, given in config.items():
        if key not in keys:
            continue
        value = given
        if isinstance(given, Mapping) and key == _LAYERS:
            value = {
                number: _kept(one, keys, file, depth + 2)
                for number, one in given.items()
                if number.isdecimal() and isinstance(one, Mapping)
            }
        elif isinstance(given, Mapping) and _NESTED.fullmatch(key):
            value = _kept(given, keys | _INNER, file, depth + 1)
        problem = _problem(key, value, depth)
        if problem:
            raise bad(f"`{file}`: `{key}` {problem}.", _COPY, file)
        found[key] = value
    return found


_INNER_WORDS = """
    attn_pdrop clip_qkv qk_ln softmax_scale prefix_lm alibi alibi_bias_max rope_theta name factor type kv_n_heads
    ffn_act_fn ffn_hidden_size moe_num_experts moe_top_k short_conv_kernel_size
"""
_INNER = frozenset(_INNER_WORDS.split())
"""Of a part of a configuration that is not a model's own."""


def _problem(key: str, value: Any, depth: int) -> str:
    """Why a value is not taken; nothing where it is."""
    if depth > _DEPTH:
        return "is nested too deeply"
    if key in ("dtype", "torch_dtype") and value is not None and not isinstance(value, Mapping):
        name = str(value).removeprefix("torch.")
        return (
            "" if name in _DTYPES else f"is `{str(value)[:40]}`, which is no type of weights that is trained"
        )
    if key in _LABELS:
        is_fine = value is None or (
            isinstance(value, Mapping) and all(isinstance(one, str | int) for one in value.values())
        )
        return "" if is_fine else "is no list of labels"
    if isinstance(value, Mapping):
        inner = ((str(name), one) for name, one in value.items())
        return next(
            (f"holds `{name}`, which {p}" for name, one in inner if (p := _problem(name, one, depth + 1))), ""
        )
    if isinstance(value, list):
        return next((p for one in value if (p := _problem(key, one, depth + 1))), "")
    if isinstance(value, float) and not math.isfinite(value):
        return ""  # `Infinity` stands in some models' limits
    return "" if _is_plain(value) else "holds text that is no plain word"


def _is_plain(value: Any) -> bool:
    return not isinstance(value, str) or bool(_PLAIN.fullmatch(value))
