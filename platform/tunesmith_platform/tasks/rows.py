"""From an optimizer step back to the rows of the training file that it took.

Reads what the job wrote beside its checkpoints; knows nothing of how rows are encoded.
"""

from tunesmith import views
from tunesmith.errors import NotFound
from tunesmith.rows.order import ORDER_FILE, RowOrder
from tunesmith.storage import open_storage
from tunesmith_platform.db.engine import Database
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks import repository


class RowService:
    """The rows of every task's steps."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_step(self, scope: Scope, task_id: str, step: int) -> views.StepRows:
        """The rows that a step took, or will take.

        Raises:
            NotFound: The task has read no rows yet, or wrote no order.
        """
        with self._database.read() as session:
            task = repository.require(session, scope, task_id)
            uri, file = task.artifact_uri, str(task.spec.get("train_file", ""))
        data = open_storage(uri).read(ORDER_FILE) if uri else None
        order = RowOrder.decode(data) if data is not None else None
        if order is None:
            raise NotFound(
                f"Task `{task_id}` has not said which rows its steps take.",
                hint="A task says it when it has read its rows, before its first step.",
            )
        epoch, rows = order.rows_of(step)
        return views.StepRows(
            task_id=task_id,
            step=step,
            epoch=epoch,
            steps_per_epoch=order.steps_per_epoch,
            file=file,
            rows=rows,
        )
