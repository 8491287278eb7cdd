"""How many questions a replica takes: so many are answered at once, so many more wait in their order.

Knows numbers and clocks; knows nothing of models.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from tunesmith.chat.wire import Refused
from tunesmith_serve.answering import Refusal

_WINDOW_SECONDS = 60.0
_MOST = 4096


class Limits:
    """Counts the questions of a replica.

    Args:
        running: So many are answered at once.
        waiting: So many more may wait.
    """

    def __init__(self, running: int, waiting: int) -> None:
        self._most_running, self._most = running, running + waiting
        self._slots = asyncio.Semaphore(running)  # wakes who came first
        self.taken = 0
        """Questions that are here."""
        self.running = 0
        """Of them, those that are being answered."""
        self.answered = 0
        self._ended: deque[tuple[float, float, int, float]] = deque(maxlen=_MOST)

    @property
    def waiting(self) -> int:
        """Questions that are here and not answered yet."""
        return self.taken - self.running

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """A place for a question, for the block.

        Raises:
            Refusal: There is none.
        """
        if self.taken >= self._most:
            raise Refusal(
                Refused(
                    code="busy",
                    message=f"{self.running} questions are being answered and {self.waiting} wait.",
                    hint="Ask again in a moment.",
                    retry_after=self._seconds_to_place(),
                )
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    async def enter(self) -> None:
        """Take a slot for an answer; whoever came first gets it first."""
        await self._slots.acquire()
        self.running += 1

    def leave(self) -> None:
        """Give it back."""
        self.running -= 1
        self._slots.release()

    def ended(self, first_token_seconds: float, seconds: float, tokens: int) -> None:
        """Count an answer that is whole."""
        self.answered += 1
        self._ended.append((time.monotonic(), seconds, tokens, first_token_seconds))

    @property
    def tokens_per_second(self) -> float:
        """Of all answers that ended in the last minute together, while any was under way."""
        recent = self._recent()
        if not recent:
            return 0.0
        began = min(at - seconds for at, seconds, _, _ in recent)
        return sum(tokens for _, _, tokens, _ in recent) / max(recent[-1][0] - began, 1e-3)

    @property
    def first_token_seconds(self) -> float | None:
        """Half of the answers of the last minute began within so long."""
        recent = self._recent()
        return median(first for *_, first in recent) if recent else None

    def _recent(self) -> list[tuple[float, float, int, float]]:
        since = time.monotonic() - _WINDOW_SECONDS
        return [one for one in self._ended if one[0] >= since]

    def _seconds_to_place(self) -> float:
        """About how long it takes until an answer has ended."""
        recent = self._recent()
        one = median(seconds for _, seconds, _, _ in recent) if recent else 1.0
        return min(60.0, max(1.0, one / self._most_running))
