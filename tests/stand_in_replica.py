"""Stands in for a served model: speaks its wire over real HTTP, and says what a test writes. No test itself.

`tests/contract/test_replica_contract.py` holds it against what the platform counts on.
"""

import asyncio
import contextlib
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import uvicorn
from waiting import free_port, wait_until

from tunesmith.chat.wire import MAX_ASK_BYTES, STATUS, TOKEN_HEADER, Ask, Refused, ReplicaStatus

Script = Callable[[Ask], AsyncIterator[Any]]
"""What is said to a question: lines as objects, bytes as they are, a `Refused` before the first line."""
_PATH = re.compile(r"/chat-(?P<task>task-[0-9a-z]+)-(?P<attempt>\d+)/(?P<verb>\w+)")


def end(prompt: int = 7, completion: int = 3, **more: Any) -> dict[str, Any]:
    """The line that makes an answer whole."""
    return {
        "type": "end",
        "finish_reason": "stop",
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "first_token_seconds": 0.01,
        "seconds": 0.02,
        "engine": "stand-in",
    } | more


def piece(text: str, **more: Any) -> dict[str, Any]:
    """A piece of an answer."""
    return {"type": "piece", "text": text, "tokens": 1} | more


async def hello(_ask: Ask) -> AsyncIterator[Any]:
    """The least that a model says."""
    for word in ("Hello", " ", "world"):
        yield piece(word)
    yield end()


async def cut_off(_ask: Ask) -> AsyncIterator[Any]:
    """An answer that ends before it is whole."""
    yield piece("Hel")
    yield piece("lo")


class StandIn:
    """Answers on loopback."""

    def __init__(self) -> None:
        self.port = free_port()
        self.script: Script = hello
        self.token: str | None = None
        self.asked: list[Ask] = []
        self.verbs: list[tuple[str, dict[str, Any]]] = []
        self.running = self.left = 0
        """Questions that it answers now; and those whose asker left before they were answered."""
        self.left_at = 0.0
        config = uvicorn.Config(
            self._app, "127.0.0.1", self.port, interface="asgi3", log_config=None, lifespan="off"
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        found = _PATH.fullmatch(scope["path"])
        if found is None:
            await _whole(send, 404, b"Not Found")  # as Ray Serve's proxy says it
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        if self.token is not None and headers.get(TOKEN_HEADER.lower()) != self.token:
            await _refuse(send, Refused(code="unauthorized", message="The token is another's."))
        elif len(body) > MAX_ASK_BYTES:
            await _refuse(send, Refused(code="invalid_input", message="The question is too long."))
        elif found["verb"] == "ask":
            await self._answer(Ask.model_validate_json(body), receive, send)
        else:
            self.verbs.append((found["verb"], json.loads(body or b"{}")))
            await _whole(send, 200, ReplicaStatus(engine="stand-in").model_dump_json().encode())

    async def _answer(self, ask: Ask, receive: Any, send: Any) -> None:
        self.asked.append(ask)
        self.running += 1
        saying = asyncio.create_task(self._say(ask, send))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({saying, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not saying.done():
                self.left += 1
                self.left_at = time.monotonic()
            elif saying.exception() is not None:
                raise ConnectionResetError from saying.exception()  # the connection ends in the middle
        finally:
            self.running -= 1
            for task in (saying, leaving):
                task.cancel()

    async def _say(self, ask: Ask, send: Any) -> None:
        is_begun = False
        async for line in self.script(ask):
            if isinstance(line, Refused) and not is_begun:
                await _refuse(send, line)
                return
            if not is_begun:
                is_begun = True
                await _start(send, 200)
            data = line if isinstance(line, bytes) else _written(line)
            await send({"type": "http.response.body", "body": data, "more_body": True})
        if not is_begun:
            await _start(send, 200)
        await send({"type": "http.response.body", "body": b""})


def _written(line: Any) -> bytes:
    text = json.dumps(line) if isinstance(line, dict) else line.model_dump_json()
    return text.encode() + b"\n"


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _start(send: Any, status: int) -> None:
    headers = [(b"content-type", b"application/x-ndjson")]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _whole(send: Any, status: int, body: bytes) -> None:
    await _start(send, status)
    await send({"type": "http.response.body", "body": body})


async def _refuse(send: Any, refused: Refused) -> None:
    await _whole(send, STATUS[refused.code], refused.model_dump_json().encode())


@contextlib.contextmanager
def standing_in() -> Iterator[StandIn]:
    """A stand-in until the end of the block."""
    made = StandIn()
    made.thread.start()
    wait_until(lambda: made.server.started, 20, "the stand-in of a replica")
    try:
        yield made
    finally:
        made.server.should_exit = made.server.force_exit = True
        made.thread.join(timeout=5)
