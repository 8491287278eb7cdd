"""Small models of each architecture, and what can be wrong about their files. No test itself.

A new architecture is a row of `ROWS`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import gguf_faults
import numpy as np
import pytest
import small_models
from gguf_faults import Fields, Tensors
from test_gguf import LLAMA3

BLOCK = small_models.BLOCK
WINDOW = 48
Fault = Callable[[Fields, Tensors], None]


@dataclasses.dataclass
class Row:
    """A small model of an architecture, and what can be wrong about its file."""

    kind: str
    config: dict[str, Any]
    faults: dict[str, Fault] = dataclasses.field(default_factory=dict)
    lora: list[str] | None = None
    """Layers that an adapter is trained on."""


def field(name: str, value: Any) -> Fault:
    """A field that is lost, or says something else."""

    def change(fields: Fields, tensors: Tensors) -> None:
        assert name in fields, name
        if value is None:
            del fields[name]
        else:
            fields[name] = value

    return change


def lost(*names: str) -> Fault:
    """Tensors that are lost."""

    def change(fields: Fields, tensors: Tensors) -> None:
        for name in names:
            del tensors[name]

    return change


def swapped(one: str, other: str) -> Fault:
    """Two tensors that changed places."""

    def change(fields: Fields, tensors: Tensors) -> None:
        tensors[one], tensors[other] = tensors[other], tensors[one]

    return change


def norms_as_they_are(fields: Fields, tensors: Tensors) -> None:
    """Norms without the one that the library adds."""
    for name, (data, kind) in tensors.items():
        if name.endswith("norm.weight"):
            tensors[name] = data - 1, kind


def unturned(fields: Fields, tensors: Tensors) -> None:
    """Queries and keys in the library's order, where ggml has another."""
    _reorder(fields, tensors, lambda heads, half: (heads, half, 2, -1))


def turned(fields: Fields, tensors: Tensors) -> None:
    """Queries and keys in pairs, where ggml has the library's order."""
    _reorder(fields, tensors, lambda heads, half: (heads, 2, half, -1))


def _reorder(fields: Fields, tensors: Tensors, shape: Callable[[int, int], tuple[int, ...]]) -> None:
    """Queries and keys with each head's pairs and halves the other way round; `shape` says how they lie."""
    word = fields["general.architecture"]
    for name, (data, kind) in list(tensors.items()):
        for part, count in (("attn_q.", "attention.head_count"), ("attn_k.", "attention.head_count_kv")):
            if part in name:
                heads = fields[f"{word}.{count}"]
                there = data.reshape(shape(heads, data.shape[0] // heads // 2)).swapaxes(1, 2)
                tensors[name] = np.ascontiguousarray(there.reshape(data.shape)), kind


def halves(name: str) -> Fault:
    """A matrix of two that lie one below another, the other way round."""

    def change(fields: Fields, tensors: Tensors) -> None:
        data, kind = tensors[name]
        half = len(data) // 2
        tensors[name] = np.concatenate([data[half:], data[:half]]), kind

    return change


def experts_moved(fields: Fields, tensors: Tensors) -> None:
    """The experts' matrices in another order than what chooses them."""
    for name, (data, kind) in tensors.items():
        if "_exps" in name:
            tensors[name] = np.ascontiguousarray(np.roll(data, 1, 0)), kind


SWAPPED = {"swapped tensors": swapped("blk.0.ffn_up.weight", "blk.0.ffn_gate.weight")}
EXPERTS = {
    "experts in another order": experts_moved,
    "swapped tensors": swapped("blk.1.ffn_up_exps.weight", "blk.1.ffn_gate_exps.weight"),
}
FACTORS = [1.0 + 0.25 * place for place in range(8)]
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 8,
    "long_factor": FACTORS,
    "original_max_position_embeddings": 64,
}
PHI_FAULTS = {
    "queries and values changed places": halves("blk.0.attn_qkv.weight"),
    "gate and what it lets through": halves("blk.0.ffn_up.weight"),
}
GEMMA_FAULTS = SWAPPED | {
    "wrong norm offset": norms_as_they_are,
    "pairs": turned,
    "two norms": swapped("blk.0.post_attention_norm.weight", "blk.0.ffn_norm.weight"),
}
MOE = {
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 2,
}
ROWS: dict[str, Row] = {
    "smollm3": Row(
        "smollm3",
        BLOCK | {"num_hidden_layers": 4},
        SWAPPED
        | {
            "missing permutation": unturned,
            "positions in every layer": field("general.architecture", "llama"),
        },
    ),
    "smollm3, untied, yarn": Row(
        "smollm3",
        BLOCK
        | {"num_hidden_layers": 5, "tie_word_embeddings": False}
        | {
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 5e4,
                "factor": 4.0,
                "original_max_position_embeddings": 64,
            }
        },
        {"lost scaling": field("smollm3.rope.scaling.type", "none")},
    ),
    "gemma3": Row(
        "gemma3_text",
        BLOCK
        | {"num_hidden_layers": 7, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": WINDOW},
        GEMMA_FAULTS
        | {
            "lost window": field("gemma3.attention.sliding_window", 512),
            "lost base of windowed layers": field("gemma3.rope.freq_base_swa", 1e6),
        },
    ),
    "gemma3, scaled, other layers, untied": Row(
        "gemma3_text",
        BLOCK
        | {
            "num_hidden_layers": 4,
            "head_dim": 32,
            "query_pre_attn_scalar": 32,
            "sliding_window": WINDOW,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "tie_word_embeddings": False,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e4},
                "sliding_attention": {"rope_type": "default", "rope_theta": 2e4},
            },
        },
        {
            "lost pattern": field("gemma3.attention.sliding_window_pattern", None),
            "lost scaling": field("gemma3.rope.scaling.factor", 1.0),
            "base of the library's default": field("gemma3.rope.freq_base_swa", None),
        },
    ),
    "phi3": Row("phi3", BLOCK, PHI_FAULTS, ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]),
    "phi3, long": Row(
        "phi3",
        BLOCK | {"rope_parameters": LONGROPE, "original_max_position_embeddings": 64},
        {
            "lost factors": lost("rope_factors_long.weight", "rope_factors_short.weight"),
            "factors changed places": swapped("rope_factors_long.weight", "rope_factors_short.weight"),
            "lost factor of attention": field("phi3.rope.scaling.attn_factor", 1.0),
        },
    ),
    "phi3, a part of each head, tied": Row(
        "phi3",
        BLOCK
        | {
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
        },
        {"all of each head": field("phi3.rope.dimension_count", 16)},
    ),
    "llama 3, wide heads": Row(
        "llama",
        BLOCK | {"rope_parameters": LLAMA3, "head_dim": 32},
        SWAPPED | {"lost factors": gguf_faults.without_rope_factors, "missing permutation": unturned},
    ),
    "mixtral": Row(
        "mixtral",
        BLOCK | {"num_local_experts": 8, "num_experts_per_tok": 2},
        EXPERTS | {"missing permutation": unturned, "one expert alone": field("llama.expert_used_count", 1)},
        ["q_proj", "v_proj"],
    ),
    "gemma2": Row(
        "gemma2",
        BLOCK
        | {
            "num_hidden_layers": 4,
            "head_dim": 32,
            "query_pre_attn_scalar": 32,
            "sliding_window": WINDOW,
            "attn_logit_softcapping": 0.5,
        },
        GEMMA_FAULTS
        | {
            "lost window": field("gemma2.attention.sliding_window", 512),
            "dropped cap of attention": field("gemma2.attn_logit_softcapping", 1e4),
            "dropped cap of the head": field("gemma2.final_logit_softcapping", 1e4),
        },
    ),
    "olmo2": Row(
        "olmo2",
        BLOCK | {"num_key_value_heads": 2},
        SWAPPED
        | {
            "pairs": turned,
            "two norms": swapped("blk.0.post_attention_norm.weight", "blk.0.post_ffw_norm.weight"),
        },
    ),
    "olmo2, tied": Row("olmo2", BLOCK | {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    "granite": Row(
        "granite",
        BLOCK
        | {
            "attention_multiplier": 0.5,
            "embedding_multiplier": 0.5,
            "residual_multiplier": 1.4,
            "logits_scaling": 4.0,
            "tie_word_embeddings": True,
        },
        SWAPPED
        | {
            "missing permutation": unturned,
            **{
                f"lost {name}": field(f"granite.{name}", 1.0)
                for name in ("attention.scale", "embedding_scale", "residual_scale", "logit_scale")
            },
        },
    ),
    "qwen2 with experts": Row(
        "qwen2_moe",
        BLOCK | MOE | {"shared_expert_intermediate_size": 48, "tie_word_embeddings": True},
        EXPERTS | {"shared": swapped("blk.0.ffn_up_shexp.weight", "blk.0.ffn_gate_shexp.weight")},
    ),
    "qwen3 with experts": Row(
        "qwen3_moe", BLOCK | MOE | {"head_dim": 32, "norm_topk_prob": True}, EXPERTS | {"pairs": turned}
    ),
}
FIRST = 2
"""Faults of a row that are looked at always; what more there are, in the long run."""
FAULTS = [
    pytest.param(row, fault, id=f"{row}: {fault}", marks=[pytest.mark.long] if place >= FIRST else [])
    for row in ROWS
    for place, fault in enumerate(ROWS[row].faults)
]
