"""Copies each task's event log into MLflow: the run, its parameters, every measurement once, its checkpoints, its end.

Reads the log with a cursor of its own, so a dead, slow or emptied MLflow delays the mirror and nothing else. A step
that was done again after a restart is mirrored once, as it was measured first (resume is exact: the values are the
same). A run that MLflow does not know any more is made again from the log.
"""

import datetime as dt
import logging
import time
from collections import deque

from sqlalchemy.orm import Session

from tunesmith.artifacts import PACKAGE
from tunesmith.errors import DatabaseBusy, InvalidInput, Unavailable
from tunesmith.lifecycle import State
from tunesmith_platform.backends.protocols import (
    Refused,
    RowsUsed,
    Run,
    RunGone,
    Tracking,
)
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import EventRow, MirrorRow, TaskRow
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.hub import Hub
from tunesmith_platform.leases import Lease, held
from tunesmith_platform.loops import Loop, within
from tunesmith_platform.mirror import artifact_links, package_report, repository, samples_table
from tunesmith_platform.mirror.models_shown import ModelsShown
from tunesmith_platform.mirror.run_data import (
    AGAIN,
    facts,
    new_points,
    note,
    params,
    tags,
)
from tunesmith_platform.scope import INSTALLATION
from tunesmith_platform.tasks import repository as tasks
from tunesmith_platform.tasks.kinds.registry import Kinds

logger = logging.getLogger(__name__)

_BATCH = 1000
_BATCHES = 10
"""Batches of one task before the others have their turn."""
_START_SECONDS = 3.0
"""How long a start waits for its run's folder; then its files lie elsewhere, and the run shows them later."""
_CHECK_SECONDS = 60.0
"""How often MLflow is asked whether it still knows what it was told."""
_CHECKS = 100
"""Runs asked for in one round where it does not."""
_SERVER = ""
"""Stands for MLflow itself among the tasks that failed."""
_LEASE = dt.timedelta(seconds=60)
_RUN_SECONDS = 40.0
"""How long one waits for another that makes a task's run: longer than the lease of one that was killed."""
_MAX_PAUSE = 60.0
_MAX_SERVER_PAUSE = 15.0
_RUN_STATUS = {State.COMPLETED: "FINISHED", State.FAILED: "FAILED", State.STOPPED: "KILLED"}


class Mirror(Loop):
    """Keeps MLflow up to date with the event log.

    Args:
        database: Holds the log.
        tracking: MLflow.
        hub: Wakes it.
        kinds: Say what a run shows of its rows.
        platform_url: How users reach the platform.
        copies_packages: Whether packages' files show in runs too.
    """

    def __init__(
        self,
        database: Database,
        tracking: Tracking,
        hub: Hub,
        kinds: Kinds,
        platform_url: str = "",
        *,
        copies_packages: bool = False,
    ) -> None:
        super().__init__(hub)
        self._copies_packages = copies_packages
        self._kinds = kinds
        self._database = database
        self._tracking = tracking
        self._platform_url = platform_url
        self._models = ModelsShown(database, tracking, self._ensure_run)
        self._failures: dict[str, tuple[int, float]] = {}
        self._lease = Lease(database, "mirror", _LEASE)
        self._checked_at = float("-inf")
        self._doubted: deque[str] = deque()

    def end(self) -> None:
        """Let another process take over at once."""
        self._lease.release()

    def tick(self) -> None:
        """One round over every task whose log has grown."""
        if self._is_paused(_SERVER):
            return
        if not self._lease.take():
            return
        is_away: list[Unavailable] = []

        def check(_: str) -> None:
            try:
                self._check()
            except DatabaseBusy:
                raise
            except Unavailable as error:
                is_away.append(error)

        self.each(("looking for lost runs",), check)
        if is_away:
            self._failed(_SERVER, is_away[0])
            return
        while self._round() and not self._stop.is_set():
            pass

    def artifact_uri(self, task: TaskRow) -> str | None:
        """The run's artifact folder, for a task that is about to start; None when MLflow does not answer now."""
        if self._is_paused(_SERVER):
            return None
        try:
            return within(_START_SECONDS, lambda: self._ensure_run(task)).artifact_uri
        except TimeoutError:
            error = Unavailable("MLflow is slow to answer.")
        except DatabaseBusy:
            raise
        except Unavailable as found:
            error = found
        logger.warning("%s starts without its MLflow run: %s", task.id, error.message)
        if not isinstance(error, Refused):
            self._failed(_SERVER, error)  # the next start need not wait
        return None

    # --- what is not there is asked for with longer and longer pauses

    def _is_paused(self, key: str) -> bool:
        return self._failures.get(key, (0, 0.0))[1] > time.monotonic()

    def _failed(self, key: str, error: Unavailable) -> None:
        times = self._failures.get(key, (0, 0.0))[0] + 1
        pause = min(_MAX_PAUSE if key else _MAX_SERVER_PAUSE, 2.0 ** min(times, 10))
        self._failures[key] = (times, time.monotonic() + pause)
        who = key or "the mirror"
        logger.warning("%s: %s %s Trying again in %.0f s.", who, error.message, error.details or "", pause)

    def _worked(self, task_id: str) -> None:
        if self._failures.pop(_SERVER, None) is not None:
            self._failures.clear()  # it was MLflow, and not they
            self._checked_at = float("-inf")  # what it lost while it was away is made again
        self._failures.pop(task_id, None)
        self.troubles.over(task_id)

    # --- an emptied MLflow

    def _check(self) -> None:
        """See whether MLflow still knows its runs, and begin anew with those that it does not know."""
        if time.monotonic() - self._checked_at >= _CHECK_SECONDS and not self._doubted:
            with self._database.read() as session:
                known = [*repository.with_run(session, INSTALLATION, oldest_first=False, limit=1)]
                # The last one that is made again: while it is not there, the work is not done.
                known += repository.with_run(session, INSTALLATION, oldest_first=True, limit=1)
            if not all(self._is_known(task_id) for task_id in dict.fromkeys(known)):
                with self._database.read() as session:
                    self._doubted.extend(repository.with_run(session, INSTALLATION, oldest_first=False))
                logger.warning("MLflow has lost runs: looking through %s", len(self._doubted))
            self._worked(_SERVER)
            self._checked_at = time.monotonic()
        for _ in range(min(_CHECKS, len(self._doubted))):
            if self._stop.is_set():
                return
            task_id = self._doubted.popleft()
            try:
                if not self._is_known(task_id):
                    self._forget(task_id)
            except BaseException:
                self._doubted.append(
                    task_id
                )  # the next look begins with another: perhaps it is this one's fault
                raise

    def _is_known(self, task_id: str) -> bool:
        with self._database.read() as session:
            row = repository.of_task(session, INSTALLATION, task_id)
        return row is None or row.run_id is None or self._tracking.knows(row.run_id)

    def _forget(self, task_id: str) -> None:
        """Begin a task's run anew."""
        logger.warning("%s: MLflow does not know its run; it is made again", task_id)
        with self._database.write() as session:
            row = repository.of_task(session, INSTALLATION, task_id)
            if row is not None:
                row.n, row.steps, row.is_described = 0, {}, False
                row.experiment_id = row.run_id = row.run_artifact_uri = None

    # --- copying

    def _round(self) -> bool:
        """Bring every task that is behind forward; whether there is more to do at once."""
        with self._database.read() as session:
            todo = repository.behind(session, INSTALLATION)
        more = False
        for task_id in todo:
            if self._stop.is_set():
                break
            if self._is_paused(task_id):
                continue
            if not self._lease.take():
                return False
            try:
                more |= self._bring_up(task_id)
                self._worked(task_id)
            except DatabaseBusy:
                raise  # our own database: MLflow has nothing to do with it
            except Refused as error:
                self._failed(task_id, error)
            except Unavailable as error:
                # The next round begins with another task: perhaps it was this one's fault.
                self._failed(task_id, error)
                self._failed(_SERVER, error)
                return False
            except BaseException as error:
                self.troubles.note(task_id, error)
                self._failed(task_id, Unavailable("It could not be mirrored."))
            self._go_on()
        return more

    def _bring_up(self, task_id: str) -> bool:
        is_again = False
        for _ in range(_BATCHES):
            try:
                more = self._copy(task_id)
            except RunGone:
                if is_again:
                    raise
                self._forget(task_id)
                is_again = more = True
            if not more or self._stop.is_set():
                return False
        return True

    def _ensure_run(self, task: TaskRow) -> Run:
        if (known := self._run_of(task.id)) is not None:
            return known
        # The mirror and a start may both want it, each in a process of its own; MLflow would make two.
        with held(self._database, f"run {task.id}", _RUN_SECONDS):
            if (known := self._run_of(task.id)) is not None:
                return known
            started = task.started_at or task.created_at
            run = self._tracking.ensure_run(task.project, task.id, task.name, int(started.timestamp() * 1000))

            def enter(session: Session) -> None:
                row = repository.of_task(session, INSTALLATION, task.id)
                if row is None and tasks.known(session, INSTALLATION, task.id) is not None:
                    row = MirrorRow(task_id=task.id, n=0, steps={}, is_described=False)
                    session.add(row)
                if row is not None:
                    row.experiment_id, row.run_id = run.experiment_id, run.run_id
                    row.run_artifact_uri = run.artifact_uri

            self._database.retry_on_conflict(enter)
            return run

    def _run_of(self, task_id: str) -> Run | None:
        """The run that was made for a task."""
        with self._database.read() as session:
            row = repository.of_task(session, INSTALLATION, task_id)
        if row is None or not (row.run_id and row.experiment_id and row.run_artifact_uri):
            return None
        return Run(row.experiment_id, row.run_id, row.run_artifact_uri)

    def _copy(self, task_id: str) -> bool:
        """Copy the next batch of a task's events; whether there may be more."""
        with self._database.read() as session:
            task = tasks.known(session, INSTALLATION, task_id)
        if task is None:
            return False
        run = self._ensure_run(task)
        with self._database.read() as session:
            row, task = (
                repository.of_task(session, INSTALLATION, task_id),
                tasks.known(session, INSTALLATION, task_id),
            )
            if row is None or task is None:  # deleted meanwhile
                return False
            batch = events.after(session, INSTALLATION, task_id, row.n, _BATCH)
        if not row.is_described:
            self._tracking.describe(run.run_id, params(task), tags(task) | note(task, self._platform_url))
            self._tracking.log_rows(run.run_id, self._rows_used(task))
        steps = dict(row.steps)
        self._tracking.log_points(run.run_id, new_points(batch, steps))
        for entry in batch:
            if entry.kind == "checkpoint":
                self._models.checkpoint(run, task, entry, steps.get(AGAIN, -1))
            elif entry.kind == "training_started":
                self._tracking.describe(run.run_id, {}, facts(entry))
            elif entry.kind == "evaluation_made":
                self._models.evaluated(entry)
            elif entry.kind == "package_made":
                package_report.show(self._tracking, run, task, entry, with_texts=not self._copies_packages)
            elif entry.kind == "checkpoint_removed":
                artifact_links.hide(run.artifact_uri, task.artifact_uri, entry.payload["step"], task_id)
        if any(entry.kind == "samples" for entry in batch):
            samples_table.show(self._database, self._tracking, run, task_id)
        self._move(run, task, [entry for entry in batch if entry.kind == "state"])
        with self._database.write() as session:
            kept = repository.of_task(session, INSTALLATION, task_id)
            if kept is None or kept.run_id != run.run_id or kept.n != row.n:
                return False  # deleted, begun anew, or copied by another meanwhile
            kept.is_described = True
            kept.steps = steps
            kept.n = batch[-1].n if batch else kept.n
        return len(batch) == _BATCH

    def _rows_used(self, task: TaskRow) -> list[RowsUsed]:
        """What the run shows of its rows; nothing of a kind that is not installed any more."""
        try:
            return self._kinds.of(task.kind).rows_used(task)
        except InvalidInput:
            return []

    def _move(self, run: Run, task: TaskRow, moves: list[EventRow]) -> None:
        """Show how far the task's state has come."""
        last = State(moves[-1].payload["state"]) if moves else None
        if last is not None and last.is_terminal:
            self._models.final(run, task)
            hidden = () if self._copies_packages else (PACKAGE,)
            artifact_links.show_rest(run.artifact_uri, task.artifact_uri, hidden)
            self._tracking.describe(run.run_id, {}, tags(task))
            self._tracking.finish(run.run_id, _RUN_STATUS[last], int(moves[-1].time.timestamp() * 1000))
        elif any(entry.payload["state"] == State.PENDING and entry.n > 1 for entry in moves):
            self._tracking.finish(run.run_id, "RUNNING", None)  # perhaps its user continued it
