"""What is told about tasks after the fact, and about the platform: autopsy, the full log, the gauges."""

import ipaddress
from collections.abc import Iterator, Mapping

import tunesmith
from tunesmith import views
from tunesmith.autopsy import AttemptFacts, Autopsy, WarningFacts, WorkerLines
from tunesmith.errors import TunesmithError
from tunesmith.events import Finished
from tunesmith.lifecycle import REASONS, Reason, State
from tunesmith.spec.kinds import Feature, kind_of
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.checkpoints.service import CheckpointService
from tunesmith_platform.clock import now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import AttemptRow, EventRow, TaskRow
from tunesmith_platform.estimates.service import EstimateService
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.events.service import EventService
from tunesmith_platform.monitoring import gauges, repository
from tunesmith_platform.monitoring.machines import machines, samples
from tunesmith_platform.monitoring.repository import LogQuery
from tunesmith_platform.notifications import repository as notifications
from tunesmith_platform.scope import INSTALLATION, Scope
from tunesmith_platform.series.service import SeriesService
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks import repository as tasks
from tunesmith_platform.tasks.inputs import TrainInputs

_LINES_EACH = 20
_MOST_WORKERS = 64
_MOST_WARNINGS = 1000
_SHOWN_WARNINGS = 50
_MEMORY_POINTS = 400
_DOWNLOAD_PAGE = 2000


class MonitoringService:
    """Autopsies, logs in full, and the platform's gauges."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        events_service: EventService,
        series: SeriesService,
        checkpoints: CheckpointService,
        estimates: EstimateService,
    ) -> None:
        self._database = database
        self._settings = settings
        self._events = events_service
        self._series = series
        self._checkpoints = checkpoints
        self._estimates = estimates

    # --- the platform

    def exposition(self, reconcile_seconds: float | None, further: Mapping[str, float] | None = None) -> str:
        """The gauges in Prometheus' text format.

        Args:
            reconcile_seconds: How long the reconciler's last round took; None where this process runs none.
            further: Numbers of this process's other parts, by names of `GAUGES`.
        """
        with self._database.read() as session:
            found = repository.counts(session, INSTALLATION)
            by_state = {state.value: 0 for state in State} | tasks.count_by_state(session, INSTALLATION)
            deliveries = notifications.count_by_state(session, INSTALLATION)
            measured = list(samples(repository.newest_samples(session, INSTALLATION)))
        moment = now()
        single = {
            "tunesmith_queue_length": float(found.queue),
            "tunesmith_queue_age_seconds": (
                (moment - found.queued_since).total_seconds() if found.queued_since else 0.0
            ),
            "tunesmith_silence_seconds": (
                (moment - found.heard_least).total_seconds() if found.heard_least else 0.0
            ),
            "tunesmith_events": float(found.events),
            "tunesmith_checkpoints": float(found.checkpoints),
            "tunesmith_checkpoint_bytes": float(found.checkpoint_bytes),
        }
        if self._settings.mlflow_url:
            single["tunesmith_mirror_behind_events"] = float(found.mirror_behind)
        if self._events.lag_seconds is not None:
            single["tunesmith_ingest_lag_seconds"] = self._events.lag_seconds
        if reconcile_seconds is not None:
            single["tunesmith_reconcile_seconds"] = reconcile_seconds
        return gauges.exposition(
            tunesmith.__version__,
            single | dict(further or {}),
            {"tunesmith_tasks": by_state, "tunesmith_deliveries": deliveries},
            measured,
        )

    def is_open_to(self, address: str | None, *, is_forwarded: bool) -> bool:
        """Whether the gauges may be read without a key from an address.

        Args:
            address: Of the one who asks.
            is_forwarded: Whether a proxy asks for somebody else: then its address says nothing.
        """
        if not self._settings.metrics_open_to_loopback or is_forwarded or address is None:
            return False
        try:
            return ipaddress.ip_address(address).is_loopback
        except ValueError:
            return False

    # --- a task's log

    def search(
        self, scope: Scope, task_id: str, wanted: LogQuery, after: int, limit: int
    ) -> views.Page[views.LogView]:
        """The lines of a task's log that match, oldest first."""
        with self._database.read() as session:
            tasks.require(session, scope, task_id)
            rows = repository.log(session, scope, task_id, wanted, after, limit + 1)
        return views.Page.of([_line(row) for row in rows], limit, lambda line: line.n)

    def download(self, scope: Scope, task_id: str, wanted: LogQuery) -> Iterator[bytes]:
        """A task's log as text, part by part; no transaction is open while a part travels."""
        with self._database.read() as session:
            tasks.require(session, scope, task_id)  # before the first byte: an unknown task is a 404
        return self._parts(scope, task_id, wanted)

    def _parts(self, scope: Scope, task_id: str, wanted: LogQuery) -> Iterator[bytes]:
        after = 0
        while True:
            with self._database.read() as session:
                rows = repository.log(session, scope, task_id, wanted, after, _DOWNLOAD_PAGE)
            yield "".join(map(_text, rows)).encode()
            if len(rows) < _DOWNLOAD_PAGE:
                return
            after = rows[-1].n

    # --- the end of a task

    def autopsy(self, scope: Scope, task_id: str) -> Autopsy:
        """The facts of a task's end; of a task that is not over, as they stand."""
        memory = self._series.metrics(scope, task_id, ["memory_bytes"], _MEMORY_POINTS).series.get(
            "memory_bytes", []
        )
        newest = self._checkpoints.page(scope, task_id, None, 1).data
        with self._database.read() as session:
            task = tasks.require(session, scope, task_id)
            attempts = repository.attempts(session, scope, task_id)
            warned = events.last_of_kind(session, scope, task_id, "warning", _MOST_WARNINGS)
            measured = events.last_of_kind(session, scope, task_id, "system", _MEMORY_POINTS)
            workers = [
                WorkerLines(source=source, lines=[_line(row) for row in rows])
                for source, rows in repository.last_lines(session, scope, task_id, _LINES_EACH, _MOST_WORKERS)
            ]
        step = int(task.progress.get("step") or 0)
        facts = REASONS[Reason(task.reason)] if task.reason else None
        words = facts.words if facts else _standing(task)
        return Autopsy(
            task_id=task.id,
            name=task.name,
            state=State(task.state),
            reason=Reason(task.reason) if task.reason else None,
            cause=words,
            message="" if task.message == words else task.message,
            fault=facts.fault if facts else None,
            is_retryable=bool(facts and facts.retryable),
            next_step=f"{facts.next_step} {self._what_fits(task)}".strip() if facts else None,
            ended_at=task.ended_at,
            last_step=step,
            total_steps=int(task.progress.get("total_steps") or 0),
            last_checkpoint=newest[0] if newest else None,
            steps_lost=max(0, step - (newest[0].step if newest else 0)),
            restarts=sum(row.payload["code"] == "restart" for row in warned),
            attempts=[_attempt(row) for row in attempts],
            warnings=[
                WarningFacts(
                    n=row.n, time=row.time, **{k: row.payload.get(k) for k in ("code", "message", "hint")}
                )
                for row in warned[-_SHOWN_WARNINGS:]
            ],
            workers=workers,
            memory=memory,
            peak_memory_bytes=max((point.value for point in memory), default=None),
            machines=machines(measured),
        )

    def _what_fits(self, task: TaskRow) -> str:
        """Of a training that ran out of memory, what would take less of it by the estimate."""
        if task.reason != Reason.OUT_OF_MEMORY or Feature.CHECKPOINTS not in kind_of(task.kind).supports:
            return ""
        try:
            return self._estimates.what_fits(
                TrainSpec.stored(task.spec), TrainInputs.model_validate(task.inputs)
            )
        except (TunesmithError, ValueError, OSError):
            return ""  # the model or its rows are gone: the words that hold for every task stand


def _standing(task: TaskRow) -> str:
    return "It has not ended." if task.state != State.PENDING else "It has not started."


def _attempt(row: AttemptRow) -> AttemptFacts:
    finished = Finished.model_validate(row.finished) if row.finished else None
    return AttemptFacts(
        number=row.number,
        created_at=row.created_at,
        training_started_at=row.training_started_at,
        ended_at=row.ended_at,
        outcome=finished.outcome if finished else None,
        reason=finished.reason if finished else None,
        message=finished.message if finished else "",
        was_killed=row.kill_sent_at is not None,
    )


def _line(row: EventRow) -> views.LogView:
    return views.LogView(
        n=row.n, time=row.time, **{key: row.payload[key] for key in ("level", "source", "message")}
    )


def _text(row: EventRow) -> str:
    stamp = row.time.isoformat(timespec="milliseconds")
    payload = row.payload
    return f"{stamp} {payload['level']:<7} {payload['source']}  {payload['message']}\n"
