"""The loop that has checkpoints scored while their training goes on: one evaluation at a time, in the order of steps.

Level-triggered, under a lease of its own: it looks at which checkpoints wait and at how their evaluations stand, so one
is submitted once however often the platform restarts. An evaluation is a task like any other, in the room of those that
use models: that it fails, or takes all the memory there is, is a warning to the training and nothing else.
"""

import datetime as dt
from collections.abc import Callable
from typing import Any, Protocol

from sqlalchemy.orm import Session

from tunesmith import views
from tunesmith.artifacts import checkpoint_name
from tunesmith.errors import Conflict, NotFound, TunesmithError, Unavailable
from tunesmith.lifecycle import Desired, State
from tunesmith.spec.checkpoint_scores import SCORE_TAG, evaluation_of
from tunesmith.spec.evaluation import new_evaluation
from tunesmith.spec.task import MoreSteps, new_task
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.checkpoints import repository as checkpoints
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import CheckpointScoreRow, TaskRow
from tunesmith_platform.evaluations import repository, training_scores
from tunesmith_platform.evaluations.repository import ScoreState
from tunesmith_platform.hub import Hub
from tunesmith_platform.leases import Lease
from tunesmith_platform.loops import Loop
from tunesmith_platform.scope import INSTALLATION, Scope
from tunesmith_platform.tasks import repository as tasks
from tunesmith_platform.tasks.derive import TaskVerbs
from tunesmith_platform.tasks.service import TaskService

_LEASE = dt.timedelta(seconds=60)
_BEHIND = 10
"""By so much an evaluation's priority is below its training's: what a user asked for comes first."""
_LEAST_PRIORITY = -100


class Services(Protocol):
    """The parts that the loop works with."""

    database: Database
    hub: Hub
    tasks: TaskService
    verbs: TaskVerbs


class CheckpointScoring(Loop):
    """Has the checkpoints of every training scored that wants it."""

    idle_seconds = 5.0

    def __init__(self, services: Services) -> None:
        super().__init__(services.hub)
        self._services = services
        self._lease = Lease(services.database, "checkpoint scores", _LEASE)

    def end(self) -> None:
        """Let another process take over at once."""
        self._lease.release()

    def tick(self) -> None:
        """One round."""
        with self._services.database.read() as session:
            todo = repository.to_score(session, INSTALLATION)
        if todo and self._lease.take():
            self.each(todo, self.advance)

    def advance(self, task_id: str) -> None:
        """Bring one training's checkpoints on.

        Raises:
            LeaseLost: Another process does: this one stood still for too long.
        """
        if not self._lease.take():
            return
        task, rows = self._read(task_id)
        if task is None:
            return
        for row in rows:
            if row.state == ScoreState.OPEN:
                self._observe(task, row)
        task, rows = self._read(task_id)
        if task is None or task.desired != Desired.RUN or any(row.state == ScoreState.OPEN for row in rows):
            return
        waiting = [row for row in rows if row.state == ScoreState.WAITING]
        if waiting:
            self._begin(task, waiting[0])

    def _read(self, task_id: str) -> tuple[TaskRow | None, list[CheckpointScoreRow]]:
        with self._services.database.read() as session:
            task = tasks.known(session, INSTALLATION, task_id)
            return task, list(repository.scores(session, INSTALLATION, task_id))

    # --- one checkpoint

    def _begin(self, task: TaskRow, row: CheckpointScoreRow) -> None:
        """Submit a checkpoint's evaluation, or let the one that its training's stop ended go on."""
        try:
            made = self._again(task, row) if row.evaluation_id is not None else None
            made = made or self._submit(task, row)
        except Unavailable:
            raise  # it is tried again
        except TunesmithError as error:
            self._fail(task, row, error.message, error.hint)
            return
        self._change(task, row, state=ScoreState.OPEN, evaluation_id=made.id)

    def _submit(self, task: TaskRow, row: CheckpointScoreRow) -> views.TaskView:
        with self._services.database.read() as session:
            there = checkpoints.find(session, INSTALLATION, task.id, row.step)
        if there is None:
            raise NotFound("The training has removed it.")
        spec = evaluation_of(TrainSpec.stored(task.spec), task.id, row.step)
        body = new_evaluation(
            spec,
            name=f"{task.name[:90]} {checkpoint_name(row.step)}",
            project=task.project,
            priority=max(_LEAST_PRIORITY, task.priority - _BEHIND),
            tags=[SCORE_TAG],
            notes=f"Scores a checkpoint of {task.id} while that goes on.",
        )
        new = new_task(str(body.pop("kind")), body.pop("spec"), body)
        key = f"{task.id}.{row.step}.{row.manifest_sha256}"
        return self._services.tasks.create(Scope.acting_for(task), new, key)[0]

    def _again(self, task: TaskRow, row: CheckpointScoreRow) -> views.TaskView | None:
        """The evaluation that ended with its training, going on with it; None where it was deleted meanwhile."""
        scope, evaluation_id = Scope.acting_for(task), str(row.evaluation_id)
        try:
            found = self._services.tasks.get(scope, evaluation_id)
        except NotFound:
            return None
        if found.state is State.STOPPED:
            return self._services.verbs.carry_on(scope, evaluation_id, MoreSteps())
        if found.state is State.STOPPING:
            raise Unavailable("Its evaluation is still stopping.")
        return found

    def _observe(self, task: TaskRow, row: CheckpointScoreRow) -> None:
        """See how a checkpoint's evaluation stands."""
        scope = Scope.acting_for(task)
        try:
            made = self._services.tasks.get(scope, str(row.evaluation_id))
        except NotFound:
            self._fail(task, row, "Its evaluation was deleted.")
            return
        if made.state is State.COMPLETED:
            self._take(task, row)
        elif task.desired != Desired.RUN:
            self._stop_with_its_training(task, row, scope)
        elif made.state.is_terminal:
            hint = f"`tunesmith tasks autopsy {made.id}` says more."
            self._fail(task, row, f"Its evaluation {made.state}: {made.message}", hint)

    def _stop_with_its_training(self, task: TaskRow, row: CheckpointScoreRow, scope: Scope) -> None:
        """End an evaluation whose training was stopped; it goes on when that does."""
        try:
            self._services.tasks.stop(scope, str(row.evaluation_id))
        except Conflict:
            return  # it is looked at again
        self._change(task, row, state=ScoreState.WAITING)

    def _take(self, task: TaskRow, row: CheckpointScoreRow) -> None:
        with self._services.database.read() as session:
            found = repository.find(session, INSTALLATION, str(row.evaluation_id))
        if found is None or f"{task.id}/{checkpoint_name(row.step)}" not in found.means:
            self._fail(task, row, "Its evaluation has no scores of it.")
            return
        means, moment = found.means, found.created_at

        def take(session: Session, task: TaskRow) -> None:
            training_scores.take(session, INSTALLATION, task, row.step, means, moment)

        self._record(task, row, take)

    # --- records

    def _fail(self, task: TaskRow, row: CheckpointScoreRow, why: str, hint: str | None = None) -> None:
        def fail(session: Session, task: TaskRow) -> None:
            training_scores.fail(session, INSTALLATION, task, row.step, why, hint)

        self._record(task, row, fail)

    def _change(self, task: TaskRow, row: CheckpointScoreRow, **values: Any) -> None:
        def change(session: Session, task: TaskRow) -> None:
            stored = repository.score(session, INSTALLATION, task.id, row.step)
            assert stored is not None, "it was just there"
            for name, value in values.items():
                setattr(stored, name, value)
            session.flush()
            training_scores.spare(session, INSTALLATION, task)

        self._record(task, row, change)

    def _record(
        self, task: TaskRow, row: CheckpointScoreRow, change: Callable[[Session, TaskRow], None]
    ) -> None:
        """Change what is known of a checkpoint, unless that was done meanwhile or it was saved anew."""
        with self._services.database.write() as session:
            self._lease.require(session)
            held = tasks.known(session, INSTALLATION, task.id, locked=True)
            stored = repository.score(session, INSTALLATION, task.id, row.step) if held is not None else None
            if held is None or stored is None:
                return
            if (stored.state, stored.manifest_sha256) != (row.state, row.manifest_sha256):
                return
            change(session, held)
        self._services.hub.notify(task.id)
