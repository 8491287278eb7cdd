"""Writes a decision on an attempt down: its phase, the task's state and words, what the event log says of it."""

from sqlalchemy.orm import Session

from tunesmith.events import LogLine, Warned
from tunesmith.lifecycle import State, WaitsFor
from tunesmith_platform.clock import now
from tunesmith_platform.db.tables import AttemptRow, TaskRow
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.reconciler.decisions import (
    AttemptPhase,
    Decision,
    End,
    Kill,
    NoteRunning,
    NoteSubmitted,
    Retry,
    Submit,
    Wait,
)
from tunesmith_platform.scope import INSTALLATION
from tunesmith_platform.tasks import repository
from tunesmith_platform.tasks.moves import Moves
from tunesmith_platform.tasks.view import STARTING


def apply(
    moves: Moves, session: Session, task: TaskRow, attempt: AttemptRow, decision: Decision, *, tail: str
) -> None:
    """Write a decision down.

    Args:
        moves: How a task gets from state to state.
        session: The caller's.
        task: Locked.
        attempt: Its open one.
        decision: What was decided on it.
        tail: The last lines of its log, where it ended badly.
    """
    moment = now()
    match decision:
        case Submit() | NoteSubmitted():
            attempt.phase = AttemptPhase.SUBMITTED
            attempt.submitted_at = attempt.submitted_at or moment
            task.message = "Waiting for the cluster to start it."
        case NoteRunning():
            task.heartbeat_at = task.heartbeat_at or moment
            moves.move(session, INSTALLATION, task, State.RUNNING, message=STARTING)
        case Kill():
            attempt.kill_sent_at = moment
            events.append_own(
                session,
                INSTALLATION,
                task,
                Warned(code="killed", message=decision.why).model_dump(mode="json"),
            )
        case Retry():
            _close(session, task, attempt, tail)
            task.retry_at = moment + decision.after
            message = f"Starting again in {decision.after.total_seconds():.0f} s: {decision.message}"
            warning = Warned(code="restart", message=message)
            events.append_own(session, INSTALLATION, task, warning.model_dump(mode="json"))
            if task.state != State.PENDING:
                moves.move(session, INSTALLATION, task, State.PENDING, message=message)
            task.message = message
            task.waits_for = WaitsFor.BACKOFF
        case End():
            _close(session, task, attempt, tail)
            if decision.state is State.STOPPED and task.state == State.RUNNING:
                moves.move(session, INSTALLATION, task, State.STOPPING)
            if task.state == State.PENDING and decision.state is State.COMPLETED:
                moves.move(session, INSTALLATION, task, State.RUNNING)  # it was quicker than our look
            moves.move(session, INSTALLATION, task, decision.state, decision.reason, decision.message)
        case Wait():
            pass


def _close(session: Session, task: TaskRow, attempt: AttemptRow, tail: str) -> None:
    attempt.phase = AttemptPhase.CLOSED
    attempt.ended_at = now()
    task.is_attempt_open = False
    repository.forget_activity(task)
    if tail:
        line = LogLine(level="error", source="driver", message=tail[-8000:])
        events.append_own(session, INSTALLATION, task, line.model_dump(mode="json"))
