"""Qwen 2 and 2.5."""

from collections.abc import Mapping
from typing import Any, ClassVar

from tunesmith.gguf.architectures.base import Architecture
from tunesmith.gguf.architectures.given import Given

_BIASED = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")


class Qwen2(Architecture):
    """Queries, keys and values have biases always."""

    model_type = "qwen2"
    word = "qwen2"
    defaults: ClassVar[Mapping[str, Any]] = {"num_key_value_heads": 32, "sliding_window": 4096}

    def has_bias(self, layer: str) -> bool:
        """Of queries, keys and values."""
        return layer in _BIASED

    def window(self, given: Given) -> int | None:
        """Of some layers, where it is turned on."""
        return given.size("sliding_window") if given.flag("use_sliding_window") else None
