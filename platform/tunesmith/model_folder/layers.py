"""Which of a file's tensors are a linear layer's matrix, the output head's, or no parameter at all.

By their names and shapes, as transformers 5.23 reads them; a long test holds it against every type's own modules. Knows
names; opens no file.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

_HEADS = frozenset({"lm_head", "embed_out", "output", "generator_lm_head"})
_WORDS = re.compile(
    r"(?:^|\.)(?:embed_tokens|wte|word_embeddings|embed_in|tok_embeddings|tokens_embed)\.weight$"
)
"""What embeddings of tokens are called in files."""
_NUMBER = re.compile(r"\.\d+\.")
_EMBEDDINGS = frozenset({"wte", "wpe", "w", "shared", "relative_attention_bias"})
_INTO_HIDDEN = re.compile(r"embed\w*_(project|projection|mapping|hidden)")
"""What of an embedding's name is a layer behind it: ELECTRA's and RemBERT's."""

SPLIT: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "hrm_text": {
        "gqkv_proj": ("gate_proj", "q_proj", "k_proj", "v_proj"),
        "gate_up_proj": ("gate_proj", "up_proj"),
    },
}
"""Matrices that a type's files hold in one, and transformers as so many layers of one size."""

_BUFFERS = frozenset({
    "e_score_correction_bias", "expert_bias", "balancing_biases", "tid2eid", "layer_scalar", "slope_rate",
    "query_decay", "key_decay", "diagonal_decay", "inv_freq", "position_ids", "masked_bias", "num_batches_tracked",
    "running_mean", "running_var",
})  # fmt: skip
"""Tensors that are computed with and never trained, by the last parts of their names."""
_BUFFERS_OF = {
    "apertus": frozenset({"act_fn.beta", "act_fn.eps"}),
    "inkling2_text": frozenset({"gate.bias"}),
    "hrm_text": frozenset({"z_L_init"}),
}
_PARAMETERS_OF = {
    "afmoe": frozenset({"expert_bias"}),
    **dict.fromkeys(("ernie4_5_moe", "laguna"), frozenset({"e_score_correction_bias"})),
}
"""What is a parameter to a type all the same, which never gets a gradient."""
OWN_HEAD = frozenset({"bailing_hybrid", "cpmant", "kimi_linear", "nemotron_h", "rembert"})
"""Types whose head is never the embedding's matrix, whatever `tie_word_embeddings` says."""
_WHOLE_NUMBERS = frozenset({"I64", "U64", "I32", "U32", "I16", "U16", "I8", "U8", "BOOL"})
TRANSPOSED = frozenset({"gpt2", "gpt-sw3", "openai-gpt"})
"""Types whose layers are stored as (in, out): GPT-2's `Conv1D`."""


def is_head(path: str, shape: tuple[int, int], vocab_size: int) -> bool:
    """Whether a module gives the logits: it stands in no block, and is called so or has a row for each token."""
    name = path.rpartition(".")[2]
    if _NUMBER.search(f".{path}."):
        return False
    return name in _HEADS or (shape[0] == vocab_size and not _is_embedding(name))


def is_linear(path: str, shape: tuple[int, int], vocab_size: int) -> bool:
    """Whether a module with a matrix is a linear layer: no embedding, no norm, not the output head."""
    name = path.rpartition(".")[2]
    return not ("norm" in name or name == "score" or _is_embedding(name) or is_head(path, shape, vocab_size))


def is_buffer(path: str, shape: list[int], dtype: str, model_type: str) -> bool:
    """Whether a tensor of a file is no parameter of the loaded model.

    Args:
        path: Its name in the file.
        shape: Its sizes.
        dtype: Its type, as safetensors writes it.
        model_type: The type of model.
    """
    name = path.rpartition(".")[2]
    is_mask = name == "bias" and len(shape) == 4  # GPT-2's and GPT-NeoX's triangle, in files of old
    ends = _BUFFERS_OF.get(model_type, frozenset())
    is_own = name in ends or ".".join(path.split(".")[-2:]) in ends
    is_usual = name in _BUFFERS - _PARAMETERS_OF.get(model_type, frozenset())
    return is_usual or is_mask or is_own or dtype in _WHOLE_NUMBERS


def split(path: str, shape: tuple[int, int], model_type: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """A module of a file as the modules that transformers makes of it."""
    before, _, name = path.rpartition(".")
    parts = SPLIT.get(model_type, {}).get(name)
    if parts is None:
        yield path, shape
        return
    for part in parts:
        yield f"{before}.{part}", (shape[0] // len(parts), shape[1])


def embedding_rows(shapes: Mapping[str, Sequence[int]]) -> int | None:
    """How many tokens' rows an embedding has; None where none is there.

    Args:
        shapes: Those of tensors, by their names in a file.
    """
    return next((shape[0] for name, shape in shapes.items() if _WORDS.search(name) and len(shape) == 2), None)


def _is_embedding(name: str) -> bool:
    is_called_so = "embed" in name and name not in _HEADS and not _INTO_HIDDEN.match(name)
    return is_called_so or name in _EMBEDDINGS
