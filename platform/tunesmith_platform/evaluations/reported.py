"""Enters what evaluations find, and marks the checkpoint that they recommend. Runs in the caller's transaction."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from tunesmith.events import EvaluationMade, JobEvent
from tunesmith_platform.checkpoints import repository as checkpoints
from tunesmith_platform.db.tables import AttemptRow, EvaluationRow, TaskRow
from tunesmith_platform.evaluations import repository
from tunesmith_platform.event_log.listeners import Listener
from tunesmith_platform.scope import Scope


def hear(
    session: Session, scope: Scope, task: TaskRow, attempt: AttemptRow, events: Sequence[JobEvent]
) -> None:
    """Enter, in the order in which it was reported."""
    for event in events:
        made = event.payload
        if not isinstance(made, EvaluationMade):
            continue
        looked_at = {key.partition("/")[0] for key in made.means if key.startswith("task-") and "/" in key}
        repository.put(
            session,
            scope,
            EvaluationRow(
                task_id=task.id,
                attempt=attempt.number,
                uri=made.uri,
                sha256=made.sha256,
                comparable_by=made.comparable_by,
                recommended=made.recommended,
                is_partial=made.is_partial,
                means=made.means,
                sentence=made.sentence,
                answer_seconds=made.answer_seconds,
                created_at=event.time,
            ),
            looked_at,
        )
        # Of one checkpoint beside its base nothing is said about the others of its training.
        if made.task_id is not None and not repository.is_of_training(session, scope, task.id):
            checkpoints.recommend(session, scope, made.task_id, made.step)


LISTENER = Listener((EvaluationMade,), hear)
