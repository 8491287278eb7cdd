"""Through what a job says what it measures, and hears what its user wants.

Whoever works takes an `Outlet`: the `Reporter` is one, others pass on to it or say nothing. Knows no network.
"""

import datetime as dt
from typing import Protocol

from tunesmith.events import JobPayload
from tunesmith.lifecycle import Desired
from tunesmith_jobs.activities import Activities


class Outlet(Protocol):
    """What training needs of a reporter."""

    def emit(self, payload: JobPayload, time: dt.datetime | None = None) -> None:
        """Say something. Never blocks for the network."""

    @property
    def desired(self) -> Desired:
        """What the user wants of the task, as of the last reply."""

    @property
    def superseded(self) -> bool:
        """Whether this attempt is over for the control plane: stop at once and leave no trace."""

    @property
    def save_now(self) -> int:
        """How often the user has asked for a checkpoint at once."""

    @property
    def pinned(self) -> frozenset[int] | None:
        """The steps whose checkpoints are never removed; None while that is not known."""

    @property
    def early_stop(self) -> str | None:
        """Why to end as if the last step was done, where the platform knows that there is no improvement."""

    @property
    def listed(self) -> frozenset[int] | None:
        """The steps of the task's checkpoints that the control plane listed when this process began; None while that is
        not known."""

    @property
    def activities(self) -> Activities:
        """What this process is busy with: a job that is to stop has time as long as that gets on."""


class Relay:
    """An outlet that passes on to another: the base of those that hear what is said on its way."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    @property
    def desired(self) -> Desired:
        """See `Outlet.desired`."""
        return self._outlet.desired

    @property
    def superseded(self) -> bool:
        """See `Outlet.superseded`."""
        return self._outlet.superseded

    @property
    def save_now(self) -> int:
        """See `Outlet.save_now`."""
        return self._outlet.save_now

    @property
    def pinned(self) -> frozenset[int] | None:
        """See `Outlet.pinned`."""
        return self._outlet.pinned

    @property
    def early_stop(self) -> str | None:
        """See `Outlet.early_stop`."""
        return self._outlet.early_stop

    @property
    def listed(self) -> frozenset[int] | None:
        """See `Outlet.listed`."""
        return self._outlet.listed

    @property
    def activities(self) -> Activities:
        """See `Outlet.activities`."""
        return self._outlet.activities

    def emit(self, payload: JobPayload, time: dt.datetime | None = None) -> None:
        """See `Outlet.emit`."""
        self._outlet.emit(payload, time)


class Silent:
    """The outlet of a worker that is not the first: it says nothing and follows the others."""

    desired = Desired.RUN
    superseded = False
    save_now = 0
    pinned: frozenset[int] | None = frozenset()
    early_stop: str | None = None
    listed: frozenset[int] | None = None

    def __init__(self) -> None:
        self.activities = Activities()

    def emit(self, payload: JobPayload, time: dt.datetime | None = None) -> None:
        """Say nothing."""
