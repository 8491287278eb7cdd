"""Tensors of a GGUF file, and where in a folder their numbers lie: under one name, or rows of several tensors.

Knows names and shapes; reads nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Part(NamedTuple):
    """Rows of a folder's tensor, which lie one below another."""

    name: str
    shape: tuple[int, ...]
    """Of the whole tensor."""
    begin: int = 0
    """The first row, where the tensor is seen as one matrix."""
    rows: int = 0
    """How many; 0 for all."""


class Tensor(NamedTuple):
    """A tensor of the file."""

    name: str
    """By which the package `gguf` knows what it is called in the file: the library's own, mostly."""
    shape: tuple[int, ...]
    heads: int = 0
    """Rows are in this many heads, each of which is put from halves into pairs; 0 leaves them as they are."""
    plus: float = 0.0
    """What is added to each number."""
    is_exact: bool = False
    """Whether it is F32 whatever the file is: llama.cpp computes with it so."""
    lies: tuple[tuple[Part, ...], ...] = ()
    """The ways in which a folder may hold it, the usual one first; empty for its own name alone."""

    @property
    def ways(self) -> tuple[tuple[Part, ...], ...]:
        """See `lies`."""
        return self.lies or ((Part(self.name, self.shape),),)

    def way_in(self, names: Collection[str]) -> tuple[Part, ...]:
        """The way in which tensors of these names hold it; the usual one where none of them does."""
        return next((way for way in self.ways if all(part.name in names for part in way)), self.ways[0])

    def numbers(self, weights: "Mapping[str, NDArray[np.float32]]") -> "NDArray[np.float32] | None":
        """Its numbers as the file must have them, from a model's weights by name; None where they do not hold it.

        Args:
            weights: By the names of a folder, or of the library's model.
        """
        import numpy as np

        way = self.way_in(weights.keys())
        if any(part.name not in weights for part in way):
            return None
        pieces = []
        for part in way:
            rows = weights[part.name].reshape(-1, part.shape[-1])
            pieces.append(rows[part.begin : part.begin + part.rows] if part.rows else rows)
        whole = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        found = in_pairs(whole.reshape(self.shape), self.heads)
        return found + np.float32(self.plus) if self.plus else found


def in_pairs(weight: "NDArray[np.float32]", heads: int) -> "NDArray[np.float32]":
    """A weight's rows as ggml turns them: within each head, those of its two halves in turn; 0 heads change nothing."""
    if not heads:
        return weight
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, 2, half, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def experts(
    names: Sequence[str], shape: tuple[int, int, int], fused: str = "", after: int = 0, of: int = 1
) -> tuple[tuple[Part, ...], ...]:
    """The ways in which a folder holds the matrices of experts, which are one tensor in the file.

    Args:
        names: Of each expert's own, as models are published.
        shape: Experts, rows and numbers of one of their matrices.
        fused: The tensor that holds all of them in the library.
        after: Which of the matrices it is that lie one below another in the library's.
        of: How many do.
    """
    count, rows, width = shape
    assert len(names) == count
    whole = (count, of * rows, width)
    each = tuple(Part(name, (rows, width)) for name in names)
    one = tuple(Part(fused, whole, (expert * of + after) * rows, rows) for expert in range(count))
    return each, one
