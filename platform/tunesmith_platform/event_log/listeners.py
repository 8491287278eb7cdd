"""Who hears of what jobs report, by the kind of event. Knows no noun: each registers for what it follows."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pydantic import BaseModel
from sqlalchemy.orm import Session

from tunesmith.events import Finished, JobEvent, TrainingStarted
from tunesmith_platform.db.tables import AttemptRow, TaskRow
from tunesmith_platform.scope import Scope

Hear = Callable[[Session, Scope, TaskRow, AttemptRow, Sequence[JobEvent]], None]


class Listener(NamedTuple):
    """What a noun does about some kinds of event.

    Attributes:
        kinds: The events' payloads.
        hear: Called in the transaction that stores them, which holds the task's row, with all of a report's in order.
    """

    kinds: tuple[type[BaseModel], ...]
    hear: Hear


class Listeners:
    """Those who registered.

    Args:
        listeners: They, in the order in which they hear of a report.
    """

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners
        self._weighty: tuple[type[BaseModel], ...] = (
            TrainingStarted,
            Finished,
            *(kind for one in listeners for kind in one.kinds),
        )

    def concern(self, events: Sequence[JobEvent]) -> bool:
        """Whether events change more than the log and their task's progress."""
        return any(isinstance(event.payload, self._weighty) for event in events)

    def tell(
        self,
        session: Session,
        scope: Scope,
        task: TaskRow,
        attempt: AttemptRow,
        events: Sequence[JobEvent],
    ) -> None:
        """Hand each listener those of an attempt's new events that it registered for."""
        for one in self._listeners:
            heard = [event for event in events if isinstance(event.payload, one.kinds)]
            if heard:
                one.hear(session, scope, task, attempt, heard)
