"""What a task's way does to its project's quota: reserve at the start, charge a checkpoint, release at the end.

Each function runs in the caller's transaction, which holds the task's row; the project's row is always taken after it.
Nothing is done for a project whose quota is off, nor for a task that was submitted while it was off.

While a task trains it holds at least one, for the checkpoint that a stop saves. So saves never take what others hold,
and only three things lead below zero: an administrator who takes grants away, saves by the clock with nothing left, and
a job that saved several times before it could hear of its stop. What was saved is charged all the same.
"""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from tunesmith.errors import QuotaExceeded
from tunesmith.events import CheckpointSaved, JobEvent, PackageMade, Warned
from tunesmith.lifecycle import Reason
from tunesmith.spec.kinds import Feature, kind_of
from tunesmith.views import QuotaKind
from tunesmith_platform.checkpoints import repository as checkpoints
from tunesmith_platform.db.scoping import expect
from tunesmith_platform.db.tables import AttemptRow, QuotaProjectRow, TaskRow
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.event_log.listeners import Listener
from tunesmith_platform.quota import repository
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks.moves import Moves


def reserve(session: Session, scope: Scope, task: TaskRow, by: str = repository.PLATFORM) -> None:
    """Hold what a task that is about to start, or to go on, plans to save.

    Raises:
        QuotaExceeded: Less is available; nothing is held then.
    """
    expect(session, scope, task)
    if not repository.is_on(session, scope, task.project):
        return
    needed = _planned_after(task, checkpoints.newest_step(session, scope, task.id))
    if not needed and Feature.CHECKPOINTS not in kind_of(task.kind).supports:
        return
    row = repository.held(session, scope, task.project)
    assert row is not None, "a project's row is never deleted"
    if not row.enabled:
        return
    if needed > row.available:
        raise _exceeded(row, needed, task)
    repository.append(session, scope, row, QuotaKind.RESERVE, reserved=needed, task_id=task.id, by=by)
    _watch_level(session, scope, row, task)


def charge(session: Session, scope: Scope, task: TaskRow, steps: Sequence[int]) -> bool:
    """Charge a task's saved checkpoints, each step once.

    Returns:
        Whether the task has to save once more and stop, because what it plans beyond that is not covered.
    """
    expect(session, scope, task)
    if not repository.is_on(session, scope, task.project):
        return False
    row = repository.held(session, scope, task.project)
    assert row is not None, "a project's row is never deleted"
    held = repository.reservation(session, scope, task.id)
    new = sorted(step for step in set(steps) if not repository.is_charged(session, scope, task.id, step))
    if held is None or not row.enabled or not new:
        return False
    planned = 0
    for step in new:
        planned = _planned_after(task, step, said=True)
        # A save that was not planned leaves the plan's own covered, as long as there is anything else.
        takes_held = held > planned or (held > 0 and row.available < 1)
        held -= takes_held
        repository.append(
            session, scope, row, QuotaKind.CHARGE, amount=-1, reserved=-takes_held, task_id=task.id, step=step
        )
    more = min(planned - held, row.available)
    if more > 0:
        note = "More saves are to come than were planned."
        repository.append(session, scope, row, QuotaKind.RESERVE, reserved=more, task_id=task.id, note=note)
        held += more
    _watch_level(session, scope, row, task)
    return planned > 0 and (row.available < 0 or (held < planned and held <= 1))


def charging(moves: Moves) -> Listener:
    """What charges checkpoints as jobs report them, and stops a task whose further ones are not covered.

    Args:
        moves: Asks for the stop.
    """

    def hear(
        session: Session, scope: Scope, task: TaskRow, attempt: AttemptRow, events: Sequence[JobEvent]
    ) -> None:
        saved = [event.payload.step for event in events if isinstance(event.payload, CheckpointSaved)]
        # A package counts as one, whatever the step of its checkpoint is, and where that is not known.
        saved += [max(1, event.payload.step) for event in events if isinstance(event.payload, PackageMade)]
        if charge(session, scope, task, saved) and attempt.finished is None:
            moves.request_stop(session, scope, task, Reason.QUOTA)

    return Listener((CheckpointSaved, PackageMade), hear)


def release(session: Session, scope: Scope, task: TaskRow) -> None:
    """Give back what is still held for a task that is over."""
    expect(session, scope, task)
    held = repository.reservation(session, scope, task.id)
    if not held:
        return
    row = repository.held(session, scope, task.project)
    assert row is not None, "a project's row is never deleted"
    repository.append(session, scope, row, QuotaKind.RELEASE, reserved=-held, task_id=task.id)
    reset_level(row)


def reset_level(row: QuotaProjectRow) -> None:
    """Warn again at the next crossing, once enough is available again."""
    if row.available > row.low_threshold:
        row.is_low = False


def _watch_level(session: Session, scope: Scope, row: QuotaProjectRow, task: TaskRow) -> None:
    reset_level(row)
    if row.is_low or row.available > row.low_threshold:
        return
    row.is_low = True
    warning = Warned(
        code="quota_low",
        message=f"Project `{row.project}` has {row.available} of its training quota available.",
        hint="Ask an administrator for a grant.",
    )
    events.append_own(session, scope, task, warning.model_dump(mode="json"))


def _planned_after(task: TaskRow, step: int, *, said: bool = False) -> int:
    """How many checkpoints a task plans after a step; `said`: by the number of steps that its job reported."""
    kind = kind_of(task.kind)
    total = int(task.progress.get("total_steps") or 0) if said else 0
    # Where rows were not counted, the least is held, and each save takes what turns out to be planned.
    return kind.saves_left(
        kind.spec.stored(task.spec), int(task.inputs.get("rows") or 1), step, total or None
    )


def _exceeded(row: QuotaProjectRow, needed: int, task: TaskRow) -> QuotaExceeded:
    lacking = needed - row.available
    if Feature.CHECKPOINTS in kind_of(task.kind).supports:
        message = (
            f"It plans to save {needed} checkpoints, and project `{row.project}` has {row.available} of its training "
            f"quota available ({row.reserved} more are held for other tasks)."
        )
        hint = (
            "Save less often (`save_steps`, `save_strategy`), or ask an administrator for a grant of "
            f"{lacking}."
        )
    else:
        message = (
            f"It makes a package, which counts as one, and project `{row.project}` has {row.available} of its training "
            f"quota available ({row.reserved} more are held for other tasks)."
        )
        hint = f"Ask an administrator for a grant of {lacking}."
    return QuotaExceeded(
        message,
        hint=hint,
        details={
            "project": row.project,
            "needed": needed,
            "available": row.available,
            "reserved": row.reserved,
        },
    )
