"""What a file's rows come to as batches: how many there are, how long, and how much of them is padding.

Knows counts and parameters; knows nothing of memory or time.
"""

from typing import NamedTuple

import numpy as np

from tunesmith.errors import InvalidData, InvalidInput
from tunesmith.estimate import DataView
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.estimates import formula
from tunesmith_platform.sandbox.token_counts import Counts, Ints

_PACKED_ROWS = 2000
"""Rows that are packed to see how many sequences they come to."""


class Rows(NamedTuple):
    """What the batches are made of."""

    view: DataView
    units: int
    """Rows, or packed sequences, that batches are made of."""
    longest: int
    places: float
    """Tokens and padding of a full batch, on average."""
    length: float
    is_joined: bool = False
    """Whether a row of a batch is a full sequence, whatever the documents' lengths."""

    @property
    def head_share(self) -> float:
        """Share of the places that are trained: only their logits are computed."""
        share = self.view.supervised_tokens / max(1, self.view.tokens)
        return share * (1 - self.view.padding_share)


def rows_of(
    spec: TrainSpec, counts: Counts, eval_rows: int, name: str, *, sees_neighbours: bool = False
) -> Rows:
    """What a file's rows come to with these parameters.

    Args:
        spec: The parameters.
        counts: The rows' tokens.
        eval_rows: Rows of the evaluation file.
        name: The file's name.
        sees_neighbours: Whether documents of a full sequence would see each other in this model: each is computed as a
            row of its own then, in as many steps.

    Raises:
        InvalidData: Within `max_length` nothing is left to train.
    """
    is_pretrain = spec.training_type == "pretrain"
    after = counts.after(None if is_pretrain else spec.max_length)
    looked = len(counts.lengths)
    if not len(after.lengths):
        raise InvalidData(
            f"`{name}`: no row that was looked at has anything to train on.",
            hint="Every row needs an assistant's answer that begins within `max_length` tokens: raise `max_length`.",
            field="spec.train_file",
        )
    total = min(counts.rows, spec.max_samples) if spec.max_samples else counts.rows
    rows = max(1, round(total * len(after.lengths) / looked))
    if spec.eval_sampling_ratio and not eval_rows:
        if rows < 2:
            raise InvalidInput(
                "`eval_sampling_ratio` needs at least two rows to split.",
                hint="Give `eval_file` or more rows.",
            )
        eval_rows = min(rows - 1, max(1, round(rows * spec.eval_sampling_ratio)))
        rows -= eval_rows
    scale = rows / len(after.lengths)
    tokens = float(after.lengths.sum()) * scale
    batch, size = spec.per_device_train_batch_size, spec.max_length
    batches = spec.gradient_accumulation_steps * spec.workers[1]
    padding, places, length = _padding_share(after.lengths, batch, batches, spec.seed)
    packs, padding_packed = _packs_of(after.lengths.clip(max=size), size, spec.seed)
    units, longest = rows, int(after.lengths.max())
    if is_pretrain:
        units = formula.mean_ceiling(tokens, size)
        padding = padding_packed = max(0.0, 1 - tokens / (units * size))
    elif spec.packing and spec.training_type == "sft":
        units, padding = max(1, round(rows * packs)), padding_packed
    is_joined = units != rows or is_pretrain
    if is_joined:
        longest = size if units > 1 else min(size, int(tokens))
        places, length = float(longest * min(batch, units)), float(longest)
    is_unpacked = is_joined and sees_neighbours
    if is_unpacked:
        pieces = _pieces(after.lengths, size) if is_pretrain else after.lengths.clip(max=size)
        rows_each = len(pieces) * scale / units
        padding, places, length = _padding_share(
            pieces, max(1, round(rows_each * min(batch, units))), 1, spec.seed
        )
        longest = max(1, round(places / min(batch, units)))
        is_joined = False
    view = DataView(
        rows=rows,
        eval_rows=eval_rows,
        is_sample=counts.is_sample,
        looked_at=looked,
        cut_share=after.cut / looked,
        dropped_share=after.dropped / looked,
        tokens=round(tokens),
        tokens_lost=round(after.lost * scale),
        supervised_tokens=round(after.supervised * scale),
        mean_tokens=float(after.lengths.mean()),
        longest_tokens=longest,
        padding_share=padding,
        padding_share_packed=padding_packed,
        is_unpacked=is_unpacked,
    )
    return Rows(view, units, longest, places, length, is_joined)


def _pieces(lengths: Ints, size: int) -> Ints:
    """The documents as blocks of `size` tokens cut them."""
    ends = np.cumsum(lengths)
    cuts = np.union1d(ends, np.arange(size, int(ends[-1]), size))
    return np.diff(np.concatenate([[0], cuts]))


def _padding_share(lengths: Ints, batch: int, batches: int, seed: int) -> tuple[float, float, float]:
    """What a shuffled epoch's batches hold, drawn as the trainer draws them.

    Args:
        lengths: Of every row.
        batch: Rows of a batch.
        batches: Batches of a step, over all workers: their rows are dealt by length.
        seed: Of the shuffle.

    Returns:
        The share of padding, the mean of places a batch, and the mean length of a batch's rows with padding.
    """
    order = np.random.default_rng([seed, 0]).permutation(len(lengths))
    shuffled = lengths[order]
    missing = -len(shuffled) % (batch * batches)
    steps = np.concatenate([shuffled, np.zeros(missing, np.int64)]).reshape(-1, batch * batches)
    full = -np.sort(-steps, axis=1).reshape(-1, batch)
    full = full[full[:, 0] > 0]
    longest = full.max(axis=1)
    rows = (full > 0).sum(axis=1)
    places = float((longest * rows).sum())
    share = 1 - float(lengths.sum()) / places if places else 0.0
    return share, places / len(full), places / max(1.0, float(rows.sum()))


def _packs_of(lengths: Ints, size: int, seed: int) -> tuple[float, float]:
    """How many packed sequences a row becomes on average, and the share of padding in them; large files by a sample."""
    some = lengths
    if len(some) > _PACKED_ROWS:
        some = np.random.default_rng(seed).choice(some, _PACKED_ROWS, replace=False)
    packs = formula.packed_rows(some.tolist(), size)
    return packs / max(1, len(some)), 1 - float(some.sum()) / max(1, packs * size)
