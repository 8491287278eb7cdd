"""Qwen 3."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from tunesmith.gguf.architectures.base import Architecture
from tunesmith.gguf.architectures.given import Given
from tunesmith.gguf.architectures.parts import Tensor


class Qwen3(Architecture):
    """The heads of queries and keys have norms of their own."""

    model_type = "qwen3"
    word = "qwen3"
    defaults: ClassVar[Mapping[str, Any]] = {
        "num_key_value_heads": 32,
        "head_dim": 128,
        "sliding_window": 4096,
    }

    def refuse(self, given: Given) -> None:
        """Biases."""
        if given.get("attention_bias"):
            raise given.refused(
                "attention_bias", "adds a bias that llama.cpp does not have in this architecture"
            )

    def attention(self) -> Iterator[Tensor]:
        """With the norms of heads."""
        yield from super().attention()
        yield self.norm("self_attn.q_norm", self.head_size)
        yield self.norm("self_attn.k_norm", self.head_size)

    def window(self, given: Given) -> int | None:
        """Of some layers, where it is turned on."""
        return given.size("sliding_window") if given.flag("use_sliding_window") else None
