"""How often somebody may do something in a minute, in this server. Knows who by a name alone; knows no HTTP.

Each has a bucket that holds a minute's worth and fills again evenly: nobody is refused for a burst within it. Two
servers have two: what is bounded is what one server does, and a bound that all share would be a write a call.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator

from tunesmith.errors import TooManyRequests, Unauthorized

_MOST = 10_000
"""Buckets that are kept; those that are full again go first."""


class Rate:
    """Buckets of one kind, each somebody's.

    Args:
        limit: What anybody may do in a minute; 0: as much as they like.
        what: What it is, as a message says it.
        setting: What sets the limit.
        clock: Seconds that only rise.
    """

    def __init__(
        self, limit: int, what: str, setting: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit, self._what, self._setting, self._clock = limit, what, setting, clock
        self._left: dict[str, tuple[float, float]] = {}

    def require(self, who: str) -> None:
        """See that somebody may do it once more.

        Raises:
            TooManyRequests: A minute's worth is done; says when they may again.
        """
        left = self._now_left(who)
        if not self._limit or left >= 1:
            return
        seconds = max(1, math.ceil((1 - left) * 60 / self._limit))
        raise TooManyRequests(
            f"{self._limit} {self._what} in a minute are as many as are taken here.",
            hint=f"Come again in {seconds} s. The setting is `{self._setting}`.",
            details={"retry_after": seconds},
        )

    def add(self, who: str) -> None:
        """Count that somebody did it."""
        if not self._limit:
            return
        moment = self._clock()
        if len(self._left) >= _MOST and who not in self._left:
            self._left = {
                one: known
                for one, known in self._left.items()
                if known[0] + (moment - known[1]) * self._limit / 60 < self._limit
            }
            if len(self._left) >= _MOST:
                self._left.pop(next(iter(self._left)))
        self._left[who] = max(0.0, self._now_left(who) - 1), moment

    @contextlib.contextmanager
    def counting_wrong(self, who: str, *, is_costly: bool = False) -> Iterator[None]:
        """Count what is refused here as nobody's, and say to wait once it is too much.

        What is right is taken all the same: behind a proxy all have one address, and nobody is kept out for others.

        Args:
            who: Who shows it.
            is_costly: Whether to look at none of it meanwhile, be it right.

        Raises:
            TooManyRequests: They have shown too much of it.
        """
        if is_costly:
            self.require(who)
        try:
            yield
        except Unauthorized:
            self.require(who)
            self.add(who)
            raise

    def _now_left(self, who: str) -> float:
        left, at = self._left.get(who, (float(self._limit), 0.0))
        return min(self._limit, left + (self._clock() - at) * self._limit / 60)
