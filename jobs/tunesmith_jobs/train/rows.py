"""Encoded rows in memory, and the order they are taken in.

Everything here is a function of (rows, seed, epoch, position), so that a run goes on exactly where it was cut off.
Knows nothing of how text becomes tokens (`tunesmith.rows`), of tensors, nor of the model.
"""

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from tunesmith.errors import InvalidData
from tunesmith.rows.encoding import IGNORE_INDEX, RowEncoder, encode_rows
from tunesmith.rows.labels import check_known, sort_classes
from tunesmith.rows.order import shuffled
from tunesmith.rows.reading import RowFile, read_rows
from tunesmith.rows.shapes import Shape

Ints = np.ndarray[Any, np.dtype[np.int32]]


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


class Rows:
    """Encoded rows, kept end to end in two flat arrays (4 bytes a token each)."""

    def __init__(
        self, ids: Sequence[Ints], labels: Sequence[Ints], numbers: Sequence[int] | None = None
    ) -> None:
        self.numbers = np.asarray(range(1, len(ids) + 1) if numbers is None else numbers, np.int32)
        """Each row's number in its file, from 1."""
        self.bounds = np.cumsum([0, *(len(part) for part in ids)])
        """Where each row begins, and where the last one ends."""
        self.ids = np.concatenate([*ids, np.empty(0, np.int32)]).astype(np.int32)
        self.labels = np.concatenate([*labels, np.empty(0, np.int32)]).astype(np.int32)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, index: int) -> Row:
        row = index if index >= 0 else -1 - index
        part = slice(self.bounds[row], self.bounds[row + 1])
        labels = self.labels[part]
        return Row(self.ids[part], labels if index >= 0 else np.full_like(labels, IGNORE_INDEX))

    @property
    def lengths(self) -> Ints:
        """See `Samples`."""
        return np.diff(self.bounds).astype(np.int32)

    @property
    def tokens(self) -> int:
        """See `Samples`."""
        return len(self.ids)

    @property
    def supervised(self) -> int:
        """See `Samples`."""
        return int((self.labels != IGNORE_INDEX).sum())

    @property
    def origins(self) -> tuple[Ints, Ints]:
        """See `Samples`."""
        return np.arange(len(self) + 1, dtype=np.int32), self.numbers

    def take(self, indices: Iterable[int]) -> Self:
        """Some of the rows, in the given order."""
        places = [int(i) for i in indices]
        chosen = [self[i] for i in places]
        return type(self)(
            [row.input_ids for row in chosen], [row.labels for row in chosen], self.numbers[places].tolist()
        )


class ClassRows(Rows):
    """Encoded texts, each with the number of its class as its only label."""

    def __getitem__(self, index: int) -> Row:
        row = index if index >= 0 else -1 - index
        label = self.labels[row : row + 1]
        ids = self.ids[self.bounds[row] : self.bounds[row + 1]]
        return Row(ids, label if index >= 0 else np.full_like(label, IGNORE_INDEX))


class Loaded(NamedTuple):
    """What a file gave."""

    rows: Rows
    cut: int
    """Rows that were longer than `max_length`."""
    dropped: int
    """Rows left out because nothing of them is trained."""


def load_rows(
    path: Path, encoder: RowEncoder, max_samples: int = 0, seed: int = 0, shape: Shape | None = None
) -> Loaded:
    """Read and encode a file of conversations or texts.

    Args:
        path: The file.
        encoder: Turns what a row holds into tokens and labels.
        max_samples: Take at most so many rows, drawn by the seed; 0 takes all.
        seed: Draws the sample.
        shape: Where in a row its sample is.

    Raises:
        InvalidData: The file or a row cannot be read, or no row has anything to train.
    """
    ids: list[Ints] = []
    labels: list[Ints] = []
    numbers: list[int] = []
    cut = dropped = 0
    file = RowFile(path)
    for number, encoded in encode_rows(_source(path, max_samples, seed), encoder, file, shape or Shape()):
        cut += encoded.cut > 0
        row_labels = np.asarray(encoded.labels, np.int32)
        # The first token is never predicted, so a label there trains nothing.
        row_labels[:1] = IGNORE_INDEX
        if not (row_labels != IGNORE_INDEX).any():
            dropped += 1
            continue
        ids.append(np.asarray(encoded.input_ids, np.int32))
        labels.append(row_labels)
        numbers.append(number)
    if not ids:
        raise InvalidData(
            f"`{path.name}`: no row has anything to train on.",
            hint="Every row needs an assistant's answer that begins within `max_length` tokens: raise `max_length`.",
            field=path.name,
        )
    return Loaded(Rows(ids, labels, numbers), cut, dropped)


def load_classes(
    path: Path,
    encoder: RowEncoder,
    shape: Shape,
    *,
    max_samples: int = 0,
    seed: int = 0,
    known: Sequence[str] | None = None,
) -> tuple[Loaded, tuple[str, ...]]:
    """Read and encode a file of texts with their classes; the classes are in the order of their numbers.

    Args:
        path: The file.
        encoder: Turns texts into tokens.
        shape: Where in a row text and class are.
        max_samples: Take at most so many rows, drawn by the seed; 0 takes all.
        seed: Draws the sample.
        known: The classes, where another file gave them; else they are found here, among the rows that are taken.

    Raises:
        InvalidData: The file or a row cannot be read, or a class is not known.
    """
    ids: list[Ints] = []
    names: list[str] = []
    numbers: list[int] = []
    cut = 0
    file = RowFile(path)
    for row_number, encoded in encode_rows(_source(path, max_samples, seed), encoder, file, shape):
        assert encoded.label is not None
        cut += encoded.cut > 0
        ids.append(np.asarray(encoded.input_ids, np.int32))
        names.append(encoded.label)
        numbers.append(row_number)
    classes = sort_classes(names) if known is None else tuple(known)
    check_known(names, classes, path.name)
    number = {name: i for i, name in enumerate(classes)}
    labels = [np.asarray([number[name]], np.int32) for name in names]
    return Loaded(ClassRows(ids, labels, numbers), cut, 0), classes


def _source(path: Path, max_samples: int, seed: int) -> Iterable[tuple[int, dict[str, Any]]]:
    rows = read_rows(path)
    return _sample(rows, max_samples, seed) if max_samples else rows


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
