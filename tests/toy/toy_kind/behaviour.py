"""What the platform does with it."""

from pathlib import Path

from toy_kind.program import CountDocument

from tunesmith import views
from tunesmith.spec.task import MoreSteps, NewTask, new_task
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks.kinds.base import KindBehaviour, Prepared, Result


class Counting(KindBehaviour):
    """Tasks that count."""

    def prepare(self, scope: Scope, new: NewTask, task_id: str, rows_dir: Path | None = None) -> Prepared:
        """There is nothing to look at."""
        return Prepared(spec=new.spec.model_dump(mode="json"), inputs={}, notices=tuple(new.spec.notices))

    def document(self, task: TaskRow, number: int) -> CountDocument:
        """What an attempt is handed."""
        return CountDocument(**self.attempt(task, number), artifact_uri=str(task.artifact_uri))

    def go_on(self, scope: Scope, task: TaskRow, more: MoreSteps, *, has_state: bool) -> Prepared:
        """As far as it was to count, or further."""
        further = {} if more.max_steps is None else {"to": more.max_steps}
        return self.prepare(scope, new_task(task.kind, task.spec | further), task.id)

    def result(self, scope: Scope, task: views.TaskView) -> Result:
        """The last number that it reported."""
        with self.parts.database.read() as session:
            last = events.last_of_kind(session, scope, task.id, "metrics", 1)
        return Result({}, last[0].payload["values"]["number"] if last else None)
