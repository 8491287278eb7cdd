"""How many tokens each user's calls may take in a minute, in all servers together.

Counted as they come: those of an answer with its pieces, those of its prompt with its end. A question is taken as long
as the minute's are not spent, so the last one may go beyond. Lives on the event loop; what a server has
counted ends with it.
"""

import time
from collections import deque
from collections.abc import Callable

from tunesmith.errors import TooManyRequests
from tunesmith_platform.bounds.sharing import Use

_WINDOW = 60.0
_GRAIN = 1.0


class Spending:
    """The tokens of the last minute, of every user.

    Args:
        limit: Tokens of a user in a minute; 0: as many as one likes.
        elsewhere: What other servers let a user have.
        clock: Seconds that only rise.
    """

    def __init__(
        self,
        limit: int,
        elsewhere: Callable[[str], Use] = lambda _: Use(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit, self._elsewhere, self._clock = limit, elsewhere, clock
        self._spent: dict[str, deque[tuple[float, int]]] = {}

    def require(self, owner: str) -> None:
        """See that a user has some left.

        Raises:
            TooManyRequests: The minute's are spent; says when some are free again.
        """
        if not self._limit:
            return
        since = self._clock() - _WINDOW
        others = [(at, tokens) for at, tokens in self._elsewhere(owner).spent if at >= since]
        spent = sorted([*self._recent(owner), *others])
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

    def now(self) -> dict[str, tuple[tuple[float, int], ...]]:
        """What each user has taken in the last minute."""
        self._recent("")
        return {owner: tuple(spent) for owner in list(self._spent) if (spent := self._recent(owner))}

    def _recent(self, owner: str) -> deque[tuple[float, int]]:
        since = self._clock() - _WINDOW
        for name in [name for name, spent in self._spent.items() if spent[-1][0] < since]:
            del self._spent[name]
        spent = self._spent.get(owner, deque())
        while spent and spent[0][0] < since:
            spent.popleft()
        return spent
