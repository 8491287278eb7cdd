"""Copies each task's event log into MLflow: the run, its parameters, every measurement once, its checkpoints, its end.

Reads the log with a cursor of its own, so a dead, slow or emptied MLflow delays the mirror and nothing else. A step
that was done again after a restart is mirrored once (resume is exact: the values are the same).
"""

import contextlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Sequence

from sqlalchemy import select

from tunesmith.artifacts import CHECKPOINTS, checkpoint_name
from tunesmith.errors import Unavailable
from tunesmith.lifecycle import State
from tunesmith.storage import local_path
from tunesmith_platform.backends.protocols import Point, Run, Tracking
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import EventRow, MirrorRow, TaskRow
from tunesmith_platform.events import repository as events
from tunesmith_platform.events.hub import Hub

logger = logging.getLogger(__name__)

_BATCH = 1000
_RECENT = 500
"""Metric events before a checkpoint among which its own metrics are looked for."""
_IDLE_SECONDS = 2.0
_MAX_BACKOFF = 60.0
_RUN_STATUS = {State.COMPLETED: "FINISHED", State.FAILED: "FAILED", State.STOPPED: "KILLED"}


class Mirror:
    """Keeps MLflow up to date with the event log."""

    def __init__(self, database: Database, tracking: Tracking, hub: Hub) -> None:
        self._database = database
        self._tracking = tracking
        self._wake = hub.listen()
        self._stop = threading.Event()
        self._failures: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()  # one thread makes a task's run

    def run(self) -> None:
        """Loop until `close`."""
        while not self._stop.is_set():
            self._wake.clear()
            try:
                self.tick()
            except Exception:
                logger.exception("mirroring failed; it goes on in a moment")
            self._stop.wait(1.0)  # a second's events make one batch
            self._wake.wait(_IDLE_SECONDS)

    def close(self) -> None:
        """End the loop after the round it is in."""
        self._stop.set()
        self._wake.set()

    def tick(self) -> None:
        """One round over every task whose log has grown."""
        behind = (
            select(TaskRow.id)
            .join(MirrorRow, MirrorRow.task_id == TaskRow.id, isouter=True)
            .where(TaskRow.attempt > 0, (MirrorRow.n.is_(None)) | (MirrorRow.n < TaskRow.events))
            .order_by(TaskRow.id)
        )
        with self._database.read() as session:
            todo = session.scalars(behind).all()
        for task_id in todo:
            if self._stop.is_set() or self._failures.get(task_id, (0, 0.0))[1] > time.monotonic():
                continue
            try:
                while self._copy(task_id) and not self._stop.is_set():
                    pass
                self._failures.pop(task_id, None)
            except Unavailable as error:
                times = self._failures.get(task_id, (0, 0.0))[0] + 1
                pause = min(_MAX_BACKOFF, 2.0**times)
                self._failures[task_id] = (times, time.monotonic() + pause)
                logger.warning(
                    "%s: %s %s Trying again in %.0f s.", task_id, error.message, error.details, pause
                )

    def artifact_uri(self, task: TaskRow) -> str | None:
        """The run's artifact folder, for a task that is about to start; None when MLflow does not answer now."""
        try:
            return self._ensure_run(task).artifact_uri
        except Unavailable as error:
            logger.warning("%s starts without its MLflow run: %s", task.id, error.message)
            return None

    def _ensure_run(self, task: TaskRow) -> Run:
        with self._lock:
            with self._database.read() as session:
                row = session.get(MirrorRow, task.id)
            if row is not None and row.run_id and row.experiment_id and row.run_artifact_uri:
                return Run(row.experiment_id, row.run_id, row.run_artifact_uri)
            run = self._tracking.ensure_run(task.project, task.id, task.name)
            with self._database.write() as session:
                row = session.get(MirrorRow, task.id) or MirrorRow(
                    task_id=task.id, n=0, steps={}, is_described=False
                )
                row.experiment_id, row.run_id, row.run_artifact_uri = (
                    run.experiment_id,
                    run.run_id,
                    run.artifact_uri,
                )
                session.add(row)
            return run

    def _copy(self, task_id: str) -> bool:
        """Copy the next batch of a task's events; whether there may be more."""
        with self._database.read() as session:
            task = session.get(TaskRow, task_id)
            if task is None:
                return False
        run = self._ensure_run(task)
        with self._database.read() as session:
            row = session.get_one(MirrorRow, task_id)
            batch = events.after(session, task_id, row.n, _BATCH)
        if not row.is_described:
            self._tracking.describe(run.run_id, _params(task), _tags(task))
        steps = dict(row.steps)
        self._tracking.log_points(run.run_id, _points(batch, steps))
        for entry in batch:
            if entry.kind == "checkpoint":
                self._checkpoint(run, task, entry)
        moves = [entry for entry in batch if entry.kind == "state"]
        last = State(moves[-1].payload["state"]) if moves else None
        if last is not None and last.is_terminal:
            self._tracking.describe(run.run_id, {}, _tags(task))
            self._tracking.finish(run.run_id, _RUN_STATUS[last], int(moves[-1].time.timestamp() * 1000))
        elif any(entry.payload["state"] == State.PENDING and entry.n > 1 for entry in moves):
            self._tracking.finish(run.run_id, "RUNNING", None)  # perhaps its user continued it
        with self._database.write() as session:
            kept = session.get(MirrorRow, task_id)
            if kept is None:  # deleted meanwhile
                return False
            kept.is_described = True
            kept.steps = steps
            kept.n = batch[-1].n if batch else kept.n
        return len(batch) == _BATCH

    def _checkpoint(self, run: Run, task: TaskRow, entry: EventRow) -> None:
        payload = entry.payload
        with self._database.read() as session:
            recent = events.last_of_kind(session, task.id, "metrics", _RECENT, before=entry.n)
        # A model's metric is a point of its run too: the very point that is there, or the curve would get a second one.
        latest: dict[str, Point] = {}
        for measured in recent:
            if measured.payload["step"] <= payload["step"]:
                latest |= {point.name: point for point in _points_of(measured)}
        points = [latest[name] for name in payload["metrics"] if name in latest]
        tags = {"tunesmith.task_id": task.id, "tunesmith.step": str(payload["step"])}
        name = f"{task.id}-{checkpoint_name(payload['step'])}"
        _show_in_run(run, payload["uri"])
        self._tracking.log_checkpoint(run, name, payload["uri"], tags, points)


def _show_in_run(run: Run, uri: str) -> None:
    """Let the run's own artifact folder show a checkpoint that was saved elsewhere (MLflow was away at the start).

    On one machine by hard links: one copy with two names. In S3 the run keeps a tag with the place instead.
    """
    source, artifacts = local_path(uri), local_path(run.artifact_uri)
    if source is None or artifacts is None or source.is_relative_to(artifacts) or not source.is_dir():
        return
    target = artifacts / CHECKPOINTS / source.name
    if not target.exists():
        with contextlib.suppress(OSError):  # another file system: the tag says where it lies
            shutil.copytree(source, target, copy_function=os.link)


def _points_of(entry: EventRow) -> list[Point]:
    step, stamp = entry.payload["step"], int(entry.time.timestamp() * 1000)
    return [Point(name, value, step, stamp) for name, value in entry.payload["values"].items()]


def _points(batch: Sequence[EventRow], steps: dict[str, int]) -> list[Point]:
    """The batch's measurements that were not mirrored yet; `steps` is brought up to date."""
    points = []
    for entry in batch:
        for point in _points_of(entry) if entry.kind == "metrics" else ():
            if point.step > steps.get(point.name, -1):
                points.append(point)
                steps[point.name] = point.step
    return points


def _params(task: TaskRow) -> dict[str, str]:
    return {
        name: ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in task.spec.items()
        if value is not None
    }


def _tags(task: TaskRow) -> dict[str, str]:
    tags = {
        "tunesmith.task_id": task.id,
        "tunesmith.kind": task.kind,
        "tunesmith.state": task.state,
        "tunesmith.attempt": str(task.attempt),
        "tunesmith.tags": ",".join(task.tags),
    }
    if task.reason:
        tags["tunesmith.reason"] = task.reason
    if task.artifact_uri:
        tags["tunesmith.artifact_uri"] = task.artifact_uri
    return tags
