"""Llama, 2 and 3, and all that is saved as one (SmolLM2)."""

from tunesmith.gguf.architectures.base import Architecture
from tunesmith.gguf.architectures.given import Given
from tunesmith.gguf.architectures.positions import PLAIN


class Llama(Architecture):
    """The one that others are variants of; its biases are as the configuration says."""

    model_type = "llama"
    word = "llama"
    turns_pairs = True
    ways_of_scaling = (*PLAIN, "llama3", "longrope")

    def refuse(self, given: Given) -> None:
        """Nothing; remembers which layers have biases."""
        self._biased = {"self_attn": given.flag("attention_bias"), "mlp": given.flag("mlp_bias")}

    def has_bias(self, layer: str) -> bool:
        """As the configuration says it of the attention and of the feed-forward layer."""
        return self._biased[layer.partition(".")[0]]
