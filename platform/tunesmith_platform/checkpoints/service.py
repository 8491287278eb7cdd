"""Reading the list of a task's checkpoints."""

from collections.abc import Sequence

from sqlalchemy import select

from tunesmith import views
from tunesmith.artifacts import checkpoint_name
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import CheckpointRow
from tunesmith_platform.tasks import repository as tasks


class CheckpointService:
    """The checkpoints of every task."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, task_id: str, after: int | None, limit: int) -> views.Page[views.CheckpointView]:
        """Checkpoints, newest first."""
        query = select(CheckpointRow).where(CheckpointRow.task_id == task_id)
        if after is not None:
            query = query.where(CheckpointRow.step < after)
        with self._database.read() as session:
            tasks.require(session, task_id)
            rows: Sequence[CheckpointRow] = session.scalars(
                query.order_by(CheckpointRow.step.desc()).limit(limit + 1)
            ).all()
        data = [_view(row) for row in rows[:limit]]
        more = len(rows) > limit
        return views.Page(data=data, has_more=more, next=str(data[-1].step) if more else None)


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
        created_at=row.created_at,
    )
