"""Rows that hold several documents: conversations packed best fit, or a stream of documents cut into blocks.

A packed row says each token's position in its own document; from that transformers makes an attention in which
documents do not see each other. Everything is a function of the rows, so that a run goes on exactly where it was cut
off. Knows nothing of tensors or the model.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from itertools import chain

import numpy as np

from tunesmith.rows.tokens.encoding import IGNORE_INDEX
from tunesmith_jobs.batches.rows import Ints, Row, Rows


def best_fit(lengths: Sequence[int] | Ints, size: int) -> list[list[int]]:
    """Put rows into packs of at most `size` tokens: the longest first, each where it leaves the least room.

    Returns the packs' rows, each pack in the file's order, the packs by their first row.
    """
    lengths = np.asarray(lengths)
    assert not len(lengths) or lengths.max() <= size, "rows are cut before they are packed"
    packs: list[list[int]] = []
    with_room: dict[int, list[int]] = {}
    rooms: list[int] = []  # the keys of `with_room`, sorted
    for row in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[row])
        at = bisect_left(rooms, length)
        if at == len(rooms):
            pack, room = len(packs), size
            packs.append([])
        else:
            room = rooms[at]
            pack = with_room[room].pop()
            if not with_room[room]:
                del with_room[room], rooms[at]
        packs[pack].append(row)
        left = room - length
        if left and left not in with_room:
            insort(rooms, left)
        if left:
            with_room.setdefault(left, []).append(pack)
    return sorted(sorted(pack) for pack in packs)


class PackedRows:
    """Rows in packs of at most `size` tokens (see `tunesmith_jobs.batches.rows.Samples`)."""

    def __init__(self, rows: Rows, size: int) -> None:
        self._rows = rows
        self._packs = best_fit(rows.lengths, size)

    def __len__(self) -> int:
        return len(self._packs)

    def __getitem__(self, index: int) -> Row:
        parts = [self._rows[row] for row in self._packs[index if index >= 0 else -1 - index]]
        # The first token of a row has no label, so the end of one row is not trained to begin the next.
        labels = np.concatenate([part.labels for part in parts])
        return Row(
            np.concatenate([part.input_ids for part in parts]),
            labels if index >= 0 else np.full_like(labels, IGNORE_INDEX),
            np.concatenate([np.arange(len(part.input_ids), dtype=np.int32) for part in parts]),
            len(parts),
        )

    @property
    def lengths(self) -> Ints:
        """See `Samples`."""
        bounds, rows = self._flat()
        ends = np.concatenate([[0], np.cumsum(self._rows.lengths[rows], dtype=np.int64)])
        return np.diff(ends[bounds]).astype(np.int32)

    @property
    def tokens(self) -> int:
        """See `Samples`."""
        return self._rows.tokens

    @property
    def supervised(self) -> int:
        """See `Samples`."""
        return self._rows.supervised

    @property
    def origins(self) -> tuple[Ints, Ints]:
        """See `Samples`."""
        bounds, rows = self._flat()
        return bounds, self._rows.numbers[rows]

    def _flat(self) -> tuple[Ints, Ints]:
        """Where each pack's rows begin, and the rows of all."""
        bounds = np.cumsum([0, *(len(pack) for pack in self._packs)], dtype=np.int32)
        return bounds, np.fromiter(chain.from_iterable(self._packs), np.int32, int(bounds[-1]))


class BlockRows:
    """Documents end to end, cut into blocks of `size` tokens; the last one may be shorter.

    A document that a cut divides goes on in the next block as one that begins there.
    """

    def __init__(self, rows: Rows, size: int) -> None:
        self._rows, self._size = rows, size
        self._starts = np.arange(0, rows.tokens, size)
        if len(self._starts) > 1 and not (self[len(self) - 1].labels != IGNORE_INDEX).any():
            self._starts = self._starts[:-1]  # a last block of one token trains nothing

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Row:
        begin = int(self._starts[index if index >= 0 else -1 - index])
        end = min(begin + self._size, self._rows.tokens)
        bounds = self._rows.bounds
        inside = bounds[np.searchsorted(bounds, begin, "right") : np.searchsorted(bounds, end, "left")]
        documents = np.concatenate([[begin], inside])
        lengths = np.diff(np.append(documents, end))
        ids, labels = self._rows.stretch(begin, end)
        labels[:1] = IGNORE_INDEX
        return Row(
            ids,
            labels if index >= 0 else np.full_like(labels, IGNORE_INDEX),
            (np.arange(begin, end) - np.repeat(documents, lengths)).astype(np.int32),
            len(documents),
        )

    @property
    def lengths(self) -> Ints:
        """See `Samples`."""
        ends = np.minimum(self._starts + self._size, self._rows.tokens)
        return (ends - self._starts).astype(np.int32)

    @property
    def tokens(self) -> int:
        """See `Samples`."""
        return int(self.lengths.sum())

    @property
    def supervised(self) -> int:
        """See `Samples`."""
        heads = sum(int(self._rows.stretch(at, at + 1)[1][0] != IGNORE_INDEX) for at in self._starts.tolist())
        left_out = self._rows.tokens - self.tokens  # 1 where the last block would train nothing
        tail = self._rows.stretch(self.tokens, self._rows.tokens)[1] if left_out else np.empty(0, np.int32)
        return self._rows.supervised - heads - int((tail != IGNORE_INDEX).sum())

    @property
    def origins(self) -> tuple[Ints, Ints]:
        """See `Samples`."""
        ends = np.minimum(self._starts + self._size, self._rows.tokens)
        first = np.searchsorted(self._rows.bounds, self._starts, "right") - 1
        last = np.searchsorted(self._rows.bounds, ends, "left")
        bounds = np.cumsum([0, *(last - first)], dtype=np.int32)
        inside = [np.arange(one, other) for one, other in zip(first, last, strict=True)]
        return bounds, self._rows.numbers[np.concatenate(inside)]
