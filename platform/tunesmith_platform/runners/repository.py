"""The runners' queries. A runner's state is changed only by a compare-and-set: whoever comes second has lost.

starting -> idle -> assigned -> running
                       |  (was not picked up in time)
                       +-> returned -> (deleted, once Ray has the attempt as a job of its own)
"""

import datetime as dt
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import case, delete, func, select, update
from sqlalchemy.orm import Session

from tunesmith_platform.db.tables import RunnerRow

SEEN = dt.timedelta(seconds=15)
"""A runner that has not asked for so long is given nothing."""
HOPEFUL = dt.timedelta(seconds=30)
"""A runner that is still starting after so long is given nothing: something is wrong with it."""


class RunnerState(StrEnum):
    """How far a runner is."""

    STARTING = "starting"
    IDLE = "idle"
    ASSIGNED = "assigned"
    RUNNING = "running"
    RETURNED = "returned"


def find(session: Session, runner_id: str) -> RunnerRow | None:
    """A runner; None where it was given up."""
    return session.get(RunnerRow, runner_id)


def of_job(session: Session, job_id: str) -> RunnerRow | None:
    """The runner that has, or had, an attempt."""
    return session.scalars(select(RunnerRow).where(RunnerRow.job_id == job_id)).one_or_none()


def in_states(session: Session, *states: RunnerState) -> Sequence[RunnerRow]:
    """The runners in some states, the oldest first."""
    wanted = RunnerRow.state.in_([state.value for state in states])
    return session.scalars(select(RunnerRow).where(wanted).order_by(RunnerRow.id)).all()


def count(session: Session, *states: RunnerState) -> int:
    """How many runners are in some states."""
    wanted = RunnerRow.state.in_([state.value for state in states])
    return session.scalar(select(func.count()).select_from(RunnerRow).where(wanted)) or 0


def newest_assignment(session: Session) -> dt.datetime | None:
    """When a runner was last given a task that it still has, or had."""
    has_one = RunnerRow.state.in_([RunnerState.ASSIGNED.value, RunnerState.RUNNING.value])
    return session.scalar(select(func.max(RunnerRow.assigned_at)).where(has_one))


def pick(session: Session, code: str, moment: dt.datetime) -> RunnerRow | None:
    """The runner that would be the first to begin a task: one that waits, else one that is still starting."""
    waits = (RunnerRow.state == RunnerState.IDLE) & (RunnerRow.seen_at > moment - SEEN)
    starts = (RunnerRow.state == RunnerState.STARTING) & (RunnerRow.created_at > moment - HOPEFUL)
    query = (
        select(RunnerRow)
        .where(RunnerRow.code == code, waits | starts)
        .order_by(case((RunnerRow.state == RunnerState.IDLE, 0), else_=1), RunnerRow.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return session.scalars(query).one_or_none()


def move(session: Session, runner_id: str, to: RunnerState, *before: RunnerState, **values: Any) -> bool:
    """Change a runner's state, if it is one of those given."""
    changed = session.execute(
        update(RunnerRow)
        .where(RunnerRow.id == runner_id, RunnerRow.state.in_([state.value for state in before]))
        .values(state=to.value, **values)
    )
    return bool(changed.rowcount)  # type: ignore[attr-defined]


def remove(session: Session, runner_id: str, *before: RunnerState) -> bool:
    """Forget a runner, if its state is one of those given."""
    gone = session.execute(
        delete(RunnerRow).where(
            RunnerRow.id == runner_id, RunnerRow.state.in_([state.value for state in before])
        )
    )
    return bool(gone.rowcount)  # type: ignore[attr-defined]
