"""Notes what served models say of themselves: deployed, loading, ready, idle. Runs in the caller's transaction."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from tunesmith.events import JobEvent, Serving
from tunesmith_platform.chats import repository
from tunesmith_platform.db.tables import AttemptRow, TaskRow
from tunesmith_platform.event_log.listeners import Listener
from tunesmith_platform.scope import Scope

_ANSWERS = frozenset({"ready", "loaded", "unloaded", "idle"})
"""After these a question is taken: also by what is in no memory, which loads it."""


def hear(
    session: Session, scope: Scope, task: TaskRow, attempt: AttemptRow, events: Sequence[JobEvent]
) -> None:
    """Note it, in the order in which it was reported."""
    row = repository.of_task(session, scope, task.id)
    if row is None:
        return
    for event in events:
        said = event.payload
        if not isinstance(said, Serving):
            continue
        if said.state in _ANSWERS:
            row.attempt = attempt.number
        elif said.model is None and said.state in ("deploying", "failed"):
            row.attempt = None
        if said.model is None:
            row.state, row.message = said.state, said.message
            if said.state in ("deploying", "idle"):
                row.loaded = {}
        elif said.state == "loaded":
            row.loaded = {**row.loaded, said.model: said.bytes}
        elif said.state == "unloaded":
            row.loaded = {name: size for name, size in row.loaded.items() if name != said.model}


LISTENER = Listener((Serving,), hear)
