"""What Gemma 2 and 3 have in common: norms behind each part too, one more than they say, and windows.

Knows both; is no architecture itself.
"""

from collections.abc import Iterator, Sequence

from tunesmith.gguf.architectures.base import Architecture
from tunesmith.gguf.architectures.given import Given
from tunesmith.gguf.architectures.parts import Tensor
from tunesmith.gguf.file import Value


class Gemma(Architecture):
    """A window in some layers, and attention scaled by a number of its own."""

    activations = ("hidden_activation", ("gelu_pytorch_tanh",))
    norms_plus = 1.0
    every: int
    """The last of so many layers sees all, the others a window, where a configuration does not say it."""
    largest_layers: int
    """Layers of the largest model, in which llama.cpp scales attention by the width instead of by a head's."""

    def refuse(self, given: Given) -> None:
        """Biases, attention in both directions, and another scale of attention than llama.cpp's."""
        if given.get("attention_bias"):
            raise given.refused(
                "attention_bias", "adds a bias that llama.cpp does not have in this architecture"
            )
        if given.flag("use_bidirectional_attention"):
            raise given.refused("use_bidirectional_attention", "lets each position see later ones")
        taken = self.head_size if self.layers != self.largest_layers else self.hidden // self.heads
        if given.number("query_pre_attn_scalar") != taken:
            raise given.refused(
                "query_pre_attn_scalar", f"is another one than {taken}, which llama.cpp takes"
            )

    def block(self) -> Iterator[Tensor]:
        """With a norm before and behind each part."""
        yield self.norm("input_layernorm", self.hidden)
        yield from self.attention()
        yield self.norm("post_attention_layernorm", self.hidden)
        yield self.norm("pre_feedforward_layernorm", self.hidden)
        yield from self.feed_forward()
        yield self.norm("post_feedforward_layernorm", self.hidden)

    def says(self, given: Given) -> dict[str, Value]:
        """The window, and which layers have it where they are others than llama.cpp knows."""
        windowed = _windowed(given, self.layers, self.every)
        usual: list[int] = [(layer + 1) % self.every != 0 for layer in range(self.layers)]
        found: dict[str, Value] = {"attention.sliding_window": given.size("sliding_window")}
        return found if windowed == usual else found | {"attention.sliding_window_pattern": windowed}


def _windowed(given: Given, layers: int, every: int) -> list[int]:
    """Whether each layer has a window (`True` or `False`)."""
    kinds = given.get("layer_types")
    if kinds is None:
        every = given.size("sliding_window_pattern", given.size("_sliding_window_pattern", every))
        return [(layer + 1) % every != 0 for layer in range(layers)]
    known = ("sliding_attention", "full_attention")
    if not isinstance(kinds, Sequence) or len(kinds) != layers or any(kind not in known for kind in kinds):
        raise given.refused("layer_types", "does not name each layer's attention")
    return [kind == known[0] for kind in kinds]
