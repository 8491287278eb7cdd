"""Taking a job's reports, and reading the log they make."""

import hmac
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.orm import Session, load_only

from tunesmith import views
from tunesmith.errors import NotFound, SequenceGap, StaleAttempt, Unauthorized
from tunesmith.events import CheckpointSaved, JobEvent, Report, ReportReceipt
from tunesmith.job import read_secret, report_token
from tunesmith.lifecycle import Desired, Reason, State
from tunesmith_platform.checkpoints import repository as checkpoints
from tunesmith_platform.clock import now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import AttemptRow, EventRow, TaskRow
from tunesmith_platform.events import repository
from tunesmith_platform.events.hub import Hub
from tunesmith_platform.quota import ledger
from tunesmith_platform.series import folding
from tunesmith_platform.tasks import repository as tasks
from tunesmith_platform.tasks.service import request_stop

_REPORTED_ON = load_only(
    TaskRow.attempt,
    TaskRow.is_attempt_open,
    TaskRow.state,
    TaskRow.desired,
    TaskRow.save_requests,
    TaskRow.events,
    TaskRow.folded,
    TaskRow.progress,
    TaskRow.heartbeat_at,
)
"""What a report needs of its task: the specification is large, and reports are many."""


class EventService:
    """The event log of every task."""

    def __init__(self, database: Database, hub: Hub, report_secret_file: Path) -> None:
        self._database = database
        self._hub = hub
        self._secret_file = report_secret_file
        self.lag_seconds: float | None = None
        """From the newest event of the last report, on the job's clock, until it was stored."""

    def authorize(self, task_id: str, attempt: int, token: str) -> None:
        """Let only the attempt itself report.

        Raises:
            Unauthorized: The token is not this attempt's.
        """
        expected = report_token(read_secret(self._secret_file), task_id, attempt)
        if not hmac.compare_digest(expected.encode(), token.encode()):
            raise Unauthorized("This token may not report for this attempt.")

    def ingest(self, task_id: str, report: Report) -> ReportReceipt:
        """Store a report's events exactly once.

        Raises:
            NotFound: No such task or attempt.
            StaleAttempt: The attempt is over, or a newer one has begun.
            SequenceGap: Events before these have not arrived; `details.expected_seq` says where to go on.
        """
        with self._database.write() as session:
            task = tasks.locked(session, task_id, _REPORTED_ON)
            attempt = session.get(AttemptRow, (task_id, report.attempt))
            if attempt is None:
                raise NotFound(f"Task `{task_id}` has no attempt {report.attempt}.")
            if report.attempt != task.attempt or not task.is_attempt_open or State(task.state).is_terminal:
                raise StaleAttempt(
                    f"Attempt {report.attempt} of `{task_id}` is over.",
                    details={"last_seq": attempt.last_seq},
                )
            fresh = [event for event in report.events if event.seq > attempt.last_seq]
            for expected, event in enumerate(fresh, start=attempt.last_seq + 1):
                if event.seq != expected:
                    raise SequenceGap(
                        f"Event {expected} has not arrived yet.", details={"expected_seq": expected}
                    )
            task.heartbeat_at = now()
            before = task.events
            repository.append(session, task, attempt, fresh)
            folding.fold(session, task, before, fresh)
            _charge(session, task, attempt, fresh)
            receipt = _receipt(session, task, attempt)
        if fresh:
            self.lag_seconds = max(0.0, (now() - fresh[-1].time).total_seconds())
            self._hub.notify(task_id)
        return receipt

    def received(self, task_id: str, attempt: int, token: str) -> ReportReceipt:
        """How far an attempt's reports are stored. The attempt itself may ask, and the current one."""
        with self._database.read() as session:
            task = tasks.require(session, task_id)
            row = session.get(AttemptRow, (task_id, attempt))
            receipt = _receipt(session, task, row) if row is not None else None
        if receipt is None:
            raise NotFound(f"Task `{task_id}` has no attempt {attempt}.")
        try:
            self.authorize(task_id, attempt, token)
        except Unauthorized:
            self.authorize(task_id, task.attempt, token)
        return receipt

    def page(
        self, task_id: str, after: int, limit: int, kinds: Sequence[str] | None = None
    ) -> views.Page[views.EventView]:
        """Part of a task's log, oldest first."""
        with self._database.read() as session:
            tasks.require(session, task_id)
            rows = repository.after(session, task_id, after, limit + 1, kinds)
        return views.Page.of([event_view(row) for row in rows], limit, lambda event: event.n)

    def logs(
        self, task_id: str, tail: int, levels: Sequence[str] | None, after: int | None
    ) -> views.Page[views.LogView]:
        """Log lines: the last `tail`, or those after a number."""
        with self._database.read() as session:
            tasks.require(session, task_id)
            if after is None:
                rows: Sequence[EventRow] = repository.last_of_kind(
                    session, task_id, "log", tail, level=levels
                )
                more = False
            else:
                found = repository.after(session, task_id, after, tail + 1, ["log"])
                rows, more = found[:tail], len(found) > tail
        data = [
            views.LogView(
                n=row.n, time=row.time, **{k: row.payload[k] for k in ("level", "source", "message")}
            )
            for row in rows
            if not levels or row.payload["level"] in levels
        ]
        return views.Page(data=data, has_more=more, next=str(rows[-1].n) if more else None)


def _receipt(session: Session, task: TaskRow, attempt: AttemptRow) -> ReportReceipt:
    return ReportReceipt(
        last_seq=attempt.last_seq,
        desired=Desired(task.desired),
        save_now=task.save_requests,
        pinned=checkpoints.pinned_steps(session, task.id),
    )


def _charge(session: Session, task: TaskRow, attempt: AttemptRow, fresh: Sequence[JobEvent]) -> None:
    saved = [event.payload.step for event in fresh if isinstance(event.payload, CheckpointSaved)]
    if saved and ledger.charge(session, task, saved) and attempt.finished is None:
        request_stop(session, task, Reason.QUOTA)


def event_view(row: EventRow) -> views.EventView:
    """An entry as the API shows it."""
    return views.EventView.model_validate(
        {"n": row.n, "attempt": row.attempt, "time": row.time, "payload": row.payload}
    )
