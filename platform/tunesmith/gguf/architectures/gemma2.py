"""Gemma 2."""

from collections.abc import Mapping
from typing import Any, ClassVar

from tunesmith.gguf.architectures.gemma import Gemma
from tunesmith.gguf.architectures.given import Given
from tunesmith.gguf.file import Value

_CAPS = ("attn_logit_softcapping", "final_logit_softcapping")


class Gemma2(Gemma):
    """Every second layer has a window; what attention and the head compute is capped softly."""

    model_type = "gemma2"
    word = "gemma2"
    defaults: ClassVar[Mapping[str, Any]] = {
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    }
    every = 2
    largest_layers = 46

    def refuse(self, given: Given) -> None:
        """An end of its own besides."""
        super().refuse(given)
        if not self.ties_ends:
            raise given.refused(
                "tie_word_embeddings", "is not set; llama.cpp takes the embedding for the head"
            )

    def says(self, given: Given) -> dict[str, Value]:
        """The caps besides."""
        return super().says(given) | {name: given.number(name) for name in _CAPS}
