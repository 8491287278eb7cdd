"""An outlet that keeps what it is told, for tests that look at that."""

import datetime as dt

from tunesmith.events import JobPayload, LogLine
from tunesmith.lifecycle import Desired
from tunesmith_jobs.activities import Activities


class KeptOutlet:
    """Wants nothing, and remembers everything."""

    desired = Desired.RUN
    superseded = False
    save_now = 0
    early_stop: str | None = None
    pinned: frozenset[int] | None = None
    listed: frozenset[int] | None = None

    def __init__(self) -> None:
        self.activities = Activities()
        self.said: list[JobPayload] = []

    def emit(self, payload: JobPayload, time: dt.datetime | None = None) -> None:
        self.said.append(payload)

    @property
    def lines(self) -> list[LogLine]:
        return [one for one in self.said if isinstance(one, LogLine)]
