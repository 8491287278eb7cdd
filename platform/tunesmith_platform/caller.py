"""Who waits for an answer, and whether they still do. Knows ASGI; knows nothing of what is computed for them.

An endpoint that is no coroutine runs in a thread and cannot see that its client has left. What it calls finds its
caller in the thread's context instead, and only a call that takes long has the connection watched.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass
class Change:
    """What a request that may change something says of itself: it is noted with what it changes."""

    who: str
    role: str
    key_id: str
    action: str
    """The operation, as the API's description calls it."""
    subject: str
    """What the address names; "" where it names nothing."""
    request_id: str
    address: str
    """Where it came from."""
    made: list[str]
    """What it has made so far, by its ids."""
    is_noted: bool = False


class Caller:
    """Who waits for an answer. This one is nobody's, waits as long as it takes, and never leaves."""

    owner = ""
    """Whose key was shown; one owner's many calls are served in turn with another's few."""
    change: Change | None = None
    """What is noted with the first thing that it changes; None where it changes nothing, or nobody showed a key."""
    has_left = False
    patience_seconds = math.inf
    """How long it waits for an answer."""

    @contextlib.contextmanager
    def watched(self, left: Callable[[], None]) -> Iterator[None]:
        """Call `left` when the caller leaves meanwhile; once, in any thread."""
        yield


class LoopCaller(Caller):
    """A loop of ours. It has others to serve: work that takes longer goes on meanwhile, see `awaiting`."""

    patience_seconds = 2.0


class RequestCaller(Caller):
    """A request's client. It waits as long as it wants.

    Args:
        receive: The request's ASGI messages. Its body was read by the time that anything is computed of it.
    """

    def __init__(self, receive: Receive) -> None:
        self._loop = asyncio.get_running_loop()
        self._receive = receive
        self._task: asyncio.Task[None] | None = None
        self._left: list[Callable[[], None]] = []

    @contextlib.contextmanager
    def watched(self, left: Callable[[], None]) -> Iterator[None]:
        """See `Caller.watched`. Not for the event loop's own thread."""
        self._left.append(left)
        with contextlib.suppress(RuntimeError):  # the server is ending
            self._loop.call_soon_threadsafe(self._begin)
        try:
            yield
        finally:
            self._left.remove(left)
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._end)

    def _begin(self) -> None:
        if self._task is None and not self.has_left and self._left:
            self._task = self._loop.create_task(self._listen())

    def _end(self) -> None:
        if not self._left:
            self.close()  # who answers next (a stream) listens for itself

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.has_left = True
        for left in list(self._left):
            left()

    def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None


_NOBODY = Caller()
_current: ContextVar[Caller] = ContextVar("caller", default=_NOBODY)


def current_caller() -> Caller:
    """Who waits for what is computed here."""
    return _current.get()


@contextlib.contextmanager
def serving_others() -> Iterator[None]:
    """What is computed here is asked for by a loop, which looks again when it is not there at once."""
    token = _current.set(LoopCaller())
    try:
        yield
    finally:
        _current.reset(token)


_looking: ContextVar[bool] = ContextVar("looking", default=False)


@contextlib.contextmanager
def looking() -> Iterator[None]:
    """What is stored here is only what was seen on the way, such as a model's sums: no change of the caller's."""
    token = _looking.set(True)
    try:
        yield
    finally:
        _looking.reset(token)


def change_here() -> Change | None:
    """What is to be noted with what is stored here; None where that is nobody's change, or was noted."""
    change = None if _looking.get() else _current.get().change
    return None if change is None or change.is_noted else change


def name_owner(owner: str, change: Change | None = None) -> None:
    """Note whose key a request has shown, and what it is about to do."""
    caller = _current.get()
    if caller is not _NOBODY:
        caller.owner = owner
        caller.change = change


class Callers:
    """Lets what a request computes know its caller: an ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        caller = RequestCaller(receive)
        token = _current.set(caller)
        try:
            await self._app(scope, receive, send)
        finally:
            _current.reset(token)
            caller.close()
