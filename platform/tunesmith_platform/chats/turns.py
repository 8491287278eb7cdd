"""How many answers one user's calls may have under way in this server: a few run, some wait, the rest come again.

Lives on the event loop. Knows users by name; knows nothing of what is asked.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator

from tunesmith.errors import TooManyRequests


class _Line:
    def __init__(self) -> None:
        self.running = 0
        self.waiting: deque[asyncio.Future[None]] = deque()


class Turns:
    """Turns of every user.

    Args:
        running: Answers of one user at a time.
        waiting: How many more calls may wait.
    """

    def __init__(self, running: int, waiting: int) -> None:
        self._running, self._waiting = running, waiting
        self._lines: dict[str, _Line] = {}

    @property
    def running(self) -> int:
        """Answers under way, everybody's."""
        return sum(line.running for line in self._lines.values())

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn, everybody's."""
        return sum(len(line.waiting) for line in self._lines.values())

    @contextlib.asynccontextmanager
    async def turn(self, owner: str) -> AsyncGenerator[None, None]:
        """Have a turn, in the order of asking.

        Raises:
            TooManyRequests: As many wait already as may.
        """
        line = self._lines.setdefault(owner, _Line())
        if line.running >= self._running or line.waiting:
            if len(line.waiting) >= self._waiting:
                raise TooManyRequests(
                    f"{line.running} answers of this key are under way, and {len(line.waiting)} wait.",
                    hint="Come again in a moment. The settings are `max_chat_streams` and `max_chat_queue`.",
                    details={"retry_after": 2},
                )
            mine = asyncio.get_running_loop().create_future()
            line.waiting.append(mine)
            try:
                await mine  # whoever wakes us hands its place over
            except BaseException:
                if mine.done() and not mine.cancelled():
                    self._leave(owner, line)
                else:
                    with contextlib.suppress(ValueError):
                        line.waiting.remove(mine)
                raise
        else:
            line.running += 1
        try:
            yield
        finally:
            self._leave(owner, line)

    def _leave(self, owner: str, line: _Line) -> None:
        while line.waiting:
            following = line.waiting.popleft()
            if not following.done():
                following.set_result(None)
                return
        line.running -= 1
        if not line.running:
            self._lines.pop(owner, None)
