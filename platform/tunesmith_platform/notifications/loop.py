"""The loop of notifications: looks what has happened, and sends what is due, a few at a time."""

import concurrent.futures
import logging
import threading

from tunesmith_platform.events.hub import Hub
from tunesmith_platform.notifications.service import NotificationService

logger = logging.getLogger(__name__)

_IDLE_SECONDS = 2.0
_AT_ONCE = 4
"""Receivers that are slow must not hold up the others."""


class Notifier:
    """Tells users what happened to their tasks."""

    def __init__(self, service: NotificationService, hub: Hub) -> None:
        self._service = service
        self._wake = hub.listen()
        self._stop = threading.Event()

    def run(self) -> None:
        """Loop until `close`."""
        while not self._stop.is_set():
            self._wake.clear()
            try:
                self.tick()
            except Exception:
                logger.exception("notifying failed; it goes on in a moment")
            self._stop.wait(1.0)  # a second's events are one look
            self._wake.wait(_IDLE_SECONDS)

    def close(self) -> None:
        """End the loop after the round it is in."""
        self._stop.set()
        self._wake.set()

    def tick(self) -> None:
        """One round: enqueue, then send what is due."""
        self._service.enqueue()
        due = self._service.claim_due(_AT_ONCE)
        while due and not self._stop.is_set():
            with concurrent.futures.ThreadPoolExecutor(_AT_ONCE, "notify") as pool:
                list(pool.map(self._service.deliver, due))
            due = self._service.claim_due(_AT_ONCE)
