"""Server-sent events over HTTP: how one is written, and the response that brings a source's events to a reader.

A stream is one task of the event loop and a wait for its reader's disconnect: it has no thread, no timer and no queue
of its own. One timer of the process says to every reader that its stream lives, and cuts off who takes nothing.
Knows ASGI; knows no noun and no database.
"""

import asyncio
import itertools
import logging
import time
import zlib
from collections.abc import Callable
from typing import Any, Protocol

from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tunesmith.errors import TooManyRequests

logger = logging.getLogger(__name__)

PING_SECONDS = 10
STALL_SECONDS = 20.0
"""A reader that takes nothing of what it was sent for so long is cut off."""
MAX_STREAMS = 10_000
"""Streams that a process serves at once."""
ABORT = "tunesmith.abort"
"""The ASGI extension by which `serving` lets a response break its connection off, whatever waits to be sent."""
_WORTH_PACKING = 1024
"""Fewer bytes are sent as they are: alone they hardly shrink."""
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


class Chunk:
    """Bytes that many streams send: whole events. Packed once, when the first reader asks for that."""

    __slots__ = ("_packed", "plain")

    def __init__(self, plain: bytes) -> None:
        self.plain = plain
        self._packed: bytes | None = None

    @property
    def packed(self) -> bytes:
        """As deflate blocks that refer to nothing before them, so that they fit into any reader's stream."""
        if self._packed is None:
            if len(self.plain) < _WORTH_PACKING:
                size = len(self.plain).to_bytes(2, "little")
                self._packed = b"\x00" + size + bytes(255 - byte for byte in size) + self.plain
            else:
                packer = zlib.compressobj(4, zlib.DEFLATED, -zlib.MAX_WBITS)
                self._packed = packer.compress(self.plain) + packer.flush(zlib.Z_SYNC_FLUSH)
        return self._packed


PING = Chunk(b": ping\r\n\r\n")
END = Chunk(b"event: end\r\ndata: {}\r\n\r\n")


def frame(kind: str, number: object, data: str | bytes) -> bytes:
    """One event on the wire; `data` is on one line."""
    data = data.encode() if isinstance(data, str) else data
    return b"id: %s\r\nevent: %s\r\ndata: %s\r\n\r\n" % (str(number).encode(), kind.encode(), data)


class StreamSource(Protocol):
    """Where one stream's events come from. Lives on the event loop."""

    def attach(self, wake: Callable[[], None]) -> None:
        """The stream begins; `wake` is to be called whenever there may be something."""

    def detach(self) -> None:
        """The stream is over."""

    async def next(self) -> Chunk | None:
        """What comes next; a chunk without bytes when there is nothing yet, None when the stream is over."""


class Streams:
    """All streams of a process: the timer that they share, and their end when the server goes."""

    def __init__(self) -> None:
        self._turns: list[set[EventStream]] = [set() for _ in range(PING_SECONDS)]
        self._count = itertools.count()
        self._timer: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return sum(map(len, self._turns))

    def add(self, stream: "EventStream") -> Callable[[], None]:
        """Take a stream up; answers what takes it off again."""
        # A tenth of the streams at a time: thousands at once would hold up the events of all.
        turn = self._turns[next(self._count) % PING_SECONDS]
        turn.add(stream)
        if (
            self._timer is None
            or self._timer.done()
            or self._timer.get_loop() is not asyncio.get_running_loop()
        ):
            self._timer = asyncio.create_task(self._beat())
        return lambda: turn.discard(stream)

    def close(self) -> None:
        """End every stream that is open now, as a server does that is about to go."""
        for turn in self._turns:
            for stream in turn:
                stream.end()

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        for turn in itertools.cycle(self._turns):
            await asyncio.sleep(1)
            for stream in turn:
                stream.ping()
            stalled_since = loop.time() - STALL_SECONDS
            for stream in [stream for turn in self._turns for stream in turn]:
                if stream.sending_since < stalled_since:
                    stream.cut()
            if not len(self):
                return


class EventStream(Response):
    """A response that sends what its source has, until that is over or the reader is gone.

    Args:
        source: Where the events come from.
        streams: The process's streams.
        accept_encoding: What the reader said that it understands.

    Raises:
        TooManyRequests: The process serves as many as it will.
    """

    ping_chunk = PING
    """What says that the stream lives."""

    def __init__(
        self, source: StreamSource, streams: Streams, accept_encoding: str = "", status_code: int = 200
    ) -> None:
        if len(streams) >= MAX_STREAMS:
            raise TooManyRequests(
                f"There are {MAX_STREAMS} live streams already.", hint="Try again in a moment."
            )
        self.media_type = "text/event-stream"  # not the class's: FastAPI would describe the errors by it
        self.status_code = status_code  # a parameter, because FastAPI's description reads its default
        self.background: BackgroundTask | None = None
        self._is_packed = _takes_gzip(accept_encoding)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Vary": "Accept-Encoding"}
        if self._is_packed:
            headers["Content-Encoding"] = "gzip"
        self.init_headers(headers)
        self._source = source
        self._streams = streams
        self._woken = asyncio.Event()
        self._is_over = False
        self._is_ping_due = False
        self._abort: Callable[[], None] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._sum, self._size = 0, 0
        self._clock: Callable[[], float] = time.monotonic
        self.sending_since = float("inf")
        """Since when the reader has not taken what it is being sent, on the loop's clock."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream. See the ASGI specification."""
        self._abort = scope.get("extensions", {}).get(ABORT, {}).get("abort")
        self._task = asyncio.current_task()
        self._clock = asyncio.get_running_loop().time
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        listener = asyncio.create_task(self._listen(receive))
        forget = self._streams.add(self)
        self._source.attach(self._woken.set)
        try:
            await self._supply(send)
        finally:
            self._source.detach()
            forget()
            listener.cancel()

    def ping(self) -> None:
        """Say to the reader that the stream lives."""
        self._is_ping_due = True
        self._woken.set()

    def end(self) -> None:
        """End the stream; its reader may connect again."""
        self._is_over = True
        self._woken.set()

    def cut(self) -> None:
        """Break the stream off: its reader takes nothing."""
        self.sending_since = float("inf")
        self._is_over = True
        if self._abort is not None:
            self._abort()
        elif self._task is not None:
            self._task.cancel()

    async def _listen(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end()

    async def _supply(self, send: Send) -> None:
        if self._is_packed:
            await self._send(send, _GZIP_HEAD)
        while not self._is_over:
            self._woken.clear()
            try:
                chunk = await self._source.next()
            except Exception:
                # The reader connects again and goes on where it was.
                logger.exception("A live stream cannot be supplied")
                break
            if chunk is None:
                break
            if not chunk.plain:
                if not self._is_ping_due:
                    await self._woken.wait()
                    continue
                chunk = self.ping_chunk
            self._is_ping_due = False
            await self._send(send, self._encoded(chunk))
        await self._send(send, self._tail(), more=False)

    async def _send(self, send: Send, body: bytes, more: bool = True) -> None:
        self.sending_since = self._clock()
        await send({"type": "http.response.body", "body": body, "more_body": more})
        self.sending_since = float("inf")

    def _encoded(self, chunk: Chunk) -> bytes:
        if not self._is_packed:
            return chunk.plain
        self._sum = zlib.crc32(chunk.plain, self._sum)
        self._size += len(chunk.plain)
        return chunk.packed

    def _tail(self) -> bytes:
        if not self._is_packed:
            return b""
        return b"\x03\x00" + self._sum.to_bytes(4, "little") + (self._size % 2**32).to_bytes(4, "little")


def _takes_gzip(accept_encoding: str) -> bool:
    for part in accept_encoding.lower().split(","):
        name, _, weight = part.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
