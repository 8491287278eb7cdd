"""Counts for how long nothing was heard of a job, as far as this process listened.

A clock alone would not do: what was not heard while the control plane itself was away, or its machine slept, is no
silence. So time counts from look to look, and looks that are far apart count little. Knows no database and no Ray.
"""

import time
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass

MOST_SECONDS = 5.0
"""What one look counts at most."""


@dataclass
class _Ear:
    heard: Hashable
    looked: float
    silent: float = 0.0


class Listening:
    """The silences of all jobs.

    Args:
        clock: Seconds that rise.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ears: dict[str, _Ear] = {}

    def look(self, name: str, heard: Hashable) -> float:
        """For how many seconds nothing was heard.

        Args:
            name: Of the job.
            heard: Whatever changes when something is heard of it.
        """
        now = self._clock()
        ear = self._ears.get(name)
        if ear is None or ear.heard != heard:
            ear = self._ears[name] = _Ear(heard, now)
        ear.silent += min(now - ear.looked, MOST_SECONDS)
        ear.looked = now
        return ear.silent

    def pause(self) -> None:
        """Nobody listens now: what passes until the next look is no silence."""
        now = self._clock()
        for ear in self._ears.values():
            ear.looked = now

    def forget(self, name: str) -> None:
        """Begin anew with a job: it could not be listened to."""
        self._ears.pop(name, None)

    def keep(self, names: Collection[str]) -> None:
        """Forget all others."""
        self._ears = {name: ear for name, ear in self._ears.items() if name in names}
