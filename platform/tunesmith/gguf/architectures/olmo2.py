"""OLMo 2."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from tunesmith.gguf.architectures.base import Architecture
from tunesmith.gguf.architectures.given import Given
from tunesmith.gguf.architectures.parts import Tensor


class Olmo2(Architecture):
    """Norms behind each part instead of before it, and of all queries and all keys as one."""

    model_type = "olmo2"
    word = "olmo2"
    defaults: ClassVar[Mapping[str, Any]] = {"num_key_value_heads": None}
    needs_head = True

    def refuse(self, given: Given) -> None:
        """Biases."""
        if given.get("attention_bias"):
            raise given.refused(
                "attention_bias", "adds a bias that llama.cpp does not have in this architecture"
            )

    def block(self) -> Iterator[Tensor]:
        """With a norm behind each part."""
        yield from self.attention()
        yield self.norm("self_attn.q_norm", self.heads * self.head_size)
        yield self.norm("self_attn.k_norm", self.kv_heads * self.head_size)
        yield self.norm("post_attention_layernorm", self.hidden)
        yield from self.feed_forward()
        yield self.norm("post_feedforward_layernorm", self.hidden)
