"""Removes packages that the settings keep no longer, once an hour, and goes on with removals that were cut off."""

import datetime as dt
import time

from tunesmith_platform.db.engine import Database
from tunesmith_platform.hub import Hub
from tunesmith_platform.leases import Lease
from tunesmith_platform.loops import Loop
from tunesmith_platform.packaging.kept import KeptPackages
from tunesmith_platform.scope import INSTALLATION

_EVERY_SECONDS = 3600.0
_LEASE = dt.timedelta(seconds=120)


class PackageRetention(Loop):
    """Keeps packages within what the settings say.

    Args:
        packages: They.
        database: Says who of several processes does it.
        hub: Wakes it.
    """

    def __init__(self, packages: KeptPackages, database: Database, hub: Hub) -> None:
        super().__init__(hub)
        self._packages = packages
        self._lease = Lease(database, "packages", _LEASE)
        self._next = 0.0

    def end(self) -> None:
        """Let another process take over at once."""
        self._lease.release()

    def tick(self) -> None:
        """Look, where an hour has gone."""
        if time.monotonic() < self._next or not self._lease.take():
            return
        self._next = time.monotonic() + _EVERY_SECONDS
        self.each(
            self._packages.unfinished(INSTALLATION),
            lambda task_id: self._packages.finish(INSTALLATION, task_id),
        )
        rule = self._packages.rule()
        if not rule.is_off:
            self._packages.prune(INSTALLATION, rule, is_dry=False)
