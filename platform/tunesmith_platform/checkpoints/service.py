"""What users do with checkpoints: list them, ask for one, pin one."""

from tunesmith import views
from tunesmith.artifacts import checkpoint_name
from tunesmith.errors import Conflict
from tunesmith.lifecycle import State
from tunesmith_platform.checkpoints import repository
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import CheckpointRow
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks import repository as tasks


class CheckpointService:
    """The checkpoints of every task."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self, scope: Scope, task_id: str, after: int | None, limit: int
    ) -> views.Page[views.CheckpointView]:
        """Checkpoints, newest first."""
        with self._database.read() as session:
            tasks.require(session, scope, task_id)
            rows = repository.newest(session, scope, task_id, after, limit + 1)
        return views.Page.of([_view(row) for row in rows], limit, lambda checkpoint: checkpoint.step)

    def save(self, scope: Scope, task_id: str) -> views.SaveRequestView:
        """Ask a running task for a checkpoint after its next step. Asking twice before it answers makes one.

        Raises:
            Conflict: It is not running.
        """
        with self._database.write() as session:
            task = tasks.locked(session, scope, task_id)
            if task.state != State.RUNNING:
                raise Conflict(
                    f"A {task.state} task saves no checkpoint.",
                    hint=f"`tunesmith tasks checkpoints {task_id}` lists those it has.",
                )
            task.save_requests += 1
            return views.SaveRequestView(task_id=task_id, requests=task.save_requests)

    def pin(self, scope: Scope, task_id: str, step: int, pinned: bool) -> views.CheckpointView:
        """Pin a checkpoint, so that the task never removes it; or let it go again."""
        with self._database.write() as session:
            tasks.locked(session, scope, task_id)
            row = repository.require(session, scope, task_id, step)
            row.is_pinned = pinned
            return _view(row)


def _view(row: CheckpointRow) -> views.CheckpointView:
    return views.CheckpointView(
        task_id=row.task_id,
        step=row.step,
        name=checkpoint_name(row.step),
        attempt=row.attempt,
        uri=row.uri,
        bytes=row.bytes,
        files=row.files,
        manifest_sha256=row.manifest_sha256,
        metrics=row.metrics,
        is_best=row.is_best,
        is_pinned=row.is_pinned,
        is_recommended=row.is_recommended,
        created_at=row.created_at,
    )
