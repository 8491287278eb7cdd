"""Brings a task's events to its live streams: read from the log once, encoded once, however many follow.

A feed holds the last events of a followed task as the bytes that are sent. Each stream has a place in it and nothing
else, so that a slow one costs the others nothing; one that fell behind what is held reads the log for itself. One
thread looks into the database for all feeds: at once for a task of which the hub says something, and four times a
second for all of them, because another process may have stored something.
Lives on the event loop; knows the log and the wire, knows no connection.
"""

import asyncio
import contextlib
import datetime as dt
import functools
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pydantic import ValidationError
from sqlalchemy.orm import Session

from tunesmith.errors import Unavailable
from tunesmith.lifecycle import State
from tunesmith.views import EventView
from tunesmith_platform import sse
from tunesmith_platform.db.engine import Database
from tunesmith_platform.event_log import repository
from tunesmith_platform.hub import Hub
from tunesmith_platform.loops import Troubles, contained
from tunesmith_platform.scope import INSTALLATION, Scope
from tunesmith_platform.sse import Chunk
from tunesmith_platform.tasks import repository as tasks

HELD_EVENTS = 256
HELD_BYTES = 256 * 1024
_CHUNK_BYTES = 32 * 1024
"""Sent at once. A reader that stands still costs so much, and what uvicorn and the system hold for it."""
_LOOK_EVENTS = 500
_LOOK_BYTES = 64 * 1024
_POLL_SECONDS = 0.25
_ROUND_SECONDS = 0.02
"""Between two looks: what happens within it comes together."""
_LINGER_SECONDS = 2.0
"""How long a feed is kept that nobody follows: readers who were cut off come again."""
_AWAY_SECONDS = 1.0
_PATIENCE_SECONDS = 10.0
_HISTORIANS = 4
_MANY = 500
_SHARED = 16
"""Places in a feed whose chunk is kept for the next reader that stands there."""
_NOTHING = Chunk(b"")


@dataclass(frozen=True)
class Frame:
    """An event as it is sent."""

    n: int
    data: bytes


@dataclass(frozen=True)
class Look:
    """What a look into the log found.

    Attributes:
        frames: The events after `since`.
        up_to: Everything up to this number has been read.
        since: From where it was read.
        behind: Whether there is more.
        is_over: Whether the task has ended, and nothing comes after these.
        is_gone: There is no such task.
    """

    frames: Sequence[Frame] = ()
    up_to: int = 0
    since: int = 0
    behind: bool = False
    is_over: bool = False
    is_gone: bool = False


@dataclass
class Feed:
    """A followed task's last events. `first` is the number after which it holds them all, `last` the newest read."""

    task_id: str
    first: int = 0
    last: int | None = None
    is_over: bool = False
    is_gone: bool = False
    readers: set["Reader"] = field(default_factory=set)
    idle_since: float = field(default_factory=time.monotonic)
    seen: asyncio.Event = field(default_factory=asyncio.Event)
    _frames: deque[Frame] = field(default_factory=deque)
    _bytes: int = 0
    _chunks: dict[int, tuple[Chunk, int]] = field(default_factory=dict)

    def take(self, look: Look) -> None:
        """Hold what a look found, and tell the readers."""
        if self.last is None:
            self.first = look.since
        for frame in look.frames:
            self._frames.append(frame)
            self._bytes += len(frame.data)
        while self._bytes > HELD_BYTES or len(self._frames) > HELD_EVENTS:
            gone = self._frames.popleft()
            self._bytes -= len(gone.data)
            self.first = gone.n
        is_news = look.frames or look.is_over != self.is_over or look.is_gone or self.last is None
        self.last, self.is_over, self.is_gone = look.up_to, look.is_over, look.is_gone
        self.seen.set()
        if is_news:
            self._chunks.clear()
            for reader in self.readers:
                reader.wake()

    def after(self, n: int) -> tuple[Chunk, int]:
        """The held events after a number, as far as they are sent at once, and the number of the last of them."""
        found = self._chunks.get(n)
        if found is None:
            if len(self._chunks) >= _SHARED:
                self._chunks.clear()
            found = self._chunks[n] = self._cut(n)
        return found

    def _cut(self, n: int) -> tuple[Chunk, int]:
        newer: deque[Frame] = deque()
        for frame in reversed(self._frames):
            if frame.n <= n:
                break
            newer.appendleft(frame)
        return _chunk(newer, n)


def _chunk(frames: Iterable[Frame], n: int) -> tuple[Chunk, int]:
    parts: list[bytes] = []
    size = 0
    for frame in frames:
        if parts and size + len(frame.data) > _CHUNK_BYTES:
            break
        parts.append(frame.data)
        size += len(frame.data)
        n = frame.n
    return Chunk(b"".join(parts)), n


class Reader:
    """One stream's place in a feed: a source of `sse.EventStream`."""

    def __init__(self, feeds: "Feeds", task_id: str, n: int) -> None:
        self._feeds = feeds
        self._task_id = task_id
        self._n = n
        self._feed: Feed | None = None
        self._is_ended = False
        self.wake: Callable[[], None] = lambda: None

    def attach(self, wake: Callable[[], None]) -> None:
        """See `sse.StreamSource.attach`."""
        self.wake = wake
        self._feed = self._feeds.feed(self._task_id)
        self._feed.readers.add(self)

    def detach(self) -> None:
        """See `sse.StreamSource.detach`."""
        if self._feed is not None:
            self._feed.readers.discard(self)
            self._feed.idle_since = time.monotonic()

    async def next(self) -> Chunk | None:
        """See `sse.StreamSource.next`."""
        feed = self._feed
        assert feed is not None, "a source is attached before it is read"
        if feed.is_gone or self._is_ended:
            return None
        if feed.last is None:
            return _NOTHING
        if self._n < feed.first:
            up_to = feed.first
            frames = await self._feeds.history(self._task_id, self._n, up_to)
            chunk, n = _chunk(frames, self._n)
            # What was deleted by the retention is passed over.
            self._n = n if frames else up_to
            return chunk if frames else await self.next()
        chunk, self._n = feed.after(self._n)
        if not chunk.plain and feed.is_over and self._n >= feed.last:
            self._is_ended = True
            return sse.END
        return chunk


class Feeds:
    """The feeds of one process."""

    def __init__(self, database: Database, hub: Hub) -> None:
        self._database = database
        self._feeds: dict[str, Feed] = {}
        self._stale: set[str] = set()
        self._noticed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._looking: asyncio.Task[None] | None = None
        self._looker: ThreadPoolExecutor | None = None
        self._historians: ThreadPoolExecutor | None = None
        self._troubles = Troubles(type(self).__name__)
        hub.tell(self._hear)

    async def reader(self, scope: Scope, task_id: str, after: int) -> Reader:
        """A source of a task's events after a number.

        Raises:
            NotFound: There is no such task.
            Unavailable: The database does not answer.
        """
        feed = self.feed(task_id)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await feed.seen.wait()
        except TimeoutError:
            raise Unavailable("The database does not answer.", hint="Try again in a moment.") from None
        if feed.is_gone or not await self._is_seen(scope, task_id):
            raise tasks.missing(task_id)
        return Reader(self, task_id, after)

    async def _is_seen(self, scope: Scope, task_id: str) -> bool:
        """Whether a scope sees a task. A feed is read once for all who follow it, so each is asked at the door."""
        if scope.is_whole:
            return True
        read = asyncio.get_running_loop().run_in_executor
        return await read(self._historians, contained, functools.partial(self._marked, scope, task_id))

    def _marked(self, scope: Scope, task_id: str) -> bool:
        with self._database.read() as session:
            return bool(repository.marks(session, scope, [task_id]))

    def feed(self, task_id: str) -> Feed:
        """A task's feed; it is read from now on."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # a server that was started again in this process
            self.close()
            self._loop, self._looking = loop, None
            self._feeds, self._stale, self._noticed = {}, set(), asyncio.Event()
            self._looker = ThreadPoolExecutor(1, "feeds")
            self._historians = ThreadPoolExecutor(_HISTORIANS, "feeds-history")
        feed = self._feeds.get(task_id)
        if feed is None or feed.is_gone:
            feed = self._feeds[task_id] = Feed(task_id)
            self._mark(task_id)
        if self._looking is None or self._looking.done():
            self._looking = loop.create_task(self._look_forever())
        return feed

    async def history(self, task_id: str, after: int, up_to: int) -> list[Frame]:
        """Events that no feed holds any more."""
        read = asyncio.get_running_loop().run_in_executor
        history = functools.partial(self._read_history, task_id, after, up_to)
        return await read(self._historians, contained, history)

    def close(self) -> None:
        """End the threads."""
        for pool in (self._looker, self._historians):
            if pool is not None:
                pool.shutdown(wait=False, cancel_futures=True)
        self._loop = None

    def _hear(self, task_id: str) -> None:
        # By any thread. One look more or less is no matter: all feeds are looked at again soon.
        loop = self._loop
        if loop is not None and task_id in self._feeds:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._mark, task_id)

    def _mark(self, task_id: str) -> None:
        self._stale.add(task_id)
        self._noticed.set()

    # --- the one reader of the log

    async def _look_forever(self) -> None:
        loop = asyncio.get_running_loop()
        poll_at = loop.time() + _POLL_SECONDS
        while self._feeds:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(poll_at):
                    await self._noticed.wait()
            self._noticed.clear()
            if loop.time() >= poll_at:
                poll_at = loop.time() + _POLL_SECONDS
                self._drop_idle()
                wanted = list(self._feeds.values())
            else:
                wanted = [self._feeds[task_id] for task_id in self._stale if task_id in self._feeds]
            self._stale.clear()
            asked = {feed.task_id: feed.last for feed in wanted}
            try:
                looks = await loop.run_in_executor(
                    self._looker, contained, functools.partial(self._look, asked)
                )
            except Exception as error:
                self._troubles.note("the event log", error)
                self._stale |= asked.keys()
                await asyncio.sleep(_AWAY_SECONDS)
                continue
            self._troubles.over("the event log")
            self._troubles.each(wanted, functools.partial(self._take, looks), name=lambda feed: feed.task_id)
            await asyncio.sleep(_ROUND_SECONDS)

    def _take(self, looks: dict[str, Look], feed: Feed) -> None:
        look = looks.get(feed.task_id)
        if look is None:
            return  # it could not be read: it is looked at again with all others
        feed.take(look)
        if look.behind:
            self._mark(feed.task_id)

    def _drop_idle(self) -> None:
        before = time.monotonic() - _LINGER_SECONDS
        for feed in list(self._feeds.values()):
            if not feed.readers and feed.idle_since < before:
                del self._feeds[feed.task_id]

    def _look(self, asked: dict[str, int | None]) -> dict[str, Look]:
        task_ids = list(asked)
        looks: dict[str, Look] = {}
        with self._database.read() as session:

            def look(row: repository.Mark) -> None:
                del looks[row.id]  # one that cannot be read is not gone
                looks[row.id] = _look_at(session, row, asked[row.id])

            for start in range(0, len(task_ids), _MANY):
                some = task_ids[start : start + _MANY]
                found = repository.marks(session, INSTALLATION, some)
                looks |= {task_id: Look(is_gone=True) for task_id in some}
                self._troubles.each(found, look, name=lambda row: f"{row.id}'s events")
        return looks

    def _read_history(self, task_id: str, after: int, up_to: int) -> list[Frame]:
        with self._database.read() as session:
            return _frames(session, task_id, after, up_to, _CHUNK_BYTES)


def _look_at(session: Session, task: repository.Mark, last: int | None) -> Look:
    since = max(0, task.events - HELD_EVENTS) if last is None else last
    is_over = State(task.state).is_terminal
    if since >= task.events:
        return Look(up_to=since, since=since, is_over=is_over)
    frames = _frames(session, task.id, since, task.events, _LOOK_BYTES if last is not None else HELD_BYTES)
    # The retention may have deleted the newest events: a look that finds none has read them all.
    newest = frames[-1].n if frames else task.events
    behind = newest < task.events
    return Look(frames, newest, since, behind, is_over and not behind)


def _frames(session: Session, task_id: str, after: int, up_to: int, max_bytes: int) -> list[Frame]:
    frames: list[Frame] = []
    size = 0
    for row in repository.stored_after(session, INSTALLATION, task_id, after, _LOOK_EVENTS, up_to):
        frames.append(Frame(row.n, sse.frame(row.payload["kind"], row.n, _json(row))))
        size += len(frames[-1].data)
        if size >= max_bytes:
            break
    return frames


def _json(row: repository.Stored) -> str:
    try:
        return EventView.model_validate(row._asdict()).model_dump_json()
    except ValidationError:
        # Of a kind that this version does not know: its reader may.
        return json.dumps(row._asdict(), default=dt.datetime.isoformat)
