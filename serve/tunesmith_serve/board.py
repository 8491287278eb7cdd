"""What a chat's driver and its replicas leave for each other, over nodes and without waking anybody.

Two small records in the cluster's own store (Ray's internal key-value store, which its head keeps): the driver's says
that it lives and whether the end is wanted, the replica's what it did. A question to the replica would start it where
it was scaled to zero. Imports Ray when it is used, not before.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tunesmith.chat.wire import ReplicaStatus, ServedModel
from tunesmith.plain_text import as_json
from tunesmith_serve.shelf import Change

RENEW_SECONDS = 1.0
LOST_SECONDS = 30.0
"""A driver that renewed nothing for so long is gone: a replica does not outlive it."""
_NAMESPACE = b"tunesmith"
_PREFIX = "serve/"
_MOST_CHANGES = 50
_log = logging.getLogger("tunesmith_serve.board")


class DriverNote(BaseModel):
    """What the driver says."""

    model_config = ConfigDict(extra="ignore")
    beat: int = Field(0, description="Rises while it lives.")
    stop: str = Field("", description="Why no more questions are taken; empty: go on.")


class Changed(BaseModel):
    """What became of weights, with its place in the row of changes."""

    model_config = ConfigDict(extra="ignore")
    number: int
    state: str
    model: str
    message: str = ""
    seconds: float | None = None
    bytes: int | None = None
    weights: str = ""
    engine: str = ""
    version: str = ""
    file_type: str = ""


class ReplicaNote(BaseModel):
    """What a replica says."""

    model_config = ConfigDict(extra="ignore")
    replica: str = Field(description="Which one, by a random name.")
    changes: list[Changed] = Field(default_factory=list, description="The newest ones.")
    status: ReplicaStatus = ReplicaStatus()
    is_ended: bool = Field(False, description="No question is under way, and none is taken any more.")

    def add(self, change: Change) -> None:
        """Note a change."""
        number = self.changes[-1].number + 1 if self.changes else 1
        self.changes.append(
            Changed(
                number=number,
                state=change.state,
                model=change.model,
                message=change.message[:500],
                seconds=change.seconds,
                bytes=change.bytes,
                weights=change.weights,
                **change.how._asdict(),
            )
        )
        del self.changes[:-_MOST_CHANGES]


class PinsNote(BaseModel):
    """Which adapters stay loaded, for the replica that comes after."""

    model_config = ConfigDict(extra="ignore")
    models: list[ServedModel] = Field(default_factory=list)


class Store(Protocol):
    """Keeps bytes by name."""

    def get(self, name: str) -> bytes | None:
        """What is kept; None: nothing."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Keep it."""
        ...

    def remove(self, name: str) -> None:
        """Keep it no more."""
        ...

    def names(self) -> list[str]:
        """All names."""
        ...


class RayStore:
    """The store of the Ray cluster that this process is connected to."""

    def get(self, name: str) -> bytes | None:
        """See `Store.get`."""
        from ray.experimental.internal_kv import _internal_kv_get

        found: bytes | None = _internal_kv_get(_PREFIX + name, namespace=_NAMESPACE)
        return found

    def put(self, name: str, data: bytes) -> None:
        """See `Store.put`."""
        from ray.experimental.internal_kv import _internal_kv_put

        _internal_kv_put(_PREFIX + name, data, namespace=_NAMESPACE)

    def remove(self, name: str) -> None:
        """See `Store.remove`."""
        from ray.experimental.internal_kv import _internal_kv_del

        _internal_kv_del(_PREFIX + name, namespace=_NAMESPACE)

    def names(self) -> list[str]:
        """See `Store.names`."""
        from ray.experimental.internal_kv import _internal_kv_list

        found = _internal_kv_list(_PREFIX, namespace=_NAMESPACE)
        return [name.decode().removeprefix(_PREFIX) for name in found]


class Board:
    """The records of one application.

    Args:
        application: Its name on Ray Serve.
        store: Where they are kept.
    """

    def __init__(self, application: str, store: Store) -> None:
        self._driver, self._replica = f"{application}/driver", f"{application}/replica"
        self._pins = f"{application}/pins"
        self._store = store

    @staticmethod
    def applications(store: Store) -> set[str]:
        """The applications whose records a store keeps."""
        return {name.rpartition("/")[0] for name in store.names()}

    def driver(self) -> DriverNote | None:
        """What the driver said last."""
        return _read(DriverNote, self._store.get(self._driver))

    def replica(self) -> ReplicaNote | None:
        """What a replica said last; it may be gone."""
        return _read(ReplicaNote, self._store.get(self._replica))

    def pins(self) -> PinsNote | None:
        """What was pinned in a replica before; None where nothing ever was."""
        return _read(PinsNote, self._store.get(self._pins))

    def leave(self, note: DriverNote | ReplicaNote | PinsNote) -> None:
        """Say something."""
        names = {DriverNote: self._driver, ReplicaNote: self._replica, PinsNote: self._pins}
        name = names[type(note)]
        self._store.put(name, as_json(note))

    def clear(self) -> None:
        """Remove all."""
        self._store.remove(self._pins)
        self._store.remove(self._driver)
        self._store.remove(self._replica)


class Lease:
    """Whether the driver still renews what it says, by the clock of whoever looks.

    Args:
        seconds: So long it may be silent.
        clock: Seconds that rise.
    """

    def __init__(self, seconds: float = LOST_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._beat: int | None = None
        self._since = clock()

    def look(self, note: DriverNote | None) -> bool:
        """Take what the driver said last; answers whether it is gone."""
        if note is not None and note.beat != self._beat:
            self._beat, self._since = note.beat, self._clock()
        return self._clock() - self._since > self._seconds


class Renewing(threading.Thread):
    """Says that the driver lives, about once a second, whatever else it waits for.

    Args:
        board: Where it says so.
    """

    def __init__(self, board: Board) -> None:
        super().__init__(name="serve-lease", daemon=True)
        self._board, self._note = board, DriverNote()
        self._lock, self._over = threading.Lock(), threading.Event()

    def now(self, stop: str | None = None) -> None:
        """Say it at once.

        Args:
            stop: Why no more questions are taken, where the end is wanted.
        """
        with self._lock:
            self._note.beat += 1
            self._note.stop = self._note.stop if stop is None else stop
            self._board.leave(self._note)

    def stop(self) -> None:
        """Say it no more; returns once that is so."""
        self._over.set()
        if self.is_alive():
            self.join()

    def run(self) -> None:
        """See the class."""
        while not self._over.wait(RENEW_SECONDS):
            try:
                self.now()
            except Exception:  # the store may be away for a while
                _log.exception("that the driver lives could not be said")


_Note = TypeVar("_Note", DriverNote, ReplicaNote, PinsNote)


def _read(kind: type[_Note], data: bytes | None) -> _Note | None:
    try:
        return None if data is None else kind.model_validate_json(data)
    except ValidationError:  # of another version
        return None
