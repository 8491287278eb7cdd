"""Which of the waiting tasks find place in a room of the cluster, and what the others are told.

Each function runs in the caller's transaction. Knows rows and rooms; knows nothing of Ray.
"""

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.orm import Session

from tunesmith.lifecycle import State, WaitsFor
from tunesmith.spec.kinds import Room
from tunesmith_platform.db.tables import AttemptRow
from tunesmith_platform.queue import repository as queue
from tunesmith_platform.reconciler.decisions import AttemptPhase
from tunesmith_platform.restores import attempt_floor
from tunesmith_platform.scope import INSTALLATION
from tunesmith_platform.settings import ROOM_SETTINGS
from tunesmith_platform.tasks import repository
from tunesmith_platform.tasks.view import DRIVER_HEARD, SILENT

_TOLD = 50
"""How many of those that wait are told what for; the others come after them."""
_NAMED = 3
"""How many of those that hold the places are named."""


class Todo(NamedTuple):
    """What there is to do for those that wait for a room: admit, or tell them why not."""

    tasks: Sequence[str]
    why: str | None = None


def look(session: Session, room: Room, limit: int, moment: dt.datetime) -> Todo:
    """Whether somebody can be admitted, or has not been told what it waits for."""
    if queue.count_open(session, INSTALLATION, room) < limit:
        return Todo(queue.waiting(session, INSTALLATION, moment, 1, room))
    names = queue.open_names(session, INSTALLATION, room, _NAMED + 1)
    shown = ", ".join(f"`{name}`" for name in names[:_NAMED]) + (" ..." if len(names) > _NAMED else "")
    why = f"Waiting for its turn: {limit} at a time (`{ROOM_SETTINGS[room]}`), and {shown} has not ended."
    return Todo(queue.waiting(session, INSTALLATION, moment, _TOLD, room, but_message=why), why)


def tell(session: Session, todo: Todo) -> None:
    """Say to those that come next what they wait for."""
    for task_id in todo.tasks:
        task = repository.locked(session, INSTALLATION, task_id)
        if task.state == State.PENDING and not task.is_attempt_open:
            task.message = str(todo.why)


def admit(session: Session, room: Room, limit: int, moment: dt.datetime) -> None:
    """Begin an attempt for as many as find place."""
    free = limit - queue.count_open(session, INSTALLATION, room)
    floor = attempt_floor(session)
    for task_id in queue.waiting(session, INSTALLATION, moment, max(0, free), room):
        task = repository.locked(session, INSTALLATION, task_id)
        task.attempt = max(task.attempt, floor) + 1
        task.is_attempt_open = True
        task.retry_at = None
        task.waits_for = WaitsFor.RESOURCES
        task.message = "Being handed to Ray."
        task.heartbeat_at = None
        task.progress = {
            k: v for k, v in task.progress.items() if k not in (SILENT, DRIVER_HEARD, repository.ACTIVITY)
        }
        session.add(
            AttemptRow(
                task_id=task_id,
                number=task.attempt,
                phase=AttemptPhase.SUBMITTING,
                last_seq=0,
                created_at=moment,
            )
        )
