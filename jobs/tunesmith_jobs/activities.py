"""What a job is busy with right now, and how far it is: written by whoever works, read by the sender of heartbeats.

Costs a number's addition where the work is done: no lock, no clock, no message. Knows nothing of what the work is.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tunesmith.activity import Activity, ActivityKind, Unit

_ORDER = {kind: number for number, kind in enumerate(ActivityKind)}

_MEASURE_SECONDS = 0.5
"""How long a heartbeat waits for a measurement."""


class Doing:
    """One piece of work and how far it is. One thread moves it; any may look."""

    def __init__(
        self, kind: ActivityKind, unit: Unit, total: int | None, measure: Callable[[], int] | None
    ) -> None:
        self.kind = kind
        self.done = 0
        self._unit = unit
        self._total = total
        self._measure = measure
        self._measuring: threading.Thread | None = None

    def advance(self, count: int = 1) -> None:
        """So much more is done."""
        self.done += count

    def as_activity(self) -> Activity:
        """It as a heartbeat carries it: what cannot be measured at once is as far as it was."""
        if self._measure is not None:
            self._begin_to_measure(self._measure)
        done = self.done
        total = max(self._total, done) if self._total is not None else None
        return Activity(kind=self.kind, done=done, total=total, unit=self._unit)

    def _begin_to_measure(self, measure: Callable[[], int]) -> None:
        """Measure in a thread of its own: a storage that is away hangs, and the heartbeat must not hang with it."""

        def take() -> None:
            with contextlib.suppress(OSError):  # what is measured may be gone just now
                self.done = measure()

        if self._measuring is None or not self._measuring.is_alive():
            self._measuring = threading.Thread(target=take, name="measuring", daemon=True)
            self._measuring.start()
            self._measuring.join(_MEASURE_SECONDS)


class Activities:
    """What one process is busy with: nothing, or several pieces of work at a time."""

    def __init__(self) -> None:
        self._open: list[Doing] = []

    @contextlib.contextmanager
    def doing(
        self,
        kind: ActivityKind,
        unit: Unit = Unit.BYTES,
        total: int | None = None,
        measure: Callable[[], int] | None = None,
    ) -> Iterator[Doing]:
        """Be busy with something while the context lasts.

        Args:
            kind: With what.
            unit: What it is counted in.
            total: How much there is in all; None where that is not known.
            measure: Says how much is done, where nobody counts it on the way. By a thread of its own: it may hang.
        """
        doing = Doing(kind, unit, total, measure)
        self._open.append(doing)
        try:
            yield doing
        finally:
            self._open.remove(doing)

    def now(self) -> Activity | None:
        """What is told: of several the one that comes last in `ActivityKind`, of these the newest."""
        found = list(self._open)
        if not found:
            return None
        return max(enumerate(found), key=lambda item: (_ORDER[item[1].kind], item[0]))[1].as_activity()


def bytes_below(*folders: Path) -> int:
    """How many bytes the files below some folders have now, while others write them."""
    total = 0
    for folder in folders:
        for file in folder.rglob("*"):
            with contextlib.suppress(OSError):
                total += file.stat().st_size
    return total
