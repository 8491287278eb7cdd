"""Which types of model see the tokens behind a place in a text, so that they cannot learn to write the next one.

Of transformers 5.23. Knows `config.json`; loads nothing.
"""

from collections.abc import Mapping
from typing import Any

_ENCODERS_WORDS = """
bert bert-generation big_bird camembert data2vec-text electra ernie megatron-bert reformer rembert roberta
roberta-prelayernorm roc_bert roformer xlm-roberta xlm-roberta-xl xmod
"""
ENCODERS = frozenset(_ENCODERS_WORDS.split())
"""Those that do unless their configuration says `is_decoder`."""
NEVER_CAUSAL = frozenset({"xlm", "xlnet"})
"""Those whose own loss is not the next token's, so that what they answer is not what they were trained on."""


def sees_later_tokens(config: Mapping[str, Any]) -> bool:
    """Whether a model does, by its `config.json`."""
    kind = config["model_type"]
    return kind in NEVER_CAUSAL or (kind in ENCODERS and config.get("is_decoder") is not True)
