"""How a task comes into being: its row as it stands before its first start, and the first event of its log."""

import datetime as dt
from typing import Any

from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import instance_dict

from tunesmith.events import StateChanged
from tunesmith.lifecycle import Desired, State, WaitsFor
from tunesmith.spec.task import NewTask
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks import repository

_AT_FIRST: dict[str, Any] = {
    **dict.fromkeys(TaskRow.__table__.columns.keys()),
    "state": State.PENDING,
    "desired": Desired.RUN,
    "waits_for": WaitsFor.START,
    "message": "Waiting to be started.",
    "attempt": 0,
    "attempts_before": 0,
    "is_attempt_open": False,
    "events": 0,
    "folded": 0,
    "save_requests": 0,
}


def new_row(new: NewTask, task_id: str, moment: dt.datetime, **more: Any) -> TaskRow:
    """The row of a task that waits for its start.

    Args:
        new: What was asked for.
        task_id: Its id.
        moment: When it was asked for.
        more: Whose it is, its parameters as they are shown (`spec`), what it is given (`inputs`), and further columns.
    """
    columns = _AT_FIRST | {
        "id": task_id,
        "kind": new.kind,
        "name": new.name or new.default_name(moment),
        "priority": new.priority,
        "tags": new.tags,
        "notes": new.notes,
        "template": new.template,
        "notices": [],
        "progress": {},
        "created_at": moment,
    }
    task = TaskRow()
    instance_dict(task).update(columns | more)  # each by itself takes longer than storing them all
    return task


def enter(session: Session, scope: Scope, task: TaskRow) -> None:
    """Enter a new task and its first event."""
    task.events = 1
    repository.add(session, scope, task)
    events.append_first(session, scope, task, StateChanged(state=State.PENDING, message=task.message))
