"""Gemma 3, of texts alone."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from tunesmith.gguf.architectures.gemma import Gemma
from tunesmith.gguf.architectures.given import Given
from tunesmith.gguf.architectures.parts import Tensor
from tunesmith.gguf.architectures.positions import Positions, positions_of, rope_part
from tunesmith.gguf.file import Value

_GLOBAL, _LOCAL = 1_000_000.0, 10_000.0
"""The bases by which positions turn where a configuration does not say them."""


class Gemma3(Gemma):
    """Of six layers five have a window, in which positions turn by another base."""

    model_type = "gemma3_text"
    word = "gemma3"
    defaults: ClassVar[Mapping[str, Any]] = {
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131_072,
        "tie_word_embeddings": True,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
    }
    every = 6
    largest_layers = 62

    def refuse(self, given: Given) -> None:
        """Caps besides, which Gemma 2 has."""
        super().refuse(given)
        for name in ("attn_logit_softcapping", "final_logit_softcapping"):
            if given.get(name) is not None:
                raise given.refused(name, "is set, which llama.cpp does not have in this architecture")

    def attention(self) -> Iterator[Tensor]:
        """With the norms of heads."""
        yield from super().attention()
        yield self.norm("self_attn.q_norm", self.head_size)
        yield self.norm("self_attn.k_norm", self.head_size)

    def positions(self, given: Given) -> Positions:
        """Of the layers that see all, which may be scaled."""
        return positions_of(given, _of(given, "full_attention"), self.head_size, ("default", "linear"))

    def says(self, given: Given) -> dict[str, Value]:
        """The base of the layers with a window, which are never scaled."""
        local = positions_of(given, _of(given, "sliding_attention"), self.head_size, ("default",))
        return super().says(given) | {"rope.freq_base_swa": local.metadata["rope.freq_base"]}


def _of(given: Given, layers: str) -> Given:
    """What a kind of layers is turned by: transformers 5 says it of each kind, 4 in fields beside each other."""
    rope = rope_part(given)
    if isinstance(rope.get(layers), Mapping):
        return rope.part(layers)
    if layers == "full_attention":
        said = {name: rope.get(name) for name in rope.names()}
        return Given(said, {"rope_theta": given.number("rope_theta", _GLOBAL)}, rope.place)
    return Given({}, {"rope_theta": given.number("rope_local_base_freq", _LOCAL)})
