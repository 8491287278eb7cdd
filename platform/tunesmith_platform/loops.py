"""What background loops have in common: rounds in one thread, woken when something happens. Knows none of the work."""

import concurrent.futures
import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from tunesmith_platform.events.hub import Hub

logger = logging.getLogger(__name__)

_GATHER_SECONDS = 1.0
"""A second's events make one round."""
_IDLE_SECONDS = 2.0

T = TypeVar("T")


class Loop:
    """A loop over `tick`. What a round raises is logged, and the next one comes all the same."""

    def __init__(self, hub: Hub) -> None:
        self._wake = hub.listen()
        self._stop = threading.Event()

    def tick(self) -> None:
        """One round."""
        raise NotImplementedError

    def run(self) -> None:
        """Loop until `close`."""
        while not self._stop.is_set():
            self._wake.clear()
            try:
                self.tick()
            except Exception:
                logger.exception("a round of %s failed; it goes on in a moment", type(self).__name__)
            self._stop.wait(_GATHER_SECONDS)
            self._wake.wait(_IDLE_SECONDS)

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
