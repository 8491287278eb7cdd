"""What a proof knows of a model before it is loaded: its sizes, and its tensors where its architecture is written here.

Knows folders and architectures; loads nothing.
"""

import math
from pathlib import Path
from typing import NamedTuple

from tunesmith.errors import NotConvertible
from tunesmith.gguf.architectures import Architecture, architecture_of
from tunesmith.gguf.architectures.given import Given
from tunesmith.gguf.tensors import stored_tensors
from tunesmith.model_folder import read_config, weight_files

_CONTEXTS = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


class Known(NamedTuple):
    """A model's sizes."""

    words: int
    """Of its vocabulary."""
    context: int
    numbers: int
    """Its weights."""
    has_experts: bool
    architecture: Architecture | None
    """What says which tensor is which; None of a model that is not written here."""


def known_of(folder: Path) -> Known:
    """What a folder says.

    Args:
        folder: The model.

    Raises:
        NotConvertible: Not even its sizes.
    """
    config = read_config(folder)
    try:
        architecture = architecture_of(config)
    except NotConvertible:
        given = Given(config, {})
        context = next((name for name in _CONTEXTS if given.says(name)), _CONTEXTS[0])
        stored = stored_tensors(weight_files(folder))
        return Known(
            given.size("vocab_size"),
            given.size(context),
            sum(math.prod(one.shape) for one in stored.values()),
            any(given.says(name) for name in _EXPERTS),
            None,
        )
    context_length = architecture.metadata[f"{architecture.word}.context_length"]
    return Known(
        architecture.words,
        int(context_length),  # type: ignore[arg-type]
        sum(math.prod(tensor.shape) for tensor in architecture.tensors().values()),
        architecture.experts > 0,
        architecture,
    )
