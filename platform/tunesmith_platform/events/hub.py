"""Wakes those who wait for a task's next event. Hints only: a reader always looks into the database itself."""

import asyncio
import threading

ANY = ""
"""A ticket for this is good for every task."""


class Hub:
    """One an API process. `notify` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = {}
        self._listeners: list[threading.Event] = []

    def notify(self, task_id: str) -> None:
        """Something happened to a task."""
        with self._lock:
            waiting = self._waiting.pop(task_id, set()) | self._waiting.pop(ANY, set())
        for loop, event in waiting:
            loop.call_soon_threadsafe(event.set)
        for listener in self._listeners:
            listener.set()

    def listen(self) -> threading.Event:
        """An event that is set whenever anything happens, for the background loops."""
        listener = threading.Event()
        self._listeners.append(listener)
        return listener

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
