"""The measurements' queries, and the past tasks that tell how fast a model trains here."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from tunesmith.errors import NotFound
from tunesmith.estimate import MeasurementState
from tunesmith.lifecycle import State
from tunesmith.spec.kinds import Feature, supporting
from tunesmith_platform.db.scoping import get, within
from tunesmith_platform.db.tables import AttemptRow, MeasurementRow, TaskRow
from tunesmith_platform.scope import Scope


def require(session: Session, scope: Scope, measurement_id: str) -> MeasurementRow:
    """A measurement.

    Raises:
        NotFound: There is none with this id.
    """
    row = get(session, scope, MeasurementRow, measurement_id)
    if row is None:
        raise NotFound(
            f"There is no estimate `{measurement_id}`.", hint="Ask again with `tunesmith estimate --measure`."
        )
    return row


def newest(
    session: Session, scope: Scope, key: str, states: Sequence[MeasurementState]
) -> MeasurementRow | None:
    """The newest measurement of a key in some states."""
    query = (
        select(MeasurementRow)
        .where(MeasurementRow.key == key, MeasurementRow.state.in_([state.value for state in states]))
        .order_by(MeasurementRow.id.desc())
        .limit(1)
    )
    return session.scalars(within(query, scope, MeasurementRow)).first()


def running(session: Session, scope: Scope) -> Sequence[MeasurementRow]:
    """The measurements under way: one at the most."""
    query = select(MeasurementRow).where(MeasurementRow.state == MeasurementState.MEASURING.value)
    return session.scalars(within(query, scope, MeasurementRow)).all()


def past_tasks(session: Session, scope: Scope, model_path: str, limit: int = 20) -> Sequence[TaskRow]:
    """The newest finished training tasks that started from a model."""
    query = (
        select(TaskRow)
        .where(
            TaskRow.kind.in_(supporting(Feature.CHECKPOINTS)),
            TaskRow.state == State.COMPLETED.value,
            TaskRow.inputs["model_path"].as_string() == model_path,
        )
        .order_by(TaskRow.id.desc())
        .limit(limit)
    )
    return session.scalars(within(query, scope, TaskRow)).all()


def past_starts(session: Session, scope: Scope, limit: int = 10) -> list[float]:
    """Seconds from the submit to the first step of the newest attempts that came so far."""
    query = (
        select(AttemptRow.submitted_at, AttemptRow.training_started_at)
        .where(AttemptRow.training_started_at.is_not(None), AttemptRow.submitted_at.is_not(None))
        .order_by(AttemptRow.created_at.desc())
        .limit(limit)
    )
    return [
        (started - submitted).total_seconds()
        for submitted, started in session.execute(within(query, scope, AttemptRow))
        if submitted and started
    ]
