"""Wakes those who wait for a task's next event. Hints only: a reader always looks into the database itself."""

import asyncio
import threading
from collections.abc import Callable


class Hub:
    """One an API process. `notify` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = {}
        self._listeners: list[threading.Event] = []
        self._told: list[Callable[[str], None]] = []

    def notify(self, task_id: str) -> None:
        """Something happened to a task."""
        with self._lock:
            waiting = self._waiting.pop(task_id, set())
        for loop, event in waiting:
            loop.call_soon_threadsafe(event.set)
        for listener in self._listeners:
            listener.set()
        for tell in self._told:
            tell(task_id)

    def listen(self) -> threading.Event:
        """An event that is set whenever anything happens, for the background loops."""
        listener = threading.Event()
        self._listeners.append(listener)
        return listener

    def tell(self, callback: Callable[[str], None]) -> None:
        """Call `callback` with the task's id whenever something happens to one, in the thread that says so."""
        self._told.append(callback)

    def ticket(self, task_id: str) -> asyncio.Event:
        """Take this before looking into the database, then wait on it: what happens in between is not missed."""
        event = asyncio.Event()
        with self._lock:
            self._waiting.setdefault(task_id, set()).add((asyncio.get_running_loop(), event))
        return event

    def drop(self, task_id: str, event: asyncio.Event) -> None:
        """Give a ticket back unused."""
        with self._lock:
            waiting = self._waiting.get(task_id)
            if waiting is not None:
                waiting.discard((asyncio.get_running_loop(), event))
                if not waiting:
                    del self._waiting[task_id]
