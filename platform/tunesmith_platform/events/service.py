"""Taking a job's reports, and reading the log they make."""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from tunesmith import views
from tunesmith.errors import NotFound, Unauthorized
from tunesmith.events import Report, ReportReceipt
from tunesmith.job import read_secret, report_token
from tunesmith.lifecycle import Desired
from tunesmith_platform.checkpoints import repository as checkpoints
from tunesmith_platform.clock import now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import EventRow
from tunesmith_platform.event_log import repository
from tunesmith_platform.event_log.listeners import Listeners
from tunesmith_platform.events import ingest
from tunesmith_platform.events.batching import ReportBatcher
from tunesmith_platform.events.ingest import Addressed, Fold
from tunesmith_platform.hub import Hub
from tunesmith_platform.scope import INSTALLATION, Scope
from tunesmith_platform.tasks import repository as tasks

_MOST_KNOWN = 10_000
"""Tokens whose attempts are remembered."""
_TRIED_ANYHOW = 32
"""Attempts that a token is held against where the task has fewer."""
_LANES = 4
"""Transactions with reports that PostgreSQL is given at once; SQLite has one writer anyway."""


class EventService:
    """The event log of every task.

    Args:
        database: Holds it.
        hub: Is told of what is new.
        report_secret_file: What the attempts' tokens are made of.
        folding: Brings what folds measurements into chunks.
        listeners: Who hears of events that say more than a number.
    """

    def __init__(
        self,
        database: Database,
        hub: Hub,
        report_secret_file: Path,
        folding: Callable[[], Fold],
        listeners: Listeners,
    ) -> None:
        self._database = database
        self._hub = hub
        self._secret_file = report_secret_file
        self._known_secret: tuple[int, str] | None = None
        self._known_attempts: dict[str, int] = {}
        self._folding = folding
        self._listeners = listeners
        lanes = 1 if database.is_sqlite else _LANES
        self._batcher = ReportBatcher(self._ingest, lanes, listeners)
        self.lag_seconds: float | None = None
        """From the newest event of the last report, on the job's clock, until it was stored."""

    async def attempt_of(self, task_id: str, token: str) -> int:
        """Which attempt of a task a token is of, before anything that it sends is read.

        Raises:
            Unauthorized: It is of none.
        """
        secret = self._secret()
        name = hashlib.sha256(f"{secret}:{task_id}:{token}".encode()).hexdigest()
        known = self._known_attempts.get(name)
        if known is None:
            known = await run_in_threadpool(self._find_attempt, secret, task_id, token)
            if len(self._known_attempts) >= _MOST_KNOWN:
                self._known_attempts.clear()
            self._known_attempts[name] = known
        return known

    def _find_attempt(self, secret: str, task_id: str, token: str) -> int:
        with self._database.read() as session:
            task = tasks.known(session, INSTALLATION, task_id)
            newest = task.attempt if task is not None else 0
        # A deleted task's job, too, is told that its task is gone, not that its token is wrong.
        for attempt in range(max(newest, _TRIED_ANYHOW), 0, -1):
            if _is_token(secret, task_id, attempt, token):
                return attempt
        raise _not_this_attempts()

    @staticmethod
    def expect(attempt: int, own: int) -> None:
        """Hold the attempt that a report names against the one whose token it came with.

        Raises:
            Unauthorized: They differ.
        """
        if attempt != own:
            raise _not_this_attempts()

    def _secret(self) -> str:
        # Reports are too many to read the file for each.
        written = self._secret_file.stat().st_mtime_ns
        if self._known_secret is None or self._known_secret[0] != written:
            self._known_secret = written, read_secret(self._secret_file)
        return self._known_secret[1]

    async def take(self, task_id: str, report: Report) -> ReportReceipt:
        """As `ingest`, on the event loop: with the reports of other tasks that arrive at the same time."""
        return await self._batcher.put((task_id, report))

    def ingest(self, task_id: str, report: Report) -> ReportReceipt:
        """Store a report's events exactly once.

        Raises:
            NotFound: No such task or attempt.
            StaleAttempt: The attempt is over, or a newer one has begun.
            SequenceGap: Events before these have not arrived; `details.expected_seq` says where to go on.
        """
        (answer,) = self._ingest([(task_id, report)])
        if isinstance(answer, ReportReceipt):
            return answer
        raise answer

    def _ingest(self, reports: Sequence[Addressed]) -> Sequence[ReportReceipt | Exception]:
        fold = self._folding()  # numpy comes with it: not while a lock is held
        with self._database.write() as session:
            answers = ingest.take(session, INSTALLATION, reports, fold, self._listeners)
        for (task_id, report), answer in zip(reports, answers, strict=True):
            if report.events and isinstance(answer, ReportReceipt):
                self.lag_seconds = max(0.0, (now() - report.events[-1].time).total_seconds())
            if (report.events or report.silent is not None) and isinstance(answer, ReportReceipt):
                self._hub.notify(task_id)
        return answers

    def close(self) -> None:
        """End the thread that stores reports."""
        self._batcher.close()

    def received(self, task_id: str, attempt: int, own: int) -> ReportReceipt:
        """How far an attempt's reports are stored. The attempt itself may ask, and the current one.

        Args:
            task_id: The task.
            attempt: Which one's.
            own: The attempt that asks, as its token says; see `attempt_of`.

        Raises:
            Unauthorized: Another one asks.
            NotFound: No such task or attempt.
        """
        with self._database.read() as session:
            task = tasks.require(session, INSTALLATION, task_id)
            row = tasks.attempt_of(session, INSTALLATION, task_id, attempt)
            pinned = checkpoints.spared_steps(session, INSTALLATION, [task_id])
            listed = checkpoints.steps(session, INSTALLATION, task_id)
        if own not in (attempt, task.attempt):
            raise _not_this_attempts()
        if row is None:
            raise NotFound(f"Task `{task_id}` has no attempt {attempt}.")
        return ReportReceipt(
            last_seq=row.last_seq,
            desired=Desired(task.desired),
            save_now=task.save_requests,
            early_stop=task.early_stop,
            pinned=pinned.get(task_id, []),
            listed=listed,
        )

    def page(
        self, scope: Scope, task_id: str, after: int, limit: int, kinds: Sequence[str] | None = None
    ) -> views.Page[views.EventView]:
        """Part of a task's log, oldest first."""
        with self._database.read() as session:
            tasks.require(session, scope, task_id)
            rows = repository.after(session, scope, task_id, after, limit + 1, kinds)
        return views.Page.of([event_view(row) for row in rows], limit, lambda event: event.n)

    def logs(
        self, scope: Scope, task_id: str, tail: int, levels: Sequence[str] | None, after: int | None
    ) -> views.Page[views.LogView]:
        """Log lines: the last `tail`, or those after a number."""
        with self._database.read() as session:
            tasks.require(session, scope, task_id)
            if after is None:
                rows: Sequence[EventRow] = repository.last_of_kind(
                    session, scope, task_id, "log", tail, level=levels
                )
                more = False
            else:
                found = repository.after(session, scope, task_id, after, tail + 1, ["log"])
                rows, more = found[:tail], len(found) > tail
        data = [
            views.LogView(
                n=row.n, time=row.time, **{k: row.payload[k] for k in ("level", "source", "message")}
            )
            for row in rows
            if not levels or row.payload["level"] in levels
        ]
        return views.Page(data=data, has_more=more, next=str(rows[-1].n) if more else None)


def _is_token(secret: str, task_id: str, attempt: int, token: str) -> bool:
    return hmac.compare_digest(report_token(secret, task_id, attempt).encode(), token.encode())


def _not_this_attempts() -> Unauthorized:
    return Unauthorized("This token may not report for this attempt.")


def event_view(row: EventRow) -> views.EventView:
    """An entry as the API shows it."""
    return views.EventView.model_validate(
        {"n": row.n, "attempt": row.attempt, "time": row.time, "payload": row.payload}
    )
