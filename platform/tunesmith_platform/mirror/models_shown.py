"""What the mirror shows as models in MLflow: checkpoints with their own metrics, final models, what evaluations scored.

Knows events and MLflow's models; knows nothing of how far the mirror of a task is.
"""

from collections.abc import Callable, Collection, Mapping

from tunesmith.artifacts import CHECKPOINTS, FINAL_MODEL, checkpoint_name, checkpoint_step
from tunesmith.evaluation.results import METRIC_PREFIX
from tunesmith_platform.backends.protocols import LoggedModel, Point, Run, Tracking
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import EventRow, TaskRow
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.mirror import artifact_links
from tunesmith_platform.mirror.run_data import model_name, points_of
from tunesmith_platform.scope import INSTALLATION
from tunesmith_platform.tasks import repository as tasks

_RECENT = 500
"""Metric events before a checkpoint among which its own metrics are looked for."""


class ModelsShown:
    """Shows models beside their runs.

    Args:
        database: Holds the log.
        tracking: MLflow.
        run_of: The run of a task, made where there is none.
    """

    def __init__(self, database: Database, tracking: Tracking, run_of: Callable[[TaskRow], Run]) -> None:
        self._database = database
        self._tracking = tracking
        self._run_of = run_of

    def checkpoint(self, run: Run, task: TaskRow, entry: EventRow, again: int) -> None:
        """Show a checkpoint.

        Args:
            run: Of the task.
            task: Whose.
            entry: The event that says it.
            again: The last step that was measured again.
        """
        payload = entry.payload
        with self._database.read() as session:
            recent = events.last_of_kind(session, INSTALLATION, task.id, "metrics", _RECENT, before=entry.n)
        # A model's metric is a point of its run too: the very point that is there, or the curve would get a second one.
        latest: dict[str, Point] = {}
        for measured in recent:
            if measured.payload["step"] <= payload["step"]:
                latest |= {point.name: point for point in points_of(measured)}
        latest = {name: latest[name] for name in payload["metrics"] if name in latest}
        doubtful = {point.step for point in latest.values() if point.step <= again}
        if doubtful:
            latest |= self._first_at(task.id, latest, doubtful, entry.n)
        own = {"tunesmith.task_id": task.id, "tunesmith.step": str(payload["step"])}
        artifact_links.show(run.artifact_uri, payload["uri"])
        name = model_name(task, checkpoint_name(payload["step"]))
        model = LoggedModel(name, payload["uri"], payload["step"], tags=own)
        self._tracking.log_model(run, model, list(latest.values()))

    def final(self, run: Run, task: TaskRow) -> None:
        """Show what the task made in the end; nothing where it made no model."""
        if not task.model_uri:
            return
        step = int((task.progress or {}).get("step") or 0)
        own = {"tunesmith.task_id": task.id, "tunesmith.step": str(step)}
        name = model_name(task, FINAL_MODEL)
        model = LoggedModel(name, str(task.model_uri), step, model_type="model", tags=own)
        self._tracking.log_model(run, model, [])

    def evaluated(self, entry: EventRow) -> None:
        """Show on each checkpoint's model how an evaluation scored it."""
        for key, means in entry.payload["means"].items():
            task_id, _, what = key.partition("/")
            with self._database.read() as session:
                trained = tasks.known(session, INSTALLATION, task_id) if what else None
            if trained is None:
                continue  # the base, a folder, or a task that is gone
            step = checkpoint_step(what)
            step = int((trained.progress or {}).get("step") or 0) if step is None else step
            name, kind = model_name(trained, what), "checkpoint"
            uri = f"{trained.artifact_uri}/{CHECKPOINTS}/{what}"
            if checkpoint_step(what) is None:
                name, kind, uri = model_name(trained, FINAL_MODEL), "model", str(trained.model_uri)
            own = {"tunesmith.task_id": trained.id, "tunesmith.step": str(step)}
            moment = int(entry.time.timestamp() * 1000)
            points = [Point(f"{METRIC_PREFIX}{score}", value, step, moment) for score, value in means.items()]
            model = LoggedModel(name, uri, step, model_type=kind, tags=own)
            self._tracking.log_model(self._run_of(trained), model, points)

    def _first_at(
        self, task_id: str, points: Mapping[str, Point], steps: Collection[int], before: int
    ) -> dict[str, Point]:
        """Those of `points` at some steps, as they were measured for the first time: those are in MLflow."""
        with self._database.read() as session:
            measured = events.metrics_at(session, INSTALLATION, task_id, steps, before)
        found: dict[str, Point] = {}
        for event in measured:
            for point in points_of(event):
                if point.name in points and point.step == points[point.name].step:
                    found.setdefault(point.name, point)
        return found
