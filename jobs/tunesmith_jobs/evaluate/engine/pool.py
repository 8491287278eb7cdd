"""Keys and values of the sequences that are being computed, of all layers, in one pool of places.

A sequence has places of its own, one a token, beside each other. Knows tensors; knows nothing of models.
"""

from typing import Any

import torch

STEP = 32
"""A sequence's places begin at a multiple of it, and the keys that a token sees are rounded up to one. By the token's
own position: so the shape of its attention does not depend on what is computed beside it."""


def rounded(length: int) -> int:
    """A length rounded up to whole steps."""
    return -(-length // STEP) * STEP


class Pool:
    """Places for so many tokens.

    Args:
        places: How many, a multiple of `STEP`.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self._free = [(0, places)]
        self._layers: dict[Any, tuple[torch.Tensor, torch.Tensor]] = {}

    @property
    def bytes(self) -> int:
        """Of all keys and values."""
        return sum(one.nbytes for pair in self._layers.values() for one in pair)

    def of(self, layer: Any, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and values of a layer, each of shape (places, heads, width).

        Args:
            layer: What tells it.
            key: Of the first tokens, of shape (tokens, heads, width): tells the shape and the format.
            value: The same.
        """
        if layer not in self._layers:
            self._layers[layer] = (
                key.new_zeros(self.places, *key.shape[1:]),
                value.new_zeros(self.places, *value.shape[1:]),
            )
        return self._layers[layer]

    def take(self, tokens: int) -> int | None:
        """Places for a sequence of so many tokens; returns the first, or None where there is no room."""
        need = rounded(tokens)
        for number, (begin, end) in enumerate(self._free):
            if end - begin >= need:
                self._free[number] = begin + need, end
                for keys, values in self._layers.values():  # what a masked place holds is multiplied by zero
                    keys[begin : begin + need].zero_()
                    values[begin : begin + need].zero_()
                return begin
        return None

    def give_back(self, begin: int, tokens: int) -> None:
        """Free the places of a sequence."""
        joined: list[tuple[int, int]] = []
        for one in sorted([*self._free, (begin, begin + rounded(tokens))]):
            if joined and joined[-1][1] == one[0]:
                joined[-1] = joined[-1][0], one[1]
            elif one[0] < one[1]:
                joined.append(one)
        self._free = joined

    def copy(self, source: int, target: int, tokens: int) -> None:
        """Copy the first tokens of one sequence to another."""
        for keys, values in self._layers.values():
            keys[target : target + tokens] = keys[source : source + tokens]
            values[target : target + tokens] = values[source : source + tokens]
