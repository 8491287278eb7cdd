"""How far a packaging is and how long is left: half of it is writing, half is proving, whatever each of them takes.

Knows the measured seconds of a proof; knows nothing of files.
"""

import time
from collections.abc import Callable

_PARTS = 1000
_WRITTEN = _PARTS // 2
SHARED_SECONDS, FILE_SECONDS = 10.0, 3.0
"""Of a proof whatever the model: what is done once, and what with each file."""
SHARED_RATE, FILE_RATE = 7e-8, 2.5e-8
"""Seconds a parameter, of the same. SmolLM2's 135 million took 13 to 35 s on two cores, here 26; how much of it grows
with the model is from 52 and 151 million, timed beside other work: 84 s + 0.58 s a million, and 15 s + 0.13 s a file.
"""


def forecast(parameters: int, files: int) -> float:
    """Seconds that proving files of one model takes on two cores, before anything was measured of it.

    Args:
        parameters: The model's.
        files: How many are proven; none takes no time.
    """
    if not files:
        return 0.0
    return SHARED_SECONDS + SHARED_RATE * parameters + files * (FILE_SECONDS + FILE_RATE * parameters)


class Course:
    """One attempt's.

    Args:
        report: Told the steps that are done, of how many, and the seconds left; None where that is not known.
        size: Bytes that are written.
        files: How many are proven.
        seconds: What proving them takes by the forecast.
        now: Seconds from somewhere.
    """

    def __init__(
        self,
        report: Callable[[int, int, float | None], None],
        size: int,
        files: int,
        seconds: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report, self._size, self._files, self._seconds, self._now = report, size, files, seconds, now
        self._began = now()
        self._proven, self._proving, self._last = 0, self._began, self._began

    def wrote(self, done: int) -> None:
        """So many bytes are written."""
        took = self._now() - self._began
        left = took * (self._size - done) / done + self._seconds if done else None
        self._report(done * _WRITTEN // max(self._size, 1), _PARTS, left)

    def prove(self) -> None:
        """All is written."""
        self._proving = self._last = self._now()
        self.look()

    def proved(self) -> None:
        """One file more is proven."""
        self._proven += 1
        self._last = self._now()
        self.look()

    def look(self) -> None:
        """Some of a proof is done: by the forecast until one file is, then by what those took."""
        if self._proven:
            whole = (self._last - self._proving) / self._proven * (self._files - self._proven)
        else:
            whole = self._seconds
        left: float | None = whole - (self._now() - self._last)
        if self._proven == self._files:
            left = 0.0
        elif whole <= self._now() - self._last:
            left = None  # it takes longer than was thought: nobody knows how long
        self._report(_WRITTEN + (_PARTS - _WRITTEN) * self._proven // max(self._files, 1), _PARTS, left)
