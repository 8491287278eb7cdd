"""What is recorded of an attempt, as the decisions want it. Knows rows; decides nothing."""

import datetime as dt

from tunesmith.events import Finished
from tunesmith.lifecycle import Desired, Reason, State
from tunesmith.spec.kinds import Feature, kind_of
from tunesmith_platform.clock import now
from tunesmith_platform.db.tables import AttemptRow, TaskRow
from tunesmith_platform.reconciler.decisions import AttemptPhase, Facts
from tunesmith_platform.tasks import repository
from tunesmith_platform.tasks.view import DRIVER_HEARD


def facts_of(task: TaskRow, attempt: AttemptRow, listening_since: dt.datetime) -> Facts:
    """What is recorded of an attempt.

    Args:
        task: Its task.
        attempt: The attempt.
        listening_since: Since when somebody hears what jobs say; silence before that is nobody's.
    """
    moment = now()

    def age(since: dt.datetime | None) -> dt.timedelta | None:
        return moment - since if since else None

    def listened_age(since: dt.datetime | None) -> dt.timedelta | None:
        # What a job said while the platform was away was heard by nobody.
        return age(max(since, listening_since)) if since else None

    return Facts(
        state=State(task.state),
        desired=Desired(task.desired),
        phase=AttemptPhase(attempt.phase),
        # What saves no checkpoints leaves by itself at any time, as training does once it has begun.
        training_started=attempt.training_started_at is not None
        or Feature.CHECKPOINTS not in kind_of(task.kind).supports,
        finished=Finished.model_validate(attempt.finished) if attempt.finished else None,
        finished_age=age(attempt.finished_at),
        stop_age=listened_age(task.stop_requested_at),
        kill_age=age(attempt.kill_sent_at),
        attempt=task.attempt,
        # What came before its user continued it is no restart.
        max_restarts=int(task.spec.get("max_restarts", 0)) + task.attempts_before,
        stop_reason=Reason(task.stop_reason or Reason.STOPPED_BY_USER),
        heard=(task.attempt, task.heartbeat_at, (task.progress or {}).get(DRIVER_HEARD)),
        activity=repository.activity_of(task),
        still_age=listened_age(attempt.advanced_at),
        heartbeat_age=listened_age(task.heartbeat_at),
    )
