"""Every combination of what may be recorded and what may be seen, held against the rules in words."""

import datetime as dt
import itertools
from dataclasses import replace

import pytest

from tunesmith.activity import Activity, ActivityKind, Unit
from tunesmith.events import Finished
from tunesmith.lifecycle import REASONS, Desired, Reason, State, may_move
from tunesmith_platform.backends.protocols import JobStatus, Observation
from tunesmith_platform.reconciler.decisions import (
    AttemptPhase,
    End,
    Facts,
    Kill,
    NoteRunning,
    NoteSubmitted,
    Retry,
    Submit,
    Wait,
    decide,
)

GRACE = dt.timedelta(seconds=12)
SHORT, LONG = dt.timedelta(seconds=1), dt.timedelta(minutes=5)

FINISHED = [
    None,
    Finished(outcome=State.COMPLETED, reason=Reason.COMPLETED),
    Finished(outcome=State.STOPPED, reason=Reason.STOPPED_BY_USER),
    Finished(outcome=State.FAILED, reason=Reason.BAD_DATA),
    Finished(outcome=State.FAILED, reason=Reason.WORKER_LOST),
]
COMBINATIONS = [
    (
        Facts(state, desired, phase, training, finished, age if finished else None, stop, kill, attempt, 1),
        status,
    )
    for state, desired, phase, training, finished, age, stop, kill, attempt, status in itertools.product(
        (State.PENDING, State.RUNNING, State.STOPPING),
        Desired,
        (AttemptPhase.SUBMITTING, AttemptPhase.SUBMITTED),
        (False, True),
        FINISHED,
        (SHORT, LONG),
        (None, SHORT, LONG),
        (None, SHORT, LONG),
        (1, 2),
        JobStatus,
    )
    # A stop has an age exactly when it was asked for; only a stopped task is stopping.
    if (stop is None) == (desired is Desired.RUN) and (state is not State.STOPPING or desired is Desired.STOP)
]


def test_every_combination_has_a_decision_that_the_lifecycle_allows() -> None:
    assert len(COMBINATIONS) > 5000
    for facts, status in COMBINATIONS:
        decision = decide(facts, Observation(status), GRACE)
        if isinstance(decision, End):
            # The loop goes through `stopping` or `running` where the last step alone is not in the table.
            path = may_move(facts.state, decision.state) or (
                (facts.state is State.RUNNING and decision.state is State.STOPPED)
                or (facts.state is State.PENDING and decision.state is State.COMPLETED)
            )
            assert path, (facts, status, decision)
            assert REASONS[decision.reason].end is decision.state, (facts, status, decision)


def test_an_unreachable_ray_changes_nothing() -> None:
    for facts, status in COMBINATIONS:
        if status is JobStatus.UNREACHABLE:
            assert decide(facts, Observation(status), GRACE) == Wait()


def test_a_stop_never_leads_to_another_start() -> None:
    for facts, status in COMBINATIONS:
        if facts.desired is Desired.STOP:
            decision = decide(facts, Observation(status), GRACE)
            assert not isinstance(decision, Submit), (facts, status)
            if isinstance(decision, Retry):
                pytest.fail(f"a stopped task would start again: {facts} {status}")


def test_a_live_job_is_never_abandoned() -> None:
    """While a job may have processes, its attempt stays open: nothing ends and nothing else starts."""
    for facts, status in COMBINATIONS:
        if status in (JobStatus.PENDING, JobStatus.RUNNING):
            decision = decide(facts, Observation(status), GRACE)
            assert isinstance(decision, Wait | NoteRunning | NoteSubmitted | Kill), (facts, status, decision)


def test_silence_ends_a_job_that_is_to_train_and_changes_nothing_else() -> None:
    ended = 0
    for facts, status in COMBINATIONS:
        heard = decide(facts, Observation(status), GRACE, patience=75)
        silent = decide(replace(facts, silent=76), Observation(status), GRACE, patience=75)
        if silent != heard:
            ended += 1
            assert (type(silent), type(heard)) == (Kill, Wait), (facts, status)
            assert status in (JobStatus.PENDING, JobStatus.RUNNING)
            assert facts.desired is Desired.RUN
            assert facts.finished is None
            assert facts.kill_age in (None, LONG), "a kill has its time"
    assert ended


def test_what_the_job_said_last_decides_how_it_ends() -> None:
    for facts, status in COMBINATIONS:
        if facts.finished is None or not status.is_over:
            continue
        decision = decide(facts, Observation(status), GRACE)
        if facts.finished.outcome is State.COMPLETED or facts.desired is Desired.STOP:
            assert isinstance(decision, End)
            assert decision.state is facts.finished.outcome
        elif facts.finished.reason is Reason.BAD_DATA:
            assert decision == End(State.FAILED, Reason.BAD_DATA)


def test_a_lost_job_is_tried_again_within_its_budget() -> None:
    def lost(attempt: int) -> object:
        facts = Facts(
            State.RUNNING,
            Desired.RUN,
            AttemptPhase.SUBMITTED,
            True,
            None,
            None,
            None,
            None,
            attempt,
            max_restarts=1,
        )
        return decide(facts, Observation(JobStatus.ABSENT), GRACE)

    assert isinstance(lost(1), Retry)
    final = lost(2)
    assert isinstance(final, End)
    assert (final.state, final.reason) == (State.FAILED, Reason.JOB_LOST)


@pytest.mark.parametrize(
    ("training", "stop_age", "expected"), [(False, SHORT, Kill), (True, SHORT, Wait), (True, LONG, Kill)]
)
def test_a_stop_gives_a_trainer_time_to_save_and_nobody_else(
    training: bool, stop_age: dt.timedelta, expected: type
) -> None:
    facts = Facts(
        State.STOPPING, Desired.STOP, AttemptPhase.SUBMITTED, training, None, None, stop_age, None, 1, 3
    )
    assert isinstance(decide(facts, Observation(JobStatus.RUNNING), GRACE), expected)


SAVES = Activity(kind=ActivityKind.SAVING, done=1, total=2, unit=Unit.BYTES)
EVALUATES = Activity(kind=ActivityKind.EVALUATING, done=1, total=2, unit=Unit.BATCHES)
TRAINS = Activity(kind=ActivityKind.TRAINING, done=7, unit=Unit.BATCHES)
STALL = dt.timedelta(seconds=60)


@pytest.mark.parametrize(
    ("activity", "stop_age", "still", "expected"),
    [
        (None, 13, None, Kill),  # it never said what it does
        (None, 11, None, Wait),
        (None, 500, 11, Wait),  # what it said is just over: it leaves
        (None, 500, 13, Kill),
        (SAVES, 13, 59, Wait),
        (SAVES, 5000, 59, Wait),  # as long as bytes come, it has time
        (SAVES, 5000, 61, Kill),
        (SAVES, 5, 61, Wait),  # within the grace nobody is ended
        (SAVES, 13, None, Kill),
        (EVALUATES, 13, 59, Wait),  # the batch under way
        (EVALUATES, 61, 61, Kill),
        (EVALUATES, 71, 1, Wait),
        (EVALUATES, 73, 1, Kill),  # it takes batch after batch, and does not heed the stop
        (TRAINS, 13, 12, Wait),
        (TRAINS, 73, 1, Kill),
    ],
)
@pytest.mark.parametrize("has_begun", [True, False])
def test_a_job_that_is_to_stop_has_time_as_long_as_it_gets_on(
    activity: Activity | None, stop_age: float, still: float | None, expected: type, has_begun: bool
) -> None:
    if activity is None and not has_begun:
        expected = Kill  # there is nothing to save
    facts = Facts(
        State.STOPPING, Desired.STOP, AttemptPhase.SUBMITTED, has_begun, None, None,
        dt.timedelta(seconds=stop_age), None, 1, 3,
        activity=activity, still_age=None if still is None else dt.timedelta(seconds=still), heartbeat_age=SHORT,
    )  # fmt: skip
    decision = decide(facts, Observation(JobStatus.RUNNING), GRACE, STALL)
    assert isinstance(decision, expected), decision
    if isinstance(decision, Kill) and activity is SAVES and still is not None:
        assert "60 s" in decision.why
        assert "Saving: 1 of 2 B" in decision.why
    # Of a task that nobody stops, what it is busy with and for how long changes nothing.
    running = replace(facts, state=State.RUNNING, desired=Desired.RUN, stop_age=None)
    assert decide(running, Observation(JobStatus.RUNNING), GRACE, STALL) == Wait()


@pytest.mark.parametrize(("activity", "expected"), [(TRAINS, Kill), (EVALUATES, Kill), (SAVES, Wait)])
def test_the_word_of_a_job_that_is_not_heard_of_counts_for_what_it_saves_alone(
    activity: Activity, expected: type
) -> None:
    """A frozen worker said that it trains; it does not finish its batch."""
    facts = Facts(
        State.STOPPING, Desired.STOP, AttemptPhase.SUBMITTED, True, None, None, dt.timedelta(seconds=14), None, 1, 3,
        activity=activity, still_age=dt.timedelta(seconds=13), heartbeat_age=dt.timedelta(seconds=13),
    )  # fmt: skip
    assert isinstance(decide(facts, Observation(JobStatus.RUNNING), GRACE, STALL), expected)
    heard = replace(facts, heartbeat_age=SHORT)
    assert decide(heard, Observation(JobStatus.RUNNING), GRACE, STALL) == Wait()
