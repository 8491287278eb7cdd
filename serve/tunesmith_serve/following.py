"""From what Ray Serve and the replica say, once a second, to the events of a task: each of them once.

Knows events; knows nothing of Ray.
"""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, cast

from tunesmith.events import JobPayload, Serving, Warned
from tunesmith_serve.board import ReplicaNote

if TYPE_CHECKING:
    from tunesmith_serve.application import Look

_PLACE_SECONDS = 5.0
"""How long a replica may be without a place before that is said."""
_State = Literal["deploying", "ready", "loading", "loaded", "unloaded", "idle", "failed"]


class Follower:
    """Says what becomes of an application.

    Args:
        emit: Takes the events.
        clock: Seconds that rise.
    """

    def __init__(
        self, emit: Callable[[JobPayload], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._emit, self._clock = emit, clock
        self._since = clock()
        self._state = ""
        self._replica = self._gone = ""
        """The replica whose changes were said, and the one that was put away in order."""
        self._seen = 0
        self._is_told = False

    @property
    def is_ready(self) -> bool:
        """Whether a replica answers, or one was put away for want of questions."""
        return self._state in ("ready", "idle")

    def say(self, event: Serving) -> None:
        """Say something, as the newest state of the application."""
        self._state, self._since, self._is_told = event.state, self._clock(), False
        self._emit(event)

    def follow(
        self, look: "Look", note: ReplicaNote | None, resources: Mapping[str, float] | None = None
    ) -> None:
        """Say what is new.

        Args:
            look: What Ray Serve says.
            note: What the replica said last.
            resources: What a replica reserves.
        """
        if look.running and self._state != "ready":
            self.say(Serving(state="ready", seconds=self._clock() - self._since))
        elif look.state == "unhealthy" and self._state != "failed":
            self.say(Serving(state="failed", message=look.message[:2000]))
        elif look.state == "running" and not look.running and not look.waiting and self._state == "ready":
            self._gone = self._replica
            self.say(Serving(state="idle", message="It is in no memory; the next question starts it."))
        elif look.waiting and self._state == "idle":
            self.say(Serving(state="deploying", message="A question starts it."))
        elif look.waiting and not self._is_told and self._clock() - self._since > _PLACE_SECONDS:
            self._is_told = True
            words = ", ".join(f"{number:g} {name}" for name, number in (resources or {}).items())
            self._emit(
                Warned(
                    code="no_place_yet",
                    message=f"The model finds no place on the cluster yet: it needs {words}.",
                    hint="It starts when others end. `resources_per_worker` asks for less.",
                )
            )
        if note is not None and look.running:
            self._tell(note)

    def _tell(self, note: ReplicaNote) -> None:
        if note.replica != self._replica:
            if self._replica != self._gone and self._state == "ready":
                self.say(Serving(state="ready", message="It was started again."))
            self._replica, self._seen = note.replica, 0
        for change in note.changes:
            if change.number <= self._seen:
                continue
            self._seen = change.number
            self._emit(
                Serving(
                    state=cast(_State, change.state),
                    model=change.model,
                    message=change.message,
                    seconds=change.seconds,
                    bytes=change.bytes,
                    weights=change.weights,
                    engine=change.engine,
                    version=change.version,
                    file_type=change.file_type,
                )
            )
