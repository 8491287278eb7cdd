"""Phi 3, and all that is saved as one (Phi 3.5, Phi 4)."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from tunesmith.gguf.architectures.base import Architecture
from tunesmith.gguf.architectures.given import Given
from tunesmith.gguf.architectures.parts import Tensor
from tunesmith.gguf.file import Value


class Phi3(Architecture):
    """Queries, keys and values are one matrix, and so are the gate and what it lets through."""

    model_type = "phi3"
    word = "phi3"
    defaults: ClassVar[Mapping[str, Any]] = {
        "num_key_value_heads": None,
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096,
    }
    ways_of_scaling = ("default", "longrope")
    may_turn_a_part = True

    def refuse(self, given: Given) -> None:
        """Heads that are not as wide as all of them share."""
        if self.head_size * self.heads != self.hidden:
            raise given.refused("head_dim", "is no part of the width, which it is in llama.cpp")

    def attention(self) -> Iterator[Tensor]:
        """As one matrix, and the way back."""
        rows = (self.heads + 2 * self.kv_heads) * self.head_size
        yield from self.linear("self_attn.qkv_proj", rows, self.hidden)
        yield from self.linear("self_attn.o_proj", self.hidden, self.hidden)

    def feed_forward(self) -> Iterator[Tensor]:
        """The gate above what it lets through."""
        yield from self.linear("mlp.gate_up_proj", 2 * self.inner, self.hidden)
        yield from self.linear("mlp.down_proj", self.hidden, self.inner)

    def window(self, given: Given) -> int | None:
        """Its window, which llama.cpp reads and does not keep to."""
        return given.size("sliding_window") if given.get("sliding_window") is not None else None

    def says(self, given: Given) -> dict[str, Value]:
        """The window, 0 for none: older llama.cpp takes one that it knows by heart where a file says nothing."""
        return {"attention.sliding_window": self.window(given) or 0}
