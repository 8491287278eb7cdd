"""Mistral, as far as its window goes."""

from collections.abc import Mapping
from typing import Any, ClassVar

from tunesmith.gguf.architectures.base import Architecture
from tunesmith.gguf.architectures.given import Given
from tunesmith.gguf.architectures.positions import PLAIN


class Mistral(Architecture):
    """Llama with a window, which llama.cpp does not keep to."""

    model_type = "mistral"
    word = "llama"
    defaults: ClassVar[Mapping[str, Any]] = {"num_key_value_heads": 8, "sliding_window": 4096}
    turns_pairs = True
    ways_of_scaling = (*PLAIN, "llama3", "longrope")

    def window(self, given: Given) -> int | None:
        """Its window; `null` in a configuration takes it away, and leaving it out does not."""
        return given.size("sliding_window") if given.get("sliding_window") is not None else None
