"""Encoded rows in memory, the order they are taken in, and the batches made of them.

Everything here is a function of (rows, seed, epoch, position), so that a run goes on exactly where it was cut off.
Knows nothing of how text becomes tokens (`tunesmith.rows`) nor of the model.
"""

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from tunesmith.errors import InvalidData
from tunesmith.rows.encoding import IGNORE_INDEX, Encoder, encode_rows
from tunesmith.rows.reading import read_rows


class Row(NamedTuple):
    """One row's tokens and labels, each of shape (length,)."""

    input_ids: np.ndarray[Any, np.dtype[np.int32]]
    labels: np.ndarray[Any, np.dtype[np.int32]]


class Rows:
    """Encoded rows, kept end to end in two flat arrays (4 bytes a token each).

    A negative index `-1-i` is row `i` with nothing to train: it keeps a worker busy that has no row of its own.
    """

    def __init__(self, ids: Sequence[np.ndarray[Any, Any]], labels: Sequence[np.ndarray[Any, Any]]) -> None:
        self._bounds = np.cumsum([0, *(len(part) for part in ids)])
        self._ids = np.concatenate([*ids, np.empty(0, np.int32)]).astype(np.int32)
        self._labels = np.concatenate([*labels, np.empty(0, np.int32)]).astype(np.int32)

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __getitem__(self, index: int) -> Row:
        row = index if index >= 0 else -1 - index
        part = slice(self._bounds[row], self._bounds[row + 1])
        labels = self._labels[part]
        return Row(self._ids[part], labels if index >= 0 else np.full_like(labels, IGNORE_INDEX))

    @property
    def tokens(self) -> int:
        """Tokens of all rows."""
        return len(self._ids)

    @property
    def supervised(self) -> int:
        """Tokens that are trained, of all rows."""
        return int((self._labels != IGNORE_INDEX).sum())

    def take(self, indices: Iterable[int]) -> "Rows":
        """Some of the rows, in the given order."""
        chosen = [self[int(i)] for i in indices]
        return Rows([row.input_ids for row in chosen], [row.labels for row in chosen])


class Loaded(NamedTuple):
    """What a file gave."""

    rows: Rows
    cut: int
    """Rows that were longer than `max_length`."""
    dropped: int
    """Rows left out because nothing of them is trained."""


def load_rows(path: Path, encoder: Encoder, max_samples: int = 0, seed: int = 0) -> Loaded:
    """Read and encode a file.

    Args:
        path: The file.
        encoder: Turns messages into tokens and labels.
        max_samples: Take at most so many rows, drawn by the seed; 0 takes all.
        seed: Draws the sample.

    Raises:
        InvalidData: The file or a row cannot be read, or no row has anything to train.
    """
    source: Iterable[tuple[int, dict[str, Any]]] = read_rows(path)
    if max_samples:
        source = _sample(source, max_samples, seed)
    ids: list[np.ndarray[Any, Any]] = []
    labels: list[np.ndarray[Any, Any]] = []
    cut = dropped = 0
    for _, encoded in encode_rows(source, encoder, path.name):
        cut += encoded.cut > 0
        row_labels = np.asarray(encoded.labels, np.int32)
        # The first token is never predicted, so a label there trains nothing.
        if not (row_labels[1:] != IGNORE_INDEX).any():
            dropped += 1
            continue
        ids.append(np.asarray(encoded.input_ids, np.int32))
        labels.append(row_labels)
    if not ids:
        raise InvalidData(
            f"`{path.name}`: no row has anything to train on.",
            hint="Every row needs an assistant's answer that begins within `max_length` tokens: raise `max_length`.",
            field=path.name,
        )
    return Loaded(Rows(ids, labels), cut, dropped)


def _sample(
    source: Iterable[tuple[int, dict[str, Any]]], size: int, seed: int
) -> list[tuple[int, dict[str, Any]]]:
    """A uniform sample of the rows in one pass, in file order (reservoir sampling; Vitter 1985, algorithm R)."""
    draw = random.Random(seed)  # noqa: S311  (no secret is drawn)
    kept: list[tuple[int, dict[str, Any]]] = []
    for count, item in enumerate(source):
        if count < size:
            kept.append(item)
        elif (place := draw.randint(0, count)) < size:
            kept[place] = item
    return sorted(kept, key=lambda item: item[0])


def hold_out(rows: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
    """Split rows into those to train on and those to evaluate on; each side keeps at least one row.

    Raises:
        InvalidData: There are fewer than two rows.
    """
    if len(rows) < 2:
        raise InvalidData(
            "`eval_sampling_ratio` needs at least two rows to split.", hint="Give `eval_file` or more rows."
        )
    count = min(len(rows) - 1, max(1, round(len(rows) * share)))
    order = np.random.default_rng([seed, 1]).permutation(len(rows))
    return rows.take(np.sort(order[count:])), rows.take(np.sort(order[:count]))


class Order:
    """The batches of an epoch as lists of row indices, for one of `world` workers. Set `epoch` before each epoch.

    One seeded shuffle serves all epochs unless `reshuffle`. Every worker gets equally many batches; a worker for
    which the last batch has no row gets a row with nothing to train.
    """

    def __init__(
        self, rows: int, batch_size: int, seed: int, *, reshuffle: bool = False, world: int = 1, rank: int = 0
    ) -> None:
        self._rows, self._batch, self._seed, self._reshuffle = rows, batch_size, seed, reshuffle
        self._world, self._rank = world, rank
        self.epoch = 0

    def __len__(self) -> int:
        return math.ceil(self._rows / (self._batch * self._world))

    def __iter__(self) -> Iterator[list[int]]:
        shuffled = np.random.default_rng([self._seed, self.epoch if self._reshuffle else 0]).permutation(
            self._rows
        )
        for start in range(0, self._rows, self._batch * self._world):
            whole = shuffled[start : start + self._batch * self._world]
            mine = whole[self._rank :: self._world]
            yield [int(i) for i in mine] if len(mine) else [-1 - int(whole[0])]


class Collator:
    """Pads rows on the right to the longest of their batch. Returns tensors of shape (rows, longest)."""

    def __init__(self, pad_id: int) -> None:
        self._pad = pad_id

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """One batch: `input_ids`, `labels`, `attention_mask`."""
        longest = max(len(row.input_ids) for row in rows)
        ids = torch.full((len(rows), longest), self._pad, dtype=torch.long)
        labels = torch.full((len(rows), longest), IGNORE_INDEX, dtype=torch.long)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for i, row in enumerate(rows):
            length = len(row.input_ids)
            ids[i, :length] = torch.from_numpy(row.input_ids)
            labels[i, :length] = torch.from_numpy(row.labels)
            mask[i, :length] = 1
        return {"input_ids": ids, "labels": labels, "attention_mask": mask, "use_cache": False}
