"""Looks now and then whether the database is still of this process's version: another may migrate it meanwhile."""

from tunesmith_platform.hub import Hub
from tunesmith_platform.loops import Loop
from tunesmith_platform.system.service import SystemService

_LOOK_SECONDS = 30.0


class SchemaWatch(Loop):
    """Notes it for `/healthz` and says it in the log.

    Args:
        system: Knows the database.
        hub: Of the process.
    """

    def __init__(self, system: SystemService, hub: Hub) -> None:
        super().__init__(hub)
        self._system = system

    def tick(self) -> None:
        """Look once."""
        self._system.look_at_schema()

    def pause(self) -> None:
        """Nothing that happens makes it come earlier."""
        self._stop.wait(_LOOK_SECONDS)
