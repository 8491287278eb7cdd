"""What to do about a task, from what is recorded of it and what was seen of its job. Pure: values in, a value out.

The table that a test walks through entirely:

| job | no last word | last word arrived |
|---|---|---|
| unreachable | wait | wait |
| absent, never recorded as submitted | submit (again), or end on a stop | end |
| absent, was submitted | try again or give up; on a stop: stopped | end as it said |
| waiting or running | wait; on a stop before training, or after the grace if it stands still: kill | wait, then kill |
| running, and nothing heard for long | kill, then as when it is over | wait, then kill |
| over | try again or give up; on a stop: stopped | end as it said |
"""

import datetime as dt
import math
from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum

from tunesmith.activity import ACTIVITIES, Activity
from tunesmith.events import Finished
from tunesmith.lifecycle import REASONS, Desired, Reason, State
from tunesmith_platform.backends.protocols import JobStatus, Observation

_SILENT = "Nothing was heard of its job for a while: it was ended. Its node may have been away or overloaded."
LINGER = dt.timedelta(seconds=30)
"""How long a job may stay after its last word."""
KILL_AGAIN = dt.timedelta(seconds=10)
"""After how long an unheeded kill is sent again."""
_RETRIED = (Reason.STORAGE, Reason.JOB_LOST)
"""What a job may say of its end that a new attempt may fix. Lost workers it has tried again by itself."""
_BACKOFF = (2, 5, 15, 30, 60)
"""Seconds before the second, third, ... attempt."""


class AttemptPhase(StrEnum):
    """How far an attempt's way to Ray is recorded."""

    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    CLOSED = "closed"


@dataclass(frozen=True)
class Facts:
    """What is recorded of a task with an open attempt."""

    state: State
    desired: Desired
    phase: AttemptPhase
    training_started: bool
    finished: Finished | None
    finished_age: dt.timedelta | None
    stop_age: dt.timedelta | None
    kill_age: dt.timedelta | None
    attempt: int
    max_restarts: int
    stop_reason: Reason = Reason.STOPPED_BY_USER
    """Why it is to stop, where that is wanted."""
    heard: Hashable = None
    """Changes when something is heard of its job."""
    silent: float = 0.0
    """Seconds for which nothing was heard of its job, neither of its workers nor of its driver."""
    activity: Activity | None = None
    """What its job is busy with."""
    still_age: dt.timedelta | None = None
    """Since when that has not got on, or there is no such thing; None where its job never said."""
    heartbeat_age: dt.timedelta | None = None
    """When its workers were heard of last."""


@dataclass(frozen=True)
class Wait:
    """Nothing to do."""


@dataclass(frozen=True)
class Submit:
    """Hand the attempt to Ray."""


@dataclass(frozen=True)
class NoteSubmitted:
    """Ray has the job already: a crash came between submitting and recording it."""


@dataclass(frozen=True)
class NoteRunning:
    """The job runs."""


@dataclass(frozen=True)
class Kill:
    """End the job's processes."""

    why: str


@dataclass(frozen=True)
class Retry:
    """Close the attempt and wait for the next one."""

    after: dt.timedelta
    message: str


@dataclass(frozen=True)
class End:
    """Close the attempt and the task."""

    state: State
    reason: Reason
    message: str = ""


Decision = Wait | Submit | NoteSubmitted | NoteRunning | Kill | Retry | End


def decide(
    facts: Facts,
    seen: Observation,
    grace: dt.timedelta,
    stall: dt.timedelta = dt.timedelta(seconds=60),
    patience: float = math.inf,
) -> Decision:
    """What to do next.

    Args:
        facts: What is recorded.
        seen: What Ray says of the attempt's job.
        grace: How long a job may take to leave after a stop.
        stall: How long one that says what it is busy with may not get on, beyond that.
        patience: For how many seconds nothing may be heard of a job before it is ended and started again.
    """
    if seen.status is JobStatus.UNREACHABLE:
        return Wait()
    if seen.status is JobStatus.ABSENT and facts.phase is AttemptPhase.SUBMITTING and facts.finished is None:
        return _stopped(facts) if facts.desired is Desired.STOP else Submit()
    if seen.status is JobStatus.ABSENT or seen.status.is_over:
        return _ended(facts, seen)
    if facts.phase is AttemptPhase.SUBMITTING:
        return NoteSubmitted()
    if facts.desired is Desired.STOP and facts.finished is None:
        return _stopping(facts, grace, stall)
    if facts.finished is not None:
        assert facts.finished_age is not None
        if facts.finished_age > LINGER and _may_kill(facts):
            return Kill("It has said its last word and does not leave.")
        return Wait()
    if facts.state is State.PENDING and seen.status is JobStatus.RUNNING:
        return NoteRunning()
    if facts.silent > patience and _may_kill(facts):
        return Kill(f"Nothing was heard of its job for {facts.silent:.0f} s.")
    return Wait()


def _may_kill(facts: Facts) -> bool:
    return facts.kill_age is None or facts.kill_age > KILL_AGAIN


def _stopping(facts: Facts, grace: dt.timedelta, stall: dt.timedelta) -> Decision:
    assert facts.stop_age is not None
    if not _may_kill(facts):
        return Wait()
    activity, still = facts.activity, facts.still_age
    if not facts.training_started and activity is None:
        return Kill("It has not begun to train: there is nothing to save.")
    if facts.stop_age <= grace:
        return Wait()
    if activity is None:
        # What it was busy with may just be over: then it is leaving.
        is_leaving = still is not None and still <= grace
        return Wait() if is_leaving else Kill("It did not leave within the grace period.")
    if still is None or still > stall:
        return Kill(f"It did not get on for {stall.total_seconds():.0f} s. {activity.text_en}.")
    if ACTIVITIES[activity.kind].is_left_on_stop:
        if facts.heartbeat_age is None or facts.heartbeat_age > grace:
            return Kill("It did not leave within the grace period, and nothing is heard of it.")
        if facts.stop_age > grace + stall:
            return Kill("It went on and did not leave.")  # the batch at which it heard of the stop is over
    return Wait()


def _stopped(facts: Facts) -> End:
    never_ran = facts.attempt == 1 and not facts.training_started
    return End(State.STOPPED, Reason.STOPPED_BEFORE_START if never_ran else facts.stop_reason)


def _ended(facts: Facts, seen: Observation) -> Decision:
    said = facts.finished
    if said is not None:
        if said.reason in _RETRIED and said.outcome is State.FAILED and facts.desired is Desired.RUN:
            return _again(facts, said.reason, said.message)
        if (
            said.outcome is State.STOPPED
            and facts.desired is Desired.RUN
            and said.reason is Reason.STOPPED_BY_USER
        ):
            # Told to leave by someone else (a drained node, a reclaimed machine), not by the user.
            return _again(facts, Reason.JOB_LOST, "It was told to leave its node.")
        if said.reason is Reason.STOPPED_BY_USER and facts.stop_reason is not Reason.STOPPED_BY_USER:
            # The job knows that it was told to stop, not why.
            words = REASONS[facts.stop_reason].words
            return End(State.STOPPED, facts.stop_reason, f"{words} {said.message}".strip())
        return End(said.outcome, said.reason, said.message)
    if facts.desired is Desired.STOP:
        return _stopped(facts)
    if facts.kill_age is not None:  # nothing else ends a job that is to run and has not said its last word
        return _again(facts, Reason.JOB_LOST, _SILENT)
    words = "Ray no longer knows the job." if seen.status is JobStatus.ABSENT else f"The job {seen.status}"
    detail = f"{words} without a last word. {seen.message}".strip() if seen.status.is_over else words
    return _again(facts, Reason.JOB_LOST, detail)


def _again(facts: Facts, reason: Reason, message: str) -> Decision:
    if facts.attempt > facts.max_restarts:
        return End(State.FAILED, reason, message)
    delay = _BACKOFF[min(facts.attempt, len(_BACKOFF)) - 1]
    return Retry(dt.timedelta(seconds=delay), message)
