"""The list of tasks as it changes, for everybody who sees the same tasks: one reader of the database a process.

Level-triggered: it compares what is with what it saw before, and numbers the differences. A reader that knows the
number it has read goes on after it; one that knows none, or comes from another process, gets the whole list first.
"""

import secrets
import threading
import time
from collections import deque
from typing import Any, NamedTuple

from tunesmith.lifecycle import State
from tunesmith.workspace import Changed, Deleted, Listed, TaskLine, WorkspaceChange
from tunesmith_platform.db.engine import Database
from tunesmith_platform.monitoring import repository
from tunesmith_platform.scope import Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks.view import health, message_of

NEWEST = 500
"""Tasks that are over and still looked at."""
KEPT = 5000
"""Changes that a reader may have missed; one that missed more gets the whole list."""
_FRESH_SECONDS = 0.15


class Change(NamedTuple):
    """A change and its place in the order."""

    number: int
    event: WorkspaceChange


class Workspace:
    """The list of the tasks that a scope sees, and its last changes. Any thread may call it."""

    def __init__(self, database: Database, settings: Settings, scope: Scope) -> None:
        self._scope = scope
        self._database = database
        self._settings = settings
        self._lock = threading.Lock()
        self._epoch = secrets.token_hex(4)
        self._number = 0
        self._lines: dict[str, TaskLine] = {}
        self._changes: deque[Change] = deque(maxlen=KEPT)
        self._read_at = float("-inf")

    def after(self, position: str | None) -> list[WorkspaceChange]:
        """What has changed after a position; the whole list where the position is not known here.

        Args:
            position: Of the last change already read; None at the beginning.
        """
        with self._lock:
            if time.monotonic() - self._read_at > _FRESH_SECONDS:
                self._refresh()
                self._read_at = time.monotonic()
            number = self._number_of(position)
            if number is None:
                lines = sorted(self._lines.values(), key=lambda line: line.id, reverse=True)
                return [Listed(position=self._position(self._number), tasks=lines)]
            if number == self._number:
                return []
            skip = number - self._changes[0].number + 1
            return [change.event for change in list(self._changes)[skip:]]

    def _number_of(self, position: str | None) -> int | None:
        epoch, _, digits = (position or "").partition("-")
        if epoch != self._epoch or not (digits.isascii() and digits.isdecimal()):
            return None
        number = int(digits)
        oldest = self._changes[0].number - 1 if self._changes else self._number
        return number if oldest <= number <= self._number else None

    def _position(self, number: int) -> str:
        return f"{self._epoch}-{number}"

    def _refresh(self) -> None:
        found = self._read()
        gone = [task_id for task_id in self._lines if task_id not in found]
        if gone:
            with self._database.read() as session:
                left = repository.there(session, self._scope, gone)
            for task_id in gone:
                del self._lines[task_id]
                if task_id not in left:  # else newer tasks took its place in the list
                    self._say(Deleted(position="", id=task_id))
        for task_id, line in found.items():
            if self._lines.get(task_id) != line:
                self._lines[task_id] = line
                self._say(Changed(position="", task=line))

    def _say(self, event: WorkspaceChange) -> None:
        self._number += 1
        self._changes.append(
            Change(self._number, event.model_copy(update={"position": self._position(self._number)}))
        )

    def _read(self) -> dict[str, TaskLine]:
        with self._database.read() as session:
            rows = repository.listed(session, self._scope, NEWEST)
        return {row["id"]: self._line(dict(row)) for row in rows}

    def _line(self, values: dict[str, Any]) -> TaskLine:
        heard = values.pop("heartbeat_at")
        progress = dict(values.pop("progress") or {})
        if progress.get("total_steps"):
            progress["percent"] = round(100 * progress.get("step", 0) / progress["total_steps"], 2)
        return TaskLine.model_validate(
            values
            | {
                "progress": progress,
                "message": message_of(State(values["state"]), values["message"], progress),
                "health": health(State(values["state"]), heard, progress, self._settings),
            }
        )
