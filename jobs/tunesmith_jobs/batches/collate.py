"""Batches: rows as tensors, padded on the right to the longest of their batch.

No batch of a causal model carries an attention mask: padding stands behind every real token, so none sees it, and
attention takes its fast causal path. Where rows hold several documents, `position_ids` tells transformers which tokens
may see each other; for a model that does not heed it, each document becomes a row. Knows nothing of files or the
model.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch

from tunesmith.rows.tokens.encoding import IGNORE_INDEX
from tunesmith_jobs.batches.rows import Row

_COUNTS = "counts"


class Counts(NamedTuple):
    """What a batch holds."""

    tokens: float
    """Tokens that are no padding."""
    places: float
    examples: float
    """Documents with something to train."""
    lengths: list[int]
    """Tokens of each row."""


def take_counts(inputs: dict[str, Any]) -> Counts:
    """What a batch holds; taken out of it, for no model knows the key."""
    lengths, examples = inputs.pop(_COUNTS).T.tolist()
    return Counts(float(sum(lengths)), float(inputs["input_ids"].numel()), float(sum(examples)), lengths)


class Collator:
    """Batches for a causal model: `input_ids` and `labels` of shape (rows, longest), `position_ids` where packed."""

    is_unpacked = False
    """Whether each document of a packed row becomes a row of the batch."""

    def __init__(self, pad_id: int) -> None:
        self._pad = pad_id

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """One batch."""
        if self.is_unpacked:
            rows = [document for row in rows for document in documents_of(row)]
        batch = {
            "input_ids": _padded([row.input_ids for row in rows], self._pad),
            "labels": _padded([row.labels for row in rows], IGNORE_INDEX),
            "use_cache": False,
            _COUNTS: _counts(rows),
        }
        if any(row.examples > 1 for row in rows):
            batch["position_ids"] = _positions(rows, batch["input_ids"].shape[1])
        return batch


def documents_of(row: Row) -> list[Row]:
    """The documents of a packed row, each as a row."""
    if row.positions is None or row.examples == 1:
        return [row]
    begins = [*np.flatnonzero(row.positions == 0).tolist(), len(row.input_ids)]
    return [Row(row.input_ids[a:b], row.labels[a:b]) for a, b in pairwise(begins)]


class ClassCollator:
    """Batches for a classifier: `input_ids`, `attention_mask` of shape (rows, longest), `labels` of shape (rows,)."""

    def __init__(self, pad_id: int) -> None:
        self._pad = pad_id

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """One batch."""
        ids = _padded([row.input_ids for row in rows], self._pad)
        lengths = torch.tensor([len(row.input_ids) for row in rows])
        return {
            "input_ids": ids,
            "attention_mask": (torch.arange(ids.shape[1])[None] < lengths[:, None]).long(),
            "labels": torch.tensor([int(row.labels[0]) for row in rows]),
            "use_cache": False,
            _COUNTS: _counts(rows),
        }


def _padded(parts: Sequence[Any], fill: int) -> torch.Tensor:
    whole = torch.full((len(parts), max(map(len, parts))), fill, dtype=torch.long)
    for i, part in enumerate(parts):
        whole[i, : len(part)] = torch.from_numpy(part)
    return whole


def _positions(rows: Sequence[Row], longest: int) -> torch.Tensor:
    """Positions of shape (rows, longest); padding counts as a document of its own."""
    positions = torch.zeros((len(rows), longest), dtype=torch.long)
    for i, row in enumerate(rows):
        length = len(row.input_ids)
        own = torch.arange(length) if row.positions is None else torch.from_numpy(row.positions)
        positions[i, :length] = own
        positions[i, length:] = torch.arange(longest - length)
    return positions


def _counts(rows: Sequence[Row]) -> torch.Tensor:
    return torch.tensor(
        [
            [len(row.input_ids), row.examples if bool((row.labels != IGNORE_INDEX).any()) else 0]
            for row in rows
        ]
    )
