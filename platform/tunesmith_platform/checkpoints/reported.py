"""Enters the checkpoints that jobs report, and forgets those that they removed. Runs in the caller's transaction."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from tunesmith.events import CheckpointRemoved, CheckpointSaved, JobEvent
from tunesmith.spec.checkpoint_scores import best_by_score
from tunesmith_platform.checkpoints import repository
from tunesmith_platform.db.tables import AttemptRow, CheckpointRow, TaskRow
from tunesmith_platform.event_log.listeners import Listener
from tunesmith_platform.scope import Scope


def hear(
    session: Session, scope: Scope, task: TaskRow, attempt: AttemptRow, events: Sequence[JobEvent]
) -> None:
    """Enter and forget, in the order in which it was reported."""
    for event in events:
        match event.payload:
            case CheckpointSaved() as saved:
                if saved.best:
                    repository.no_best(session, scope, task.id)
                # Where scores tell the best, the job knows nothing of it, and takes nothing back.
                told = {} if best_by_score(task.spec) else {"is_best": saved.best}
                repository.put(
                    session,
                    scope,
                    CheckpointRow(
                        task_id=task.id,
                        step=saved.step,
                        attempt=attempt.number,
                        uri=saved.uri,
                        bytes=saved.bytes,
                        files=saved.files,
                        manifest_sha256=saved.manifest_sha256,
                        metrics=saved.metrics,
                        created_at=event.time,
                        **told,
                    ),
                )
            case CheckpointRemoved() as removed:
                gone = repository.find(session, scope, task.id, removed.step)
                if gone is not None:
                    session.delete(gone)


LISTENER = Listener((CheckpointSaved, CheckpointRemoved), hear)
