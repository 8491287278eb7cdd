"""How many answers one user's calls may have under way in all servers: a few run, some wait, the rest come again.

Who has waited longest comes next, in whichever server. Lives on the event loop. Knows users by name; knows nothing of
what is asked.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable

from tunesmith.errors import TooManyRequests
from tunesmith_platform.bounds.sharing import Use


class _Line:
    def __init__(self) -> None:
        self.running = 0
        self.waiting: deque[tuple[float, asyncio.Future[None]]] = deque()

    @property
    def since(self) -> float | None:
        """When the one came that has waited longest."""
        return self.waiting[0][0] if self.waiting else None


class Turns:
    """Turns of every user.

    Args:
        running: Answers of one user at a time.
        waiting: How many more calls may wait.
        elsewhere: What other servers let a user have.
        moved: Called when something has begun, waits or is over here.
        clock: Seconds that only rise.
    """

    def __init__(
        self,
        running: int,
        waiting: int,
        elsewhere: Callable[[str], Use] = lambda _: Use(),
        moved: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._running, self._waiting = running, waiting
        self._elsewhere, self._moved, self._clock = elsewhere, moved, clock
        self._lines: dict[str, _Line] = {}

    @property
    def running(self) -> int:
        """Answers under way here, everybody's."""
        return sum(line.running for line in self._lines.values())

    @property
    def waiting(self) -> int:
        """Calls that wait here for their turn, everybody's."""
        return sum(len(line.waiting) for line in self._lines.values())

    def now(self) -> dict[str, Use]:
        """What runs and waits here, by users."""
        return {
            owner: Use(line.running, len(line.waiting), line.since) for owner, line in self._lines.items()
        }

    @contextlib.asynccontextmanager
    async def turn(self, owner: str) -> AsyncGenerator[None, None]:
        """Have a turn, in the order of asking.

        Raises:
            TooManyRequests: As many wait already as may.
        """
        line, others = self._lines.setdefault(owner, _Line()), self._elsewhere(owner)
        if line.running + others.running >= self._running or line.waiting or others.waiting:
            if len(line.waiting) + others.waiting >= self._waiting:
                self._forget(owner, line)
                raise TooManyRequests(
                    f"{line.running + others.running} answers of this key are under way, and "
                    f"{len(line.waiting) + others.waiting} wait.",
                    hint="Come again in a moment. The settings are `max_chat_streams` and `max_chat_queue`.",
                    details={"retry_after": 2},
                )
            mine = asyncio.get_running_loop().create_future()
            place = (self._clock(), mine)
            line.waiting.append(place)
            self._moved()
            try:
                await mine  # whoever wakes us hands its place over
            except BaseException:
                if mine.done() and not mine.cancelled():
                    self._leave(owner, line)
                else:
                    with contextlib.suppress(ValueError):
                        line.waiting.remove(place)
                    self._forget(owner, line)
                    self._moved()
                raise
        else:
            line.running += 1
            self._moved()
        try:
            yield
        finally:
            self._leave(owner, line)

    def wake(self) -> None:
        """Let begin whoever finds room now: others may have made some."""
        for owner, line in list(self._lines.items()):
            while line.waiting and self._is_next(owner, line, line.running + 1):
                line.running += self._call(line)

    def _is_next(self, owner: str, line: _Line, running: int) -> bool:
        """Whether one that waits here may be one of so many that run here, and none has waited longer elsewhere."""
        others = self._elsewhere(owner)
        is_first = others.since is None or line.since is None or line.since <= others.since
        return is_first and running + others.running <= self._running

    def _call(self, line: _Line) -> bool:
        """Let the first begin that still waits; whether one does."""
        while line.waiting:
            _, following = line.waiting.popleft()
            if not following.done():
                following.set_result(None)
                return True
        return False

    def _leave(self, owner: str, line: _Line) -> None:
        if not (line.waiting and self._is_next(owner, line, line.running) and self._call(line)):
            line.running -= 1
        self._forget(owner, line)
        self._moved()

    def _forget(self, owner: str, line: _Line) -> None:
        if not line.running and not line.waiting:
            self._lines.pop(owner, None)
