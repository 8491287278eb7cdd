"""Says in the database that a process of some kind is there, for those that do without it and should say so."""

import datetime as dt

from tunesmith_platform.db.engine import Database
from tunesmith_platform.hub import Hub
from tunesmith_platform.leases import Lease
from tunesmith_platform.loops import Loop

CONTROLLER = "controller"
"""The background loops: in a process of their own, or in that of an API."""
_SAID_SECONDS = 5.0
_LENGTH = dt.timedelta(seconds=15)


class Presence(Loop):
    """Notes that this process is there. All processes of one kind write one row.

    Args:
        database: Where it is noted.
        hub: Of the process.
        kind: What it is.
    """

    def __init__(self, database: Database, hub: Hub, kind: str) -> None:
        super().__init__(hub)
        self._lease = Lease(database, kind, _LENGTH, owner=kind)

    def tick(self) -> None:
        """One round."""
        self._lease.take()

    def pause(self) -> None:
        """Nothing that happens makes it come earlier."""
        self._stop.wait(_SAID_SECONDS)
