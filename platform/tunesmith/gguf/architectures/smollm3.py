"""SmolLM 3."""

from collections.abc import Mapping
from typing import Any, ClassVar

from tunesmith.gguf.architectures.base import Architecture
from tunesmith.gguf.architectures.given import Given

_EVERY = 4
"""llama.cpp leaves positions out of every so many layers; no field of the file says it otherwise."""


class SmolLM3(Architecture):
    """Llama whose every fourth layer knows no positions (NoPE)."""

    model_type = "smollm3"
    word = "smollm3"
    defaults: ClassVar[Mapping[str, Any]] = {
        "num_key_value_heads": 4,
        "rope_theta": 2_000_000.0,
        "no_rope_layer_interval": _EVERY,
        "tie_word_embeddings": True,
    }
    turns_pairs = True

    def refuse(self, given: Given) -> None:
        """Other layers without positions, and biases."""
        each = [int((layer + 1) % _EVERY != 0) for layer in range(self.layers)]
        said = given.get("no_rope_layers")
        if said is None:
            every = given.size("no_rope_layer_interval")
            said = [int((layer + 1) % every != 0) for layer in range(self.layers)]
        if not isinstance(said, list) or [int(one == 1) for one in said[: self.layers]] != each:
            raise given.refused(
                "no_rope_layers", "names others than every fourth layer, which llama.cpp has here alone"
            )
        for name in ("attention_bias", "mlp_bias"):
            if given.get(name):
                raise given.refused(name, "adds a bias that llama.cpp does not have in this architecture")

    def window(self, given: Given) -> int | None:
        """Of the layers without positions, where it is turned on."""
        if "sliding_attention" not in (given.get("layer_types") or ["sliding_attention"]):
            return None
        is_on = given.flag("use_sliding_window") and given.get("sliding_window") is not None
        return given.size("sliding_window") if is_on else None
