"""How far a long phase of the start is: said once it lasts, and then now and then. Knows clocks and events."""

import time
from collections.abc import Callable

from tunesmith.events import JobPayload, Phase, PhaseProgress

_QUIET_SECONDS = 2.0
_EVERY_SECONDS = 1.0
_LEAST_SHARE = 0.01
_EVERY_WITHOUT_SHARE = 10.0


class Pace:
    """Call it as often as you like with how much is done, and of how much where that is known.

    A phase is silent for its first two seconds, and says at most a hundred times how far it is.

    Args:
        emit: Takes the events.
        phase: Which phase it is.
        clock: Seconds that only rise.
    """

    def __init__(
        self, emit: Callable[[JobPayload], None], phase: Phase, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._emit, self._phase, self._clock = emit, phase, clock
        self._began = self._said_at = clock()
        self._done, self._said = 0, 0.0

    def __call__(self, done: int, of: int | None) -> None:
        """So much is done."""
        now = self._clock()
        if done < self._done:  # another file begins
            self._began = self._said_at = now
            self._said = 0.0
        self._done = done
        share = min(1.0, done / of) if of else None
        is_news = (
            now - self._said_at >= _EVERY_SECONDS and share - self._said >= _LEAST_SHARE
            if share is not None
            else now - self._said_at >= _EVERY_WITHOUT_SHARE
        )
        if not is_news or now - self._began < _QUIET_SECONDS:
            return
        self._said_at, self._said = now, share or 0.0
        left = (now - self._began) * (1 / share - 1) if share else None
        self._emit(PhaseProgress(phase=self._phase, done=done, share=share, seconds_left=left))
