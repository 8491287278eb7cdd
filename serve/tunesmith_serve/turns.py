"""Threads that compute one at a time: who waited longest comes next. Knows nothing of what they do."""

import collections
import threading


class Turns:
    """Whose turn it is. Who takes it gives it back, or passes it on and gets it again when all others had theirs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_taken = False
        self._waiting: collections.deque[threading.Semaphore] = collections.deque()

    def take(self) -> None:
        """Wait for one's turn."""
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return
            mine = self._joined()
        mine.acquire()

    def pass_on(self) -> None:
        """Let others have a turn, where one waits, and wait for the next one."""
        with self._lock:
            if not self._waiting:
                return
            mine = self._joined()
            self._waiting.popleft().release()
        mine.acquire()

    def give_back(self) -> None:
        """Have no turn any more."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_taken = False

    def _joined(self) -> threading.Semaphore:
        mine = threading.Semaphore(0)
        self._waiting.append(mine)
        return mine
