"""How a task comes into being: its row as it stands before its first start, and the first event of its log."""

import datetime as dt
from typing import Any, cast

from sqlalchemy import Table, insert
from sqlalchemy.orm import Session, make_transient_to_detached

from tunesmith.events import StateChanged
from tunesmith.lifecycle import Desired, State, WaitsFor
from tunesmith.spec.task import NewTask
from tunesmith_platform.db.tables import IdempotencyRow, TaskRow
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.scope import Scope

_TASKS = cast(Table, TaskRow.__table__)
_AT_FIRST: dict[str, Any] = {
    **dict.fromkeys(_TASKS.columns.keys()),
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
    return TaskRow(**(columns | more))


def enter(session: Session, scope: Scope, task: TaskRow, key: str | None, body_sha256: str) -> None:
    """Enter a new task, its first event, and the key that it was sent with.

    Past the unit of work, which takes several times as long for one row; the row is in the session afterwards.
    """
    task.events = 1
    values = {name: getattr(task, name) for name in _AT_FIRST}
    session.connection().execute(insert(_TASKS), values)
    make_transient_to_detached(task)
    session.add(task)
    events.append_first(session, scope, task, StateChanged(state=State.PENDING, message=task.message))
    if key is not None:
        session.add(
            IdempotencyRow(
                owner=scope.owner,
                project=task.project,
                key=key,
                body_sha256=body_sha256,
                task_id=task.id,
                created_at=task.created_at,
            )
        )
