"""Tables in files, for what is kept of every row: memory holds only what the system caches of them.

Knows numbers; knows nothing of rows.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FIRST = 1 << 16
_LOAD = 0.6
_MIX = np.uint64(0x9E37_79B9_7F4A_7C15)
_SHIFT = np.uint64(20)


class Slots:
    """A number for each 64-bit key. Grows by a further part of twice the size, so nothing is ever moved.

    Args:
        folder: Where its files go.
        first: Slots of the first part, a power of two.
    """

    def __init__(self, folder: Path, first: int = _FIRST) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._parts: list[tuple[NDArray[np.uint64], NDArray[np.int64]]] = []
        self._used = 0
        self._grow(first)

    def get(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The number of each key; -1 where there is none."""
        found = np.full(len(keys), -1, dtype=np.int64)
        for names, numbers in self._parts:
            at = _places(names, keys | np.uint64(1))
            found = np.where(names[at] == keys | np.uint64(1), numbers[at], found)
        return found

    def put(self, keys: NDArray[np.uint64], number: int) -> None:
        """Give keys a number, whatever they had before."""
        keys = keys | np.uint64(1)  # 0 is a free slot
        missing = np.ones(len(keys), dtype=bool)
        for names, numbers in self._parts:
            at = _places(names, keys)
            there = names[at] == keys
            numbers[at[there]] = number
            missing &= ~there
        left = keys[missing]
        names, numbers = self._parts[-1]
        if self._used + len(left) > _LOAD * len(names):
            self._grow(2 * len(names))
            names, numbers = self._parts[-1]
        self._used += len(left)
        while len(left):  # again for those that wanted the same slot as another
            at = _places(names, left)
            _, chosen = np.unique(at, return_index=True)
            names[at[chosen]], numbers[at[chosen]] = left[chosen], number
            left = np.delete(left, chosen)

    def _grow(self, size: int) -> None:
        place = self._folder / f"part-{len(self._parts)}"
        shape = (size,)
        names: Any = np.memmap(f"{place}.keys", dtype=np.uint64, mode="w+", shape=shape)
        numbers: Any = np.memmap(f"{place}.numbers", dtype=np.int64, mode="w+", shape=shape)
        self._parts.append((np.asarray(names), np.asarray(numbers)))  # plain arrays: twice as quick to read
        self._used = 0


def _places(names: NDArray[np.uint64], keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where each key is, or would go."""
    mask = len(names) - 1
    with np.errstate(over="ignore"):
        at = ((keys * _MIX) >> _SHIFT).astype(np.int64) & mask
    while True:
        there = names[at]
        taken = (there != keys) & (there != 0)
        if not taken.any():
            return at
        at = np.where(taken, (at + 1) & mask, at)


class Columns:
    """Rows of numbers of one width, appended and read by their place.

    Args:
        file: Where they lie.
        width: Numbers in each.
        kind: Of what kind they are.
    """

    def __init__(self, file: Path, width: int, kind: Any) -> None:
        self._file, self._width, self._kind = file, width, kind
        self._room = 1024
        self._count = 0
        self._file.touch()
        self._map()

    def __len__(self) -> int:
        return self._count

    def append(self, numbers: NDArray[Any]) -> None:
        """Add one at the end."""
        if self._count == self._room:
            self._room *= 2
            self._map()
        self._rows[self._count] = numbers
        self._count += 1

    def take(self, places: NDArray[np.int64]) -> NDArray[Any]:
        """Those at some places."""
        found: NDArray[Any] = self._rows[places]
        return found

    def _map(self) -> None:
        os.truncate(self._file, self._room * self._width * np.dtype(self._kind).itemsize)
        shape = (self._room, self._width)
        self._rows: Any = np.asarray(np.memmap(self._file, dtype=self._kind, mode="r+", shape=shape))
