"""Brings the changes of the task list to its live streams: looked for once, encoded once, however many follow.

A feed holds the newest changes as the bytes that are sent; a stream has a place in it. One that begins, or that fell
behind what is held, asks the workspace for itself. Lives on the event loop; knows the workspace and the wire, knows no
connection.
"""

import asyncio
import contextlib
import functools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tunesmith.workspace import Listed, WorkspaceChange
from tunesmith_platform import sse
from tunesmith_platform.db.engine import Database
from tunesmith_platform.hub import Hub
from tunesmith_platform.loops import Troubles, contained
from tunesmith_platform.monitoring.workspace import Workspace
from tunesmith_platform.scope import Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.sse import Chunk

_Seen = tuple[frozenset[str] | None, frozenset[str] | None]
"""Whose tasks a scope sees: `Scope.owners` and `Scope.projects`."""
_HELD = 1000
_POLL_SECONDS = 1.0
"""How often the feed looks by itself: another API process may have changed something."""
_PAUSE_SECONDS = 0.2
"""Changes within it come together, so that a busy workspace costs no more than five looks a second."""
_SHARED = 16
"""Places whose chunk is kept for the next reader that stands there."""


class WorkspaceReader:
    """One stream's place: a source of `sse.EventStream`."""

    def __init__(self, feed: "WorkspaceFeed", position: str | None) -> None:
        self._feed = feed
        self._position = position
        self._number: int | None = None
        """The change that it has read; None until the workspace has said what there is."""
        self.wake: Callable[[], None] = lambda: None

    def attach(self, wake: Callable[[], None]) -> None:
        """See `sse.StreamSource.attach`."""
        self.wake = wake
        self._feed.join(self)

    def detach(self) -> None:
        """See `sse.StreamSource.detach`."""
        self._feed.leave(self)

    async def next(self) -> Chunk | None:
        """See `sse.StreamSource.next`."""
        held = self._feed.after(self._number) if self._number is not None else None
        if held is None:
            changes = await self._feed.ask(self._position)
            if changes:
                self._position = changes[-1].position
                self._number = _number(self._position)
            return Chunk(_encoded(changes))
        chunk, self._number, position = held
        self._position = position or self._position
        return chunk


class WorkspaceFeed:
    """The newest changes of one process's workspace."""

    def __init__(self, workspace: Workspace, hub: Hub) -> None:
        self._workspace = workspace
        self._readers: set[WorkspaceReader] = set()
        self._held: deque[tuple[int, str, bytes]] = deque(maxlen=_HELD)
        self._chunks: dict[int, tuple[Chunk, int, str]] = {}
        self._position: str | None = None
        self._first: int | None = None
        self._noticed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._looking: asyncio.Task[None] | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._troubles = Troubles(type(self).__name__)
        hub.tell(self._hear)

    def join(self, reader: WorkspaceReader) -> None:
        """Tell a reader of changes from now on."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # a server that was started again in this process
            self.close()
            self._loop, self._looking = loop, None
            self._readers, self._noticed = set(), asyncio.Event()
            self._pool = ThreadPoolExecutor(2, "workspace")
        self._readers.add(reader)
        if self._looking is None or self._looking.done():
            self._position = self._first = None  # what happened while nobody read was not looked for
            self._held.clear()
            self._looking = loop.create_task(self._look_forever())

    def leave(self, reader: WorkspaceReader) -> None:
        """Tell a reader no more."""
        self._readers.discard(reader)

    def after(self, number: int) -> tuple[Chunk, int, str] | None:
        """The changes after one, with the number and the position of the last; None when they are not held."""
        if self._first is None or number < self._first:
            return None
        found = self._chunks.get(number)
        if found is None:
            if len(self._chunks) >= _SHARED:
                self._chunks.clear()
            newer = [change for change in self._held if change[0] > number]
            last, position = (newer[-1][0], newer[-1][1]) if newer else (number, "")
            found = self._chunks[number] = Chunk(b"".join(change[2] for change in newer)), last, position
        return found

    async def ask(self, position: str | None) -> Sequence[WorkspaceChange]:
        """What the workspace says to a position; in a thread, because it may look into the database."""
        asked = functools.partial(self._workspace.after, position)
        return await asyncio.get_running_loop().run_in_executor(self._pool, contained, asked)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._loop = None

    def _hear(self, _task_id: str) -> None:
        loop = self._loop
        if loop is not None and self._readers:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._noticed.set)

    async def _look_forever(self) -> None:
        while self._readers:
            self._noticed.clear()
            try:
                changes = await self.ask(self._position)
                if changes:
                    self._take(changes)
            except Exception as error:
                self._troubles.note("the list of tasks", error)
                await asyncio.sleep(_POLL_SECONDS)
                continue
            self._troubles.over("the list of tasks")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._noticed.wait()
            await asyncio.sleep(_PAUSE_SECONDS)

    def _take(self, changes: Sequence[WorkspaceChange]) -> None:
        self._position = changes[-1].position
        if isinstance(changes[0], Listed):  # where it begins; also when more changed than the workspace keeps
            self._held.clear()
            self._first = _number(self._position)
        else:
            for change in changes:
                self._held.append((_number(change.position), change.position, _encoded([change])))
            if len(self._held) == _HELD:
                self._first = self._held[0][0]
        self._chunks.clear()
        for reader in self._readers:
            reader.wake()


class WorkspaceFeeds:
    """The feeds of one process: one for all scopes that see the same tasks.

    Args:
        database: Knows the tasks.
        settings: When a task is silent.
        hub: Says that something has changed.
        whole: The list of all tasks, for who sees everything.
    """

    def __init__(self, database: Database, settings: Settings, hub: Hub, whole: Workspace) -> None:
        self._database = database
        self._settings = settings
        self._hub = hub
        self._feeds: dict[_Seen, WorkspaceFeed] = {(None, None): WorkspaceFeed(whole, hub)}
        self._lock = threading.Lock()

    def of(self, scope: Scope) -> WorkspaceFeed:
        """What a scope follows."""
        seen = (scope.owners, scope.projects)
        with self._lock:
            if seen not in self._feeds:
                workspace = Workspace(self._database, self._settings, scope)
                self._feeds[seen] = WorkspaceFeed(workspace, self._hub)
            return self._feeds[seen]

    def close(self) -> None:
        """End the threads."""
        for feed in self._feeds.values():
            feed.close()


def _number(position: str) -> int:
    return int(position.rpartition("-")[2])


def _encoded(changes: Sequence[WorkspaceChange]) -> bytes:
    return b"".join(sse.frame(change.kind, change.position, change.model_dump_json()) for change in changes)
