"""Encoded rows, and the order they are taken in.

Everything here is a function of (rows, seed, epoch, position), so that a run goes on exactly where it was cut off.
Knows nothing of how text becomes tokens (`tunesmith.rows`), of tensors, nor of the model.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from tunesmith.errors import InvalidData
from tunesmith.rows.order import shuffled
from tunesmith.rows.tokens.encoding import IGNORE_INDEX

Ints = np.ndarray[Any, np.dtype[np.int32]]
Longs = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


class Row(NamedTuple):
    """One row's tokens and labels, each of shape (length,); a classified row has one label, its class."""

    input_ids: Ints
    labels: Ints
    positions: Ints | None = None
    """Each token's place in its own document, where several lie in the row."""
    examples: int = 1
    """How many documents lie in the row."""


class Samples(Protocol):
    """What a batch is made of: rows, packed rows or blocks.

    A negative index `-1-i` is row `i` with nothing to train: it keeps a worker busy that has no row of its own.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Row: ...

    @property
    def lengths(self) -> Ints:
        """Tokens of each."""

    @property
    def tokens(self) -> int:
        """Tokens of all."""

    @property
    def supervised(self) -> int:
        """Tokens that are trained, of all; classes, where rows are classified."""

    @property
    def origins(self) -> tuple[Ints, Ints]:
        """The file's rows in each: where each one's begin, and the rows' numbers."""


class Flat(NamedTuple):
    """The tokens of many rows end to end, 5 bytes a token; the arrays may lie on disk."""

    ids: Ints
    trained: Bools
    """Whether each token is trained; empty where rows are classified."""

    def labels(self, begin: int, end: int) -> Ints:
        """The labels of some tokens: the token's own id where it is trained."""
        return np.where(self.trained[begin:end], self.ids[begin:end], np.int32(IGNORE_INDEX))


class Rows:
    """Encoded rows: some stretches of flat arrays.

    Args:
        flat: The tokens.
        lengths: Tokens of each row.
        numbers: Each row's number in its file, from 1.
        starts: Where in the arrays each row begins; without them the rows lie end to end from the start.
        classes: The number of each row's class, where rows are classified.
    """

    def __init__(
        self,
        flat: Flat,
        lengths: Ints,
        numbers: Ints,
        starts: Longs | None = None,
        classes: Ints | None = None,
    ) -> None:
        self._flat, self._classes = flat, classes
        self._lengths, self.numbers = lengths, numbers
        self.bounds: Longs = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        """Where each row begins, and where the last one ends, with all rows end to end."""
        self._starts = self.bounds[:-1] if starts is None else starts

    @classmethod
    def of(cls, ids: Sequence[Ints], labels: Sequence[Ints], numbers: Sequence[int] | None = None) -> Self:
        """Rows from the tokens and the labels of each."""
        none = np.empty(0, np.int32)
        flat = Flat(
            np.concatenate([*ids, none], dtype=np.int32), np.concatenate([*labels, none]) != IGNORE_INDEX
        )
        found = range(1, len(ids) + 1) if numbers is None else numbers
        return cls(flat, np.asarray([len(row) for row in ids], np.int32), np.asarray(found, np.int32))

    def __len__(self) -> int:
        return len(self._lengths)

    def __getitem__(self, index: int) -> Row:
        row = index if index >= 0 else -1 - index
        begin = int(self._starts[row])
        end = begin + int(self._lengths[row])
        labels = self._flat.labels(begin, end) if self._classes is None else self._classes[row : row + 1]
        ids = np.array(self._flat.ids[begin:end])
        return Row(ids, labels if index >= 0 else np.full_like(labels, IGNORE_INDEX))

    @property
    def lengths(self) -> Ints:
        """See `Samples`."""
        return self._lengths

    @property
    def tokens(self) -> int:
        """See `Samples`."""
        return int(self.bounds[-1])

    @property
    def supervised(self) -> int:
        """See `Samples`."""
        if self._classes is not None:
            return len(self)
        if self.tokens == len(self._flat.ids):
            return int(np.count_nonzero(self._flat.trained))
        ends = self._starts + self._lengths
        parts = zip(self._starts.tolist(), ends.tolist(), strict=True)
        return sum(int(np.count_nonzero(self._flat.trained[begin:end])) for begin, end in parts)

    @property
    def origins(self) -> tuple[Ints, Ints]:
        """See `Samples`."""
        return np.arange(len(self) + 1, dtype=np.int32), self.numbers

    def take(self, indices: Longs) -> "Rows":
        """Some of the rows, in the given order; no token is copied."""
        classes = self._classes[indices] if self._classes is not None else None
        return Rows(self._flat, self._lengths[indices], self.numbers[indices], self._starts[indices], classes)

    def renumbered(self, numbers: Ints) -> "Rows":
        """The same rows with other numbers for their classes: class `i` becomes `numbers[i]`."""
        assert self._classes is not None
        return Rows(self._flat, self._lengths, self.numbers, self._starts, numbers[self._classes])

    def stretch(self, begin: int, end: int) -> tuple[Ints, Ints]:
        """Ids and labels of some tokens, counted with all rows end to end (`bounds`)."""
        first = int(np.searchsorted(self.bounds, begin, "right")) - 1
        ids, labels = [], []
        while begin < end:
            upto = min(end, int(self.bounds[first + 1]))
            at = int(self._starts[first] - self.bounds[first])
            ids.append(self._flat.ids[at + begin : at + upto])
            labels.append(self._flat.labels(at + begin, at + upto))
            begin, first = upto, first + 1
        return np.concatenate(ids), np.concatenate(labels)


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

    With `lengths`, the rows of one optimizer step are dealt to its batches by length, which saves padding. A step keeps
    exactly the rows that it has without, so the loss is the same, whatever the batch, the accumulation or the workers.
    """

    def __init__(
        self,
        rows: int,
        batch_size: int,
        seed: int,
        *,
        reshuffle: bool = False,
        world: int = 1,
        rank: int = 0,
        accumulation: int = 1,
        lengths: Ints | None = None,
    ) -> None:
        self._rows, self._batch, self._seed, self._reshuffle = rows, batch_size, seed, reshuffle
        self._world, self._rank = world, rank
        self._accumulation, self._lengths = accumulation, lengths
        self.epoch = 0

    def __len__(self) -> int:
        return math.ceil(self._rows / (self._batch * self._world))

    def __iter__(self) -> Iterator[list[int]]:
        order = shuffled(self._rows, self._seed, self.epoch, reshuffles=self._reshuffle)
        batch = self._batch * self._world
        for first in range(0, self._rows, batch * self._accumulation):
            step = order[first : first + batch * self._accumulation]
            if self._lengths is not None:
                # The longest first: what does not fit into memory shows at the first step.
                step = step[np.argsort(-self._lengths[step], kind="stable")]
            for start in range(0, len(step), batch):
                whole = step[start : start + batch]
                mine = whole[self._rank :: self._world]
                yield [int(i) for i in mine] if len(mine) else [-1 - int(whole[0])]


class EvaluationBatches(NamedTuple):
    """What one of `world` workers evaluates, as lists of row indices, rows of like lengths beside each other."""

    batches: list[list[int]]
    own: int
    """So many of them hold its own rows; what comes after is done for the others alone, and not counted."""
    common: int
    """So many every worker has: up to there they can agree to leave."""

    @classmethod
    def of(
        cls, lengths: Ints, size: int, *, world: int, rank: int, is_in_step: bool = False
    ) -> "EvaluationBatches":
        """Of all rows.

        Args:
            lengths: Tokens of each row.
            size: Rows of a batch.
            world: How many workers there are.
            rank: Which this one is.
            is_in_step: Whether all must run equally many, as each holds a part of the weights.
        """
        mine = sorted(range(rank, len(lengths), world), key=lambda row: -int(lengths[row]))
        batches = [mine[i : i + size] for i in range(0, len(mine), size)]
        own, common = len(batches), math.ceil(len(lengths) // world / size)
        if is_in_step:
            common = math.ceil(math.ceil(len(lengths) / world) / size)
            batches += [batches[0] if batches else [0]] * (common - own)
        return cls(batches, own, common)
