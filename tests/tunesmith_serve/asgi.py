"""Calls an ASGI application as a server does, with a client that may leave at any time. No test itself."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from tunesmith.chat.wire import LINE, TOKEN_HEADER

TOKEN = "the token of this attempt"


class Call:
    """A request under way."""

    def __init__(
        self,
        app: Any,
        path: str,
        body: Any = None,
        *,
        method: str = "POST",
        token: str | None = TOKEN,
        length: int | None = None,
    ) -> None:
        data = b"" if body is None else body if isinstance(body, bytes) else body.model_dump_json().encode()
        headers = [(b"content-length", str(len(data) if length is None else length).encode())]
        if token is not None:
            headers.append((TOKEN_HEADER.lower().encode(), token.encode()))
        scope = {"type": "http", "method": method, "path": path, "headers": headers}
        self._coming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for start in range(0, max(1, len(data)), 2**16):
            part = data[start : start + 2**16]
            more = start + 2**16 < len(data)
            self._coming.put_nowait({"type": "http.request", "body": part, "more_body": more})
        self.taken = 0
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""
        self.is_whole = False
        self.changed = asyncio.Event()
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        self.taken += 1
        return await self._coming.get()

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]
            self.is_whole = not message["more_body"]
        self.changed.set()

    def leave(self) -> None:
        """The client goes away."""
        self._coming.put_nowait({"type": "http.disconnect"})

    async def ended(self) -> "Call":
        """Wait until the response is whole, or the application is done with it."""
        await asyncio.wait_for(asyncio.shield(self.task), 10)
        return self

    async def lines(self, count: int) -> list[Any]:
        """Wait for so many lines."""
        async with asyncio.timeout(10):
            while self.body.count(b"\n") < count:
                self.changed.clear()
                await self.changed.wait()
        return self.all

    @property
    def all(self) -> list[Any]:
        """The lines so far."""
        return [LINE.validate_json(line) for line in self.body.splitlines()]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)
