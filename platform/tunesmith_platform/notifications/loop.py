"""The loop of notifications: looks what has happened, and sends what is due, a few at a time."""

import concurrent.futures

from tunesmith_platform.db.tables import DeliveryRow
from tunesmith_platform.hub import Hub
from tunesmith_platform.loops import Loop
from tunesmith_platform.notifications.service import NotificationService

_AT_ONCE = 4
"""Receivers that are slow must not hold up the others."""


class Notifier(Loop):
    """Tells users what happened to their tasks."""

    def __init__(self, service: NotificationService, hub: Hub) -> None:
        super().__init__(hub)
        self._service = service

    def tick(self) -> None:
        """One round: enqueue, then send what is due."""
        self.each(("looking what happened",), lambda _: self._service.enqueue())
        due = self._service.claim_due(_AT_ONCE)
        while due and not self._stop.is_set():
            with concurrent.futures.ThreadPoolExecutor(_AT_ONCE, "notify") as pool:
                list(pool.map(self._deliver, due))
            due = self._service.claim_due(_AT_ONCE)

    def _deliver(self, row: DeliveryRow) -> None:
        self.each((row,), self._service.deliver, name=lambda row: f"delivery {row.id}")
