"""How far a comparison is: what is shown of it, at most once a second, and how long the rest takes.

Answers that were known before count as done and take no part in the speed. Knows candidates; computes nothing.
"""

import time
from collections.abc import Sequence

from tunesmith.events import Progress
from tunesmith_jobs.evaluate.entrants import Entrant
from tunesmith_jobs.outlet import Outlet

_REPORT_SECONDS = 1.0


class ComparisonProgress:
    """What is said of a comparison that goes on.

    Args:
        outlet: Takes the events.
    """

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._reported_at = float("-inf")
        self._began = time.monotonic()
        self._computed, self._took = 0, 0.0
        self._moved: list[Entrant] = []

    @property
    def seconds_an_answer(self) -> float | None:
        """What an answer took that was computed now; None where none was."""
        return self._took / self._computed if self._computed else None

    def begin(self) -> None:
        """From now on answers are computed."""
        self._began = time.monotonic()
        self._computed, self._took = 0, 0.0

    def computed(self, entrant: Entrant, count: int) -> None:
        """A candidate has answered so many more."""
        self._computed += count
        self._took = time.monotonic() - self._began
        if entrant not in self._moved:
            self._moved.append(entrant)

    def report(self, entrants: Sequence[Entrant]) -> None:
        """Say how far they are, all together and those that got on; when all is there always, else once a second.

        Args:
            entrants: The candidates that are left: what one that was left out had to answer counts no more.
        """
        total = sum(len(one.wanted) for one in entrants)
        done = sum(one.answered for one in entrants)
        now = time.monotonic()
        if done < total and now - self._reported_at < _REPORT_SECONDS:
            return
        self._reported_at = now
        each = self.seconds_an_answer
        left = None if each is None else each * (total - done)
        for one in self._moved:
            if not one.is_whole:  # else its scores are told with it
                self._outlet.emit(one.standing())
        self._moved.clear()
        self._outlet.emit(Progress(step=done, total_steps=total, seconds_left=left))
