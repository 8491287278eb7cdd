"""Enters the packages that jobs report. Runs in the caller's transaction."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from tunesmith.events import JobEvent, PackageMade
from tunesmith_platform.db.tables import AttemptRow, PackageRow, TaskRow
from tunesmith_platform.event_log.listeners import Listener
from tunesmith_platform.packaging import repository
from tunesmith_platform.scope import Scope


def hear(
    session: Session, scope: Scope, task: TaskRow, attempt: AttemptRow, events: Sequence[JobEvent]
) -> None:
    """Enter, in the order in which it was reported."""
    for event in events:
        made = event.payload
        if not isinstance(made, PackageMade):
            continue
        sizes = [file.bytes for file in made.files] + [file.bytes for file in made.others]
        row = PackageRow(
            task_id=task.id,
            of_task_id=(task.inputs.get("origin") or {}).get("task_id"),
            uri=made.uri,
            step=made.step,
            bytes=sum(sizes),
            files=len(sizes),
            removed_at=None,
            is_gone=False,
            created_at=event.time,
        )
        repository.put(session, scope, row)


LISTENER = Listener((PackageMade,), hear)
