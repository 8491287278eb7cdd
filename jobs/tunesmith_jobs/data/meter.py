"""How far an operation is: rows that went through, how many there will be, and how long that takes.

Knows counts and clocks; who is told, and who may end the work, is the caller's matter.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import monotonic
from typing import TypeVar

from tunesmith.errors import TunesmithError
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.files.tabular import ParquetTable

T = TypeVar("T")
_SECONDS = 1.0
_EVERY = 64
_SAMPLE = 4 * 1024**2


class Meter:
    """Counts rows, and tells how far it is about once a second.

    Args:
        tell: Called with the rows done, those there will be in all (0 where that is not known), and the seconds left.
            What it raises ends the work.
    """

    def __init__(self, tell: Callable[[int, int, float | None], None] | None = None) -> None:
        self._tell = tell
        self._began = self._told = monotonic()
        self.done = 0
        self.total = 0

    def expect(self, rows: int) -> None:
        """Say how many rows there will be in all; 0 where that is not known."""
        self.total = rows

    def through(self, rows: Iterable[T]) -> Iterator[T]:
        """The same rows, counted."""
        for row in rows:
            yield row
            self.done += 1
            if self.done % _EVERY == 0 and self._tell is not None:
                self._look()

    def _look(self) -> None:
        moment = monotonic()
        if moment - self._told < _SECONDS:
            return
        self._told = moment
        total = max(self.total, self.done) if self.total else 0
        left = (moment - self._began) * (total - self.done) / self.done if total else None
        assert self._tell is not None
        self._tell(self.done, total, left)


def estimated_rows(files: Iterable[str | Path]) -> int:
    """About how many rows files have, told by their first ones; 0 where that cannot be told without reading them."""
    found = 0
    for path in files:
        try:
            file = RowFile(path)
            if file.format == "parquet":
                found += ParquetTable(file.path).rows
                continue
        except TunesmithError:
            return 0  # whoever reads it says what is wrong
        if file.packing is not None or file.format == "json":
            return 0
        with file.path.open("rb") as source:
            head = source.read(_SAMPLE)
        lines = head.count(b"\n") + (not head.endswith(b"\n"))
        found += max(1, round(file.bytes * lines / max(1, len(head))))
    return found
