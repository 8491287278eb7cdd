"""How many tokens each user's calls may take in a minute, in this server.

Counted as they come: those of an answer with its pieces, those of its prompt with its end. A question is taken as long
as the minute's are not spent, so the last one may go beyond. Lives on the event loop; a restart begins anew.
"""

import time
from collections import deque
from collections.abc import Callable

from tunesmith.errors import TooManyRequests

_WINDOW = 60.0
_GRAIN = 1.0


class Spending:
    """The tokens of the last minute, of every user.

    Args:
        limit: Tokens of a user in a minute; 0: as many as one likes.
        clock: Seconds that only rise.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._clock = limit, clock
        self._spent: dict[str, deque[tuple[float, int]]] = {}

    def require(self, owner: str) -> None:
        """See that a user has some left.

        Raises:
            TooManyRequests: The minute's are spent; says when some are free again.
        """
        if not self._limit:
            return
        spent = self._recent(owner)
        total = sum(tokens for _, tokens in spent)
        if total < self._limit:
            return
        left, free_at = total, 0.0
        for at, tokens in spent:
            left, free_at = left - tokens, at
            if left < self._limit:
                break
        seconds = max(1, round(free_at + _WINDOW + _GRAIN - self._clock()))
        raise TooManyRequests(
            f"{total} tokens were taken in the last minute, of {self._limit} for this key.",
            hint=f"Come again in {seconds} s. The setting is `max_chat_tokens_per_minute`.",
            details={"retry_after": seconds},
        )

    def add(self, owner: str, tokens: int) -> None:
        """Count tokens that were taken just now."""
        if not self._limit or not tokens:
            return
        moment = self._clock()
        spent = self._spent.setdefault(owner, deque())
        if spent and moment - spent[-1][0] < _GRAIN:
            spent[-1] = (spent[-1][0], spent[-1][1] + tokens)
        else:
            spent.append((moment, tokens))

    def _recent(self, owner: str) -> deque[tuple[float, int]]:
        since = self._clock() - _WINDOW
        for name in [name for name, spent in self._spent.items() if spent[-1][0] < since]:
            del self._spent[name]
        spent = self._spent.get(owner, deque())
        while spent and spent[0][0] < since:
            spent.popleft()
        return spent
