"""How a task moves from state to state: the only place that moves one. Runs in the caller's transaction.

What a task holds while it is not over is booked by a ledger, which is told of its beginning and of its end. Knows that
there is one; knows no quota.
"""

from typing import Protocol

from sqlalchemy.orm import Session

from tunesmith.events import StateChanged
from tunesmith.lifecycle import REASONS, Desired, Reason, State, may_move
from tunesmith_platform.clock import now
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.scope import Scope


class Ledger(Protocol):
    """Books what tasks hold, as far as it is asked here."""

    def reserve(self, session: Session, scope: Scope, task: TaskRow, by: str = ...) -> None:
        """Hold what a task that is about to start, or to go on, plans to save.

        Raises:
            QuotaExceeded: Less is available; nothing is held then.
        """

    def release(self, session: Session, scope: Scope, task: TaskRow) -> None:
        """Give back what is still held for a task that is over."""


class Moves:
    """Moves tasks.

    Args:
        ledger: Books what they hold.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def reserve(self, session: Session, scope: Scope, task: TaskRow, by: str) -> None:
        """Hold what a new task plans to save; see `Ledger.reserve`."""
        self._ledger.reserve(session, scope, task, by)

    def request_stop(
        self, session: Session, scope: Scope, task: TaskRow, reason: Reason = Reason.STOPPED_BY_USER
    ) -> None:
        """Want a task stopped, and remember why. The first reason stays; one that has ended is left as it is."""
        state = State(task.state)
        if state.is_terminal or task.desired == Desired.STOP:
            return
        task.desired = Desired.STOP
        task.stop_requested_at = now()
        task.stop_reason = reason
        if state is State.PENDING and not task.is_attempt_open:
            self.move(
                session, scope, task, State.STOPPED, reason if task.attempt else Reason.STOPPED_BEFORE_START
            )
        elif state is State.RUNNING:
            why = "" if reason is Reason.STOPPED_BY_USER else f"{REASONS[reason].words} "
            self.move(
                session,
                scope,
                task,
                State.STOPPING,
                message=f"{why}Stopping: it saves a checkpoint, then leaves.",
            )
        else:
            task.message = "Stopping before it has started."

    def move(
        self,
        session: Session,
        scope: Scope,
        task: TaskRow,
        state: State,
        reason: Reason | None = None,
        message: str = "",
        *,
        is_continued: bool = False,
    ) -> None:
        """Move a task to another state: the only place that does."""
        is_legal = may_move(State(task.state), state, is_continued=is_continued)
        assert is_legal, f"{task.state} -> {state}"
        task.state = state
        task.reason = reason
        task.message = message or (REASONS[reason].words if reason else "")
        task.waits_for = None
        if state.is_terminal:
            task.ended_at = now()
        if state is State.RUNNING and task.started_at is None:
            task.started_at = now()
        events.append_state(
            session, scope, task, StateChanged(state=state, reason=reason, message=task.message)
        )
        if state.is_terminal:
            self._ledger.release(session, scope, task)
        elif is_continued:
            task.stop_reason = None
            self._ledger.reserve(session, scope, task)
