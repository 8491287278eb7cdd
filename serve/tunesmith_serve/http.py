"""The HTTP side of a replica, as an ASGI application: who may ask, how much, and the lines of an answer.

The token is looked at before anything else is read. A client that left is noticed at once, also while nothing has been
said yet, and its answer ends. Knows ASGI; knows no Ray. Ray Serve keeps what a slow client has not read: the bound of
that is the bound of an answer (`MAX_NEW_TOKENS`), times those that run at once.
"""

import asyncio
import hmac
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tunesmith.chat.wire import MAX_ASK_BYTES, STATUS, TOKEN_HEADER, Ask, Failed, Pin, Refused, Unload
from tunesmith.plain_text import as_json
from tunesmith_serve.answering import Refusal
from tunesmith_serve.asking import Questions, Said

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LINES = "application/x-ndjson"
_HEADER = TOKEN_HEADER.lower().encode()
_log = logging.getLogger("tunesmith_serve.http")
_Body = TypeVar("_Body", bound=BaseModel)


class Gone(Exception):
    """The client left."""


class ChatApp:
    """The routes of a replica.

    Args:
        token: What callers show.
        questions: Answers them.
    """

    def __init__(self, token: str, questions: Questions) -> None:
        self._token, self._questions = token.encode(), questions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        response = _Response(send)
        try:
            self._check_token(scope)
            route = (scope["method"], scope["path"].rstrip("/").rpartition("/")[2])
            match route:
                case ("POST", "ask"):
                    await self._ask(await _body(scope, receive, Ask), receive, response)
                case ("GET", "status"):
                    await response.whole(200, as_json(self._questions.status))
                case ("POST", "pin"):
                    self._questions.pin(await _body(scope, receive, Pin))
                    await response.whole(200, as_json(self._questions.status))
                case ("POST", "unload"):
                    await self._questions.shelf.unload((await _body(scope, receive, Unload)).weights)
                    await response.whole(200, as_json(self._questions.status))
                case _:
                    raise Refusal(Refused(code="invalid_input", message="There is no such route."), 404)
        except Refusal as refusal:
            await response.refuse(refusal)
        except Gone:
            _log.debug("a client left")
        except Exception:
            _log.exception("a question could not be answered")
            refused = Refused(code="failed", message="The question could not be answered; the log says why.")
            await response.refuse(Refusal(refused))

    def _check_token(self, scope: Scope) -> None:
        shown = next((value for name, value in scope["headers"] if name.lower() == _HEADER), b"")
        if not hmac.compare_digest(shown, self._token):
            raise Refusal(
                Refused(code="unauthorized", message=f"`{TOKEN_HEADER}` is missing, or is another attempt's.")
            )

    async def _ask(self, ask: Ask, receive: Receive, response: "_Response") -> None:
        pump = asyncio.create_task(_pumped(self._questions.lines(ask), response))
        left = asyncio.create_task(_left(receive))
        ending = asyncio.create_task(self._questions.ended())
        tasks: set[asyncio.Task[Any]] = {pump, left, ending}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                await pump
            elif ending.done():
                await _stopped(pump)
                await response.fail(ending.result())
            else:
                raise Gone
        finally:
            for task in tasks:
                await _stopped(task)


class _Response:
    """What goes back; begins with the first line, or with a refusal."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.is_begun = False

    async def line(self, line: BaseModel) -> None:
        """Send a line."""
        if not self.is_begun:
            await self._begin(200, LINES)
        body = as_json(line) + b"\n"
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self) -> None:
        """Send that this was all."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def whole(self, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        """Send a response at once."""
        await self._begin(status, "application/json", headers)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def refuse(self, refusal: Refusal) -> None:
        """Say that there is no answer: as the response, or as its last line."""
        refused = refusal.refused
        if self.is_begun:
            await self.line(refused)
            await self.end()
            return
        headers: tuple[tuple[bytes, bytes], ...] = ()
        if refused.retry_after is not None:
            headers = ((b"retry-after", str(max(1, round(refused.retry_after))).encode()),)
        await self.whole(refusal.status or STATUS[refused.code], as_json(refused), headers)

    async def fail(self, message: str) -> None:
        """Say that an answer ends here."""
        if self.is_begun:
            await self.line(Failed(message=message, hint="Ask again in a moment."))
            await self.end()
        else:
            await self.refuse(Refusal(Refused(code="busy", message=message, retry_after=5)))

    async def _begin(self, status: int, content: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.is_begun = True
        more = [(b"content-type", content.encode()), (b"cache-control", b"no-store"), *headers]
        await self._send({"type": "http.response.start", "status": status, "headers": more})


async def _pumped(lines: AsyncGenerator[Said, None], response: _Response) -> None:
    async with aclosing(lines):
        async for line in lines:
            await response.line(line)
    await response.end()


async def _left(receive: Receive) -> None:
    """Wait until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _stopped(task: "asyncio.Task[Any]") -> None:
    """End a task; returns once it has."""
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task


async def _body(scope: Scope, receive: Receive, kind: type[_Body]) -> _Body:
    """The body of a request.

    Raises:
        Refusal: It is too large, or not what is asked for.
        Gone: The client left.
    """
    length = next((value for name, value in scope["headers"] if name.lower() == b"content-length"), b"0")
    size, parts = 0, []
    if length.isdigit() and int(length) > MAX_ASK_BYTES:
        raise _too_large()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_ASK_BYTES:
            raise _too_large()
        if not message.get("more_body", False):
            break
    try:
        return kind.model_validate(json.loads(b"".join(parts)))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise Refusal(
            Refused(code="invalid_input", message=f"`{place}`: {first['msg']}.", field=place)
        ) from error
    except (ValueError, RecursionError) as error:
        raise Refusal(Refused(code="invalid_input", message="The body is no JSON.")) from error


def _too_large() -> Refusal:
    message = f"The question is larger than {MAX_ASK_BYTES} bytes."
    return Refusal(Refused(code="invalid_input", message=message, hint="Shorten the conversation."), 413)
