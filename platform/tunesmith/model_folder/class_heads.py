"""What a classifier has that its base has not: layers made anew, by the type of the model, and their numbers.

Knows transformers' (5.23) classes by their types; imports no library.
"""

import re
from collections.abc import Iterable, Mapping

_WORDS_HEAD = re.compile(
    r"(?:.*\.)?(?:lm_head|cls\.predictions|generator_predictions|generator_lm_head|embed_out|output_projection"
    r"|pred_layer)\.|decoder\.(?:weight|bias)$|(?:score|classifier)\."
)
_POOLED = frozenset({"bert", "ernie", "megatron-bert", "rembert"})
"""Types whose classes are read from a pooled first token; a file of a language model has no pooler."""
_TWO_LAYERS_WORDS = """
big_bird camembert data2vec-text electra roberta roberta-prelayernorm roformer xlm-roberta xlm-roberta-xl xmod
"""
_TWO_LAYERS = frozenset(_TWO_LAYERS_WORDS.split())
"""Types whose head is a layer and a projection, each with a bias."""


def is_left_out(name: str) -> bool:
    """Whether a tensor of a file is no part of a new classifier: it belongs to a head of words, or of other classes."""
    return _WORDS_HEAD.match(name) is not None


def class_head(kind: str, hidden: int, classes: int, modules: Iterable[str]) -> int:
    """How many numbers are made anew, and trained, of a classifier.

    Args:
        kind: The type of the model.
        hidden: Numbers of a token's last hidden state.
        classes: How many classes there are.
        modules: The modules that the file has.
    """
    layer, plain = hidden * hidden + hidden, hidden * classes
    if kind in _TWO_LAYERS:
        return layer + plain + classes
    if kind in _POOLED:
        has_pooler = any(path.endswith("pooler.dense") for path in modules)
        return (0 if has_pooler else layer) + plain + classes
    if kind == "modernbert-decoder":
        return layer + plain  # a layer without bias and its norm
    return plain + (classes if kind == "xlm" else 0)


def hidden_size(numbers: Mapping[str, int]) -> int:
    """Numbers of a token's last hidden state, by those of `config.json`; 0 where they are not there."""
    names = ("word_embed_proj_dim", "hidden_size", "n_embd", "d_model", "emb_dim")
    return next((numbers[name] for name in names if name in numbers), 0)
