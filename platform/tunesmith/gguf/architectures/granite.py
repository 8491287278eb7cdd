"""Granite, without experts."""

from collections.abc import Mapping
from typing import Any, ClassVar

from tunesmith.gguf.architectures.given import Given
from tunesmith.gguf.architectures.llama import Llama
from tunesmith.gguf.file import Value

_FIELDS = {
    "attention_multiplier": "attention.scale",
    "embedding_multiplier": "embedding_scale",
    "residual_multiplier": "residual_scale",
    "logits_scaling": "logit_scale",
}


class Granite(Llama):
    """Llama with four numbers that the embedding, attention, what each part adds, and the head are multiplied by."""

    model_type = "granite"
    word = "granite"
    defaults: ClassVar[Mapping[str, Any]] = dict.fromkeys(_FIELDS, 1.0)

    def says(self, given: Given) -> dict[str, Value]:
        """The four numbers."""
        return {field: given.number(name) for name, field in _FIELDS.items()}
