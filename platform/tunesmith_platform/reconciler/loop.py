"""The loop: admit what may start, then look after every open attempt: claim, observe, decide, act, record.

Level-triggered: it looks at what is, not at what happened; events only wake it earlier. No network call is made while
a transaction is open, and nothing is recorded without the task's lease.
"""

import datetime as dt
import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from tunesmith.errors import TunesmithError
from tunesmith.events import Warned
from tunesmith.job import AttemptDocument, JobDocument, ray_job_id
from tunesmith.lifecycle import Desired, Reason, State
from tunesmith.removal import claim_storage
from tunesmith.secret_values import words_without_secrets
from tunesmith.spec.kinds import Feature, Room, kind_of
from tunesmith.storage import local_path, open_storage
from tunesmith_platform.backends.protocols import Jobs, JobStatus, Observation
from tunesmith_platform.clock import now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import AttemptRow, TaskRow
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.hub import Hub
from tunesmith_platform.leases import Lease, is_gone, new_owner, term
from tunesmith_platform.loops import Loop
from tunesmith_platform.mirror.service import Mirror
from tunesmith_platform.queue import repository as queue
from tunesmith_platform.reconciler import admission
from tunesmith_platform.reconciler.applying import apply
from tunesmith_platform.reconciler.decisions import (
    Decision,
    End,
    Facts,
    Kill,
    Retry,
    Submit,
    Wait,
    decide,
)
from tunesmith_platform.reconciler.facts import facts_of
from tunesmith_platform.reconciler.last_heard import Listening
from tunesmith_platform.scope import INSTALLATION
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks import repository, stop_markers
from tunesmith_platform.tasks.kinds.registry import Kinds
from tunesmith_platform.tasks.moves import Moves

logger = logging.getLogger(__name__)

_LEASE = dt.timedelta(seconds=30)
"""Of one task."""
_ADMISSION = dt.timedelta(seconds=5)
"""The lease of the queue."""
_REST = 6
"""How many times as long as a round took the next one waits, while events come without end."""
_RESUBMIT_SECONDS = 2.0
_LEAVE_AGAIN_SECONDS = 10.0
_LOG_TAIL = 40
_TROUBLE = (
    "The platform cannot look after this task just now and goes on trying; `tunesmith logs api` says more:"
)
_WARNINGS = 20
"""The newest warnings among which one is looked for that was given already."""
SILENT_CODE = "silent"


class Services(Protocol):
    """The parts that the loop works with."""

    database: Database
    hub: Hub
    jobs: Jobs
    kinds: Kinds
    moves: Moves
    settings: Settings


class Reconciler(Loop):
    """Brings every task to what its user wants of it.

    Args:
        services: The parts that it works with.
        mirror: What makes the tasks' runs.
        hears: Whether somebody hears what jobs report; what is silent meanwhile is not.
    """

    gather_seconds = 0.05
    idle_seconds = 0.5
    failed_seconds = 2.0

    def __init__(
        self, services: Services, mirror: Mirror | None, hears: Callable[[], bool] = lambda: True
    ) -> None:
        super().__init__(services.hub)
        self._hears = hears
        self._services = services
        self.mirror = mirror
        """What makes the tasks' runs; another one when it was started again."""
        self._owner = new_owner()
        self._scheduler = Lease(services.database, "scheduler", _ADMISSION, self._owner)
        self._submit_after: dict[str, float] = {}
        self._listening_since = now()
        self._leave_stop_at: dict[str, tuple[int, float]] = {}
        """By task: the attempt whose stop was left last, and when that is to be tried again."""
        self._listening = Listening()

    def begin(self) -> None:
        """Say which tasks were under way before; what troubled an earlier loop is said again if it still does."""
        self._listening_since = now()
        self._take_over()
        with self._services.database.read() as session:
            for task_id in queue.to_reconcile(session, INSTALLATION):
                logger.info("taking up %s where it was", task_id)
            troubled = queue.live_with_message(session, INSTALLATION, _TROUBLE)
        if troubled:
            with self._services.database.write() as session:
                for task_id in troubled:
                    _take_back(repository.locked(session, INSTALLATION, task_id))

    def _take_over(self) -> None:
        """Free the tasks of processes of this machine that are gone: nobody need wait for their leases."""
        with self._services.database.read() as session:
            gone = [owner for owner in queue.lease_owners(session, INSTALLATION) if is_gone(owner)]
        if gone:
            with self._services.database.write() as session:
                queue.free_leases(session, INSTALLATION, gone)

    def end(self) -> None:
        """Let another process look after the tasks at once."""
        self._scheduler.release()
        with self._services.database.write() as session:
            queue.free_leases(session, INSTALLATION, [self._owner])

    def pause(self) -> None:
        """Rounds leave most of the time to those who ask and report; what comes after a pause is seen at once."""
        again = time.monotonic() + min(self.idle_seconds, _REST * self.last_seconds)
        self._wake.wait(self.idle_seconds)
        self._stop.wait(max(self.gather_seconds, again - time.monotonic()))

    def tick(self) -> None:
        """One round."""
        self._admit()
        with self._services.database.read() as session:
            todo = frozenset(queue.to_reconcile(session, INSTALLATION))
        self._listening.keep(todo)
        if not self._hears():
            self._listening_since = now()
            self._listening.pause()
        self._leave_stop_at = {name: left for name, left in self._leave_stop_at.items() if name in todo}
        self.each(todo, self.reconcile, told=self._tell_trouble)

    def _tell_trouble(self, task_id: str, error: BaseException | None) -> None:
        """Say in a task's message that we cannot look after it, and take that back once we can."""
        with self._services.database.write() as session:
            task = repository.locked(session, INSTALLATION, task_id)
            if error is not None:
                why = error.message if isinstance(error, TunesmithError) else type(error).__name__
                task.message = f"{_TROUBLE} {why}"[:4000]
            else:
                _take_back(task)

    # --- admission: the queue beyond what runs is ours

    def _admit(self) -> None:
        # What takes no GPU has room of its own: rows are worked on while a model trains.
        limits = self._services.settings.rooms()
        self.each(
            limits.items(), lambda room: self._admit_to(*room), name=lambda room: f"admitting to {room[0]}"
        )

    def _admit_to(self, room: Room, limit: int) -> None:
        moment, database = now(), self._services.database
        # Most rounds have nothing to write: look before taking the write lock.
        with database.read() as session:
            todo = admission.look(session, room, limit, moment)
        if not todo.tasks:
            return
        with database.write() as session:
            if not self._scheduler.take_in(session):
                return
            if todo.why is not None:
                admission.tell(session, todo)
            else:
                admission.admit(session, room, limit, moment)

    # --- one task

    def reconcile(self, task_id: str) -> None:
        """Claim, observe, decide, act, record."""
        with self._services.database.write() as session:
            if not queue.claim(session, INSTALLATION, task_id, self._owner, *term(session, _LEASE)):
                return
            task = repository.locked(session, INSTALLATION, task_id)
            if not task.is_attempt_open:
                return
            attempt = repository.require_attempt(session, INSTALLATION, task_id, task.attempt)
            facts = self._facts(task, attempt)
        if facts.desired is Desired.STOP and facts.finished is None:
            self._leave_stop(task_id, facts.attempt)
        job_id = ray_job_id(task_id, facts.attempt)
        seen = self._services.jobs.observe(job_id)
        if seen.status.is_over or seen.status is JobStatus.ABSENT:
            # Its last reports may have arrived while we looked.
            with self._services.database.read() as session:
                facts = self._facts(
                    repository.require(session, INSTALLATION, task_id),
                    repository.require_attempt(session, INSTALLATION, task_id, facts.attempt),
                )
        settings = self._services.settings
        facts = self._listen(task_id, facts, seen)
        grace = dt.timedelta(seconds=settings.stop_grace_seconds)
        stall = dt.timedelta(seconds=settings.stop_stall_seconds)
        # A driver that lives ends a stuck worker by itself, and speaks again right after.
        patience = settings.stuck_worker_seconds + settings.heartbeat_timeout_seconds
        decision = self._unless_unwanted(task_id, decide(facts, seen, grace, stall, patience))
        if isinstance(decision, Wait):
            self._note_waiting(task_id, facts, seen)
            return
        logger.info("%s: %s -> %s", job_id, seen.status, decision)
        tail = ""
        match decision:
            case Submit():
                if not self._submit(task_id, facts.attempt):
                    return
            case Kill():
                self._services.jobs.kill(job_id)
            case Retry() | End():
                tail = "" if facts.finished else self._services.jobs.log_tail(job_id, _LOG_TAIL)
        self._record(task_id, facts.attempt, decision, tail)

    def _unless_unwanted(self, task_id: str, decision: Decision) -> Decision:
        """A task that would be begun again, and that nobody waits for, is over instead."""
        if not isinstance(decision, Retry):
            return decision
        with self._services.database.read() as session:
            task = repository.require(session, INSTALLATION, task_id)
        if self._services.kinds.of(task.kind).is_wanted(task):
            return decision
        return End(
            State.COMPLETED,
            Reason.COMPLETED,
            f"It is not begun again: nobody waits for it. {decision.message}",
        )

    def _facts(self, task: TaskRow, attempt: AttemptRow) -> Facts:
        return facts_of(task, attempt, self._listening_since)

    def _leave_stop(self, task_id: str, number: int) -> None:
        """See that a stop lies where its job finds it, whoever asked for it and whatever came between."""
        moment = time.monotonic()
        if self._leave_stop_at.get(task_id, (0, 0.0)) <= (number, moment):
            is_left = stop_markers.leave(self._services.settings, task_id, number)
            self._leave_stop_at[task_id] = (number, math.inf if is_left else moment + _LEAVE_AGAIN_SECONDS)

    def _submit(self, task_id: str, number: int) -> bool:
        """Write the attempt's document and hand it to Ray. False when it has to be tried again later."""
        if time.monotonic() < self._submit_after.get(task_id, 0):
            return False
        try:
            # A database that was restored gives a number again: a stop that was left for it is none of this attempt's.
            stop_markers.take_up(self._services.settings, task_id, number)
            with self._services.database.read() as session:
                if repository.require(session, INSTALLATION, task_id).desired == Desired.STOP:
                    return False
            storage = open_storage(self._services.settings.storage_uri)
            documents = f"{storage.uri}/tasks/{task_id}"
            document = self._document(task_id, number).model_copy(update={"documents_uri": documents})
            if isinstance(document, JobDocument):  # of a kind that saves checkpoints
                # Nobody else writes there, as the task's row says; the job may then clear a save that was cut off.
                claim_storage(open_storage(document.artifact_uri), task_id)
            path = f"tasks/{task_id}/attempt-{number}.json"
            storage.write(path, document.model_dump_json(indent=1).encode(), private=True)
            can_be_warm = Feature.WARM in kind_of(document.kind).supports
            self._services.jobs.submit(
                ray_job_id(task_id, number), f"{storage.uri}/{path}", can_be_warm=can_be_warm
            )
        except (TunesmithError, OSError) as error:
            logger.warning("%s could not be submitted: %s", task_id, error)
            self._submit_after[task_id] = time.monotonic() + _RESUBMIT_SECONDS
            with self._services.database.write() as session:
                task = repository.locked(session, INSTALLATION, task_id)
                task.message = f"Waiting: {words_without_secrets(error)}"
            return False
        self._submit_after.pop(task_id, None)
        return True

    def _document(self, task_id: str, number: int) -> AttemptDocument:
        with self._services.database.read() as session:
            task = repository.require(session, INSTALLATION, task_id)
        if task.artifact_uri is None and Feature.CHECKPOINTS in kind_of(task.kind).supports:
            # The run's own artifact folder, so that MLflow shows the same files. An MLflow that is away delays
            # nothing: the files then lie in the task's own folder, and the mirror says where. So they do where MLflow
            # has a folder of this machine and the storage is a bucket: that was chosen for them.
            storage = self._services.settings.storage_uri.rstrip("/")
            place = self.mirror.artifact_uri(task) if self.mirror else None
            if place is not None and local_path(place) is not None and local_path(storage) is None:
                place = None
            task.artifact_uri = place or f"{storage}/tasks/{task_id}/artifacts"
            with self._services.database.write() as session:
                repository.locked(session, INSTALLATION, task_id).artifact_uri = task.artifact_uri
        return self._services.kinds.of(task.kind).document(task, number)

    # --- listening

    def _listen(self, task_id: str, facts: Facts, seen: Observation) -> Facts:
        """Note for how long nothing was heard of a job that runs, and warn of it once."""
        if seen.status is not JobStatus.RUNNING or facts.state is State.PENDING:
            self._listening.forget(task_id)
            return facts
        silent = self._listening.look(task_id, facts.heard)
        if silent >= self._services.settings.heartbeat_timeout_seconds and facts.finished is None:
            self._warn_silent(task_id, facts.attempt, silent)
        return replace(facts, silent=silent)

    def _warn_silent(self, task_id: str, number: int, silent: float) -> None:
        with self._services.database.read() as session:
            task = repository.require(session, INSTALLATION, task_id)
            said = events.last_of_kind(session, INSTALLATION, task_id, "warning", _WARNINGS)
            heard = task.heartbeat_at
            if any(
                row.payload["code"] == SILENT_CODE and (heard is None or row.time >= heard) for row in said
            ):
                return
        with self._services.database.write() as session:
            task = repository.locked(session, INSTALLATION, task_id)
            if task.attempt != number or task.heartbeat_at != heard:
                return
            warning = Warned(
                code=SILENT_CODE,
                message=f"Nothing has been heard of its job for {silent:.0f} s.",
                hint="Its node may be away or overloaded. If it goes on like that, the job is ended and started again.",
            )
            events.append_own(session, INSTALLATION, task, warning.model_dump(mode="json"))
        self._services.hub.notify(task_id)

    # --- recording

    def _note_waiting(self, task_id: str, facts: Facts, seen: Observation) -> None:
        """Say in words what a task that has not begun is waiting for; write only when the words change."""
        if facts.state is not State.PENDING:
            return
        if seen.status is JobStatus.UNREACHABLE:
            message = "Waiting for Ray, which does not answer."
        elif facts.desired is Desired.STOP:
            message = "Stopping before it has started."
        else:
            message = "Waiting for the cluster to start it."
        with self._services.database.read() as session:
            if repository.require(session, INSTALLATION, task_id).message == message:
                return
        with self._services.database.write() as session:
            repository.locked(session, INSTALLATION, task_id).message = message

    def _record(self, task_id: str, number: int, decision: Decision, tail: str) -> None:
        with self._services.database.write() as session:
            task = repository.locked(session, INSTALLATION, task_id)
            if task.lease_owner != self._owner or task.attempt != number or not task.is_attempt_open:
                return  # another took over, or it is over: what we saw is no longer ours to record
            attempt = repository.require_attempt(session, INSTALLATION, task_id, number)
            apply(self._services.moves, session, task, attempt, decision, tail=tail)
        self._services.hub.notify(task_id)


def _take_back(task: TaskRow) -> None:
    """Take back that a task cannot be looked after."""
    if task.message.startswith(_TROUBLE):
        task.message = ""
