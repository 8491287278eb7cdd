"""What background loops have in common: rounds in one thread, woken when something happens. Knows none of the work."""

import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from tunesmith_platform.events.hub import Hub

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Loop:
    """A loop over `tick`. What a round raises is logged, and the next one comes all the same."""

    gather_seconds = 1.0
    """A second's events make one round."""
    idle_seconds = 2.0
    """How long nothing is looked at, at most, when nothing happens."""
    failed_seconds = 0.0
    """How much later the next round comes after one that failed."""

    last_seconds = 0.0
    """How long the last round took."""

    def __init__(self, hub: Hub) -> None:
        self._wake = hub.listen()
        self._stop = threading.Event()

    def tick(self) -> None:
        """One round."""
        raise NotImplementedError

    def begin(self) -> None:
        """What comes before the first round."""

    def pause(self) -> None:
        """What comes between two rounds: let others happen, then wait until something does."""
        self._stop.wait(self.gather_seconds)
        self._wake.wait(self.idle_seconds)

    def run(self) -> None:
        """Loop until `close`."""
        self.begin()
        while not self._stop.is_set():
            self._wake.clear()
            started = time.monotonic()
            try:
                self.tick()
            except Exception:
                logger.exception("a round of %s failed; it goes on in a moment", type(self).__name__)
                self._stop.wait(self.failed_seconds)
            self.last_seconds = time.monotonic() - started
            self.pause()

    def close(self) -> None:
        """End the loop after the round it is in."""
        self._stop.set()
        self._wake.set()


def within(seconds: float, call: Callable[[], T]) -> T:
    """What a call answers, if it does so in time; else it goes on by itself, and nobody hears of its end.

    Args:
        seconds: How long to wait.
        call: What may hang.

    Raises:
        TimeoutError: It has not answered.
    """
    answer: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # it is the caller's
            answer.set_exception(error)

    threading.Thread(target=run, name="within", daemon=True).start()
    return answer.result(seconds)
