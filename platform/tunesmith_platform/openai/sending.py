"""Sends an answer to its client: whole, or as server-sent events; and ends the computing when the client is gone.

An answer of either kind begins while its client may still be refused: only what is known later is said in the stream.
Knows ASGI and asyncio; knows no database.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from tunesmith.chat.wire import End, Line, Loading, Piece
from tunesmith.errors import Unavailable
from tunesmith_platform.openai.answers import DONE, Answer, comment, data
from tunesmith_platform.openai.errors import error_of
from tunesmith_platform.sse import Chunk, EventStream, Streams

T = TypeVar("T")
Lines = AsyncGenerator[Line, None]
Numbered = AsyncGenerator[tuple[int, Line], None]
"""The lines of several answers, each with its answer's number."""
_BEGIN_SECONDS = 2.0
"""A stream whose first words take longer begins with comments; what is refused sooner has a status of its own."""
_AHEAD = 256
"""Chunks that wait for a client that reads slowly; then its replica waits too."""
_GONE = 499
"""Nobody reads this status: its client has left."""
_PING = Chunk(b": ping\n")
_ENDING = Unavailable("The server is ending: the answer is not whole.", hint="Ask once more.")


class _ClientGone(Exception):
    pass


async def together(answers: Sequence[Lines]) -> Numbered:
    """The lines of several answers as they come; closing this ends all of them.

    Raises:
        TunesmithError: One of them is refused or was cut off: the others end.
    """
    if len(answers) == 1:
        async with contextlib.aclosing(answers[0]) as lines:
            async for line in lines:
                yield 0, line
        return
    coming: asyncio.Queue[tuple[int, Line | Exception | None]] = asyncio.Queue(_AHEAD)

    async def read(number: int) -> None:
        try:
            async with contextlib.aclosing(answers[number]) as lines:
                async for line in lines:
                    await coming.put((number, line))
            await coming.put((number, None))
        except Exception as error:
            await coming.put((number, error))

    tasks = [asyncio.create_task(read(number)) for number in range(len(answers))]
    left = len(tasks)
    try:
        while left:
            number, said = await coming.get()
            if isinstance(said, Exception):
                raise said
            if said is None:
                left -= 1
            else:
                yield number, said
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def whole(request: Request, lines: Numbered, answer: Answer) -> Response:
    """Answers as one object.

    Raises:
        TunesmithError: It is refused, or was cut off.
    """
    pieces: list[list[Piece]] = [[] for _ in range(answer.count)]
    ended: dict[int, End] = {}

    async def read() -> None:
        async with contextlib.aclosing(lines):
            async for number, line in lines:
                if isinstance(line, Piece):
                    pieces[number].append(line)
                elif isinstance(line, End):
                    ended[number] = line

    try:
        await _while_connected(request, read())
    except _ClientGone:
        return Response(status_code=_GONE)
    if len(ended) < answer.count:
        raise Unavailable("The answer was cut off: it is not whole.", hint="Ask once more.")
    return JSONResponse(answer.whole([(pieces[number], ended[number]) for number in range(answer.count)]))


async def streamed(
    request: Request, lines: Numbered, answer: Answer, streams: Streams, headers: dict[str, str]
) -> Response:
    """Answers as events, begun once there is something to say.

    Raises:
        TunesmithError: It is refused at once.
    """
    source = _Source(lines, answer)
    source.start()
    try:
        await _while_connected(request, source.begun(_BEGIN_SECONDS))
        return _AnswerStream(source, streams, headers)
    except _ClientGone:
        source.detach()
        return Response(status_code=_GONE)
    except BaseException:
        source.detach()
        raise


async def _while_connected(request: Request, work: Awaitable[T]) -> T:
    """What work answers, unless the client leaves before.

    Raises:
        _ClientGone: It has left; the work has ended.
    """
    working = asyncio.ensure_future(work)
    listening = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({working, listening}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise _ClientGone
    finally:
        for task in (working, listening):
            task.cancel()
        await asyncio.gather(working, listening, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _Source:
    """Reads an answer's lines ahead of its client, as far as that may be behind."""

    def __init__(self, lines: Numbered, answer: Answer) -> None:
        self._lines, self._answer = lines, answer
        self._begun: set[int] = set()
        self._ready: deque[bytes] = deque()
        self._first, self._room = asyncio.Event(), asyncio.Event()
        self._wake: Callable[[], None] = lambda: None
        self._task: asyncio.Task[None] | None = None
        self._error: Exception | None = None
        self.is_over = False
        """Whether all was said, or the error that it ended in."""

    def start(self) -> None:
        """Begin to read."""
        self._task = asyncio.create_task(self._read())

    async def begun(self, seconds: float) -> None:
        """Wait for the first words of the answer, for a moment.

        Raises:
            TunesmithError: There are none: it is refused.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._first.wait(), seconds)
        if self._error is not None and not self._begun:
            raise self._error

    def attach(self, wake: Callable[[], None]) -> None:
        """See `StreamSource.attach`."""
        self._wake = wake

    def detach(self) -> None:
        """See `StreamSource.detach`: whatever is not read any more is not computed any more."""
        if self._task is not None:
            self._task.cancel()

    async def next(self) -> Chunk | None:
        """See `StreamSource.next`."""
        if self._ready:
            found = b"".join(self._ready)
            self._ready.clear()
            self._room.set()
            return Chunk(found)
        if self._error is not None and not self.is_over:
            self.is_over = True
            return Chunk(data(error_of(self._error)))
        return None if self.is_over else Chunk(b"")

    def last_words(self) -> bytes:
        """What a client is told whose stream ends before its answer: without it, it would take that for the end."""
        return b"" if self.is_over and not self._ready else data(error_of(self._error or _ENDING))

    async def _read(self) -> None:
        try:
            async with contextlib.aclosing(self._lines) as lines:
                async for number, line in lines:
                    await self._take(number, line)
            if not self.is_over:
                raise Unavailable("The answer was cut off: it is not whole.", hint="Ask once more.")
        except Exception as error:
            self._error = error
        finally:
            self._first.set()
            self._wake()

    async def _take(self, number: int, line: Line) -> None:
        if isinstance(line, Loading):
            self._put(comment(line.message or f"loading {line.seconds:.0f} s"))
            return
        if number not in self._begun:
            self._begun.add(number)
            self._put(self._answer.begin(number))
        if isinstance(line, Piece):
            self._put(self._answer.piece(line, number))
        elif isinstance(line, End):
            self._put(self._answer.end(line, number))
            if self._answer.is_whole:
                self._put(DONE)
                self.is_over = True
        self._first.set()
        while len(self._ready) > _AHEAD:
            self._room.clear()
            await self._room.wait()

    def _put(self, chunk: bytes) -> None:
        if chunk:
            self._ready.append(chunk)
            self._wake()


class _AnswerStream(EventStream):
    """An answer's stream: it ends whole or in an error, also when the server goes."""

    ping_chunk = _PING

    def __init__(self, source: _Source, streams: Streams, headers: dict[str, str]) -> None:
        super().__init__(source, streams)
        self.headers.update(headers)
        self._answer = source

    def _tail(self) -> Any:
        return self._answer.last_words()
