"""Answers that go on end with what let their reader in: live streams, chats, downloads. Knows ASGI; knows no route.

One timer of the process looks every few seconds whether the keys and sessions still count, in one query for all.
"""

import asyncio
import logging

from starlette import types as asgi
from starlette.concurrency import run_in_threadpool

from tunesmith_platform.auth import Keys, Shown
from tunesmith_platform.http import SHOWN
from tunesmith_platform.sse import ABORT

logger = logging.getLogger(__name__)
LOOK_SECONDS = 3.0


class _Open:
    """An answer that has begun."""

    __slots__ = ("_scope", "_task", "at", "shown")

    def __init__(self, scope: asgi.Scope, shown: Shown) -> None:
        self._scope, self.shown = scope, shown
        self._task = asyncio.current_task()
        self.at = asyncio.get_running_loop().time()

    def cut(self) -> None:
        """Break it off: its reader may ask again, and is told then."""
        abort = self._scope.get("extensions", {}).get(ABORT, {}).get("abort")
        if abort is not None:
            abort()
        elif self._task is not None:
            self._task.cancel()


class OpenAnswers:
    """Looks after the answers that are under way.

    Args:
        app: Who answers.
        keys: Who may come in.
    """

    def __init__(self, app: asgi.ASGIApp, keys: Keys) -> None:
        self._app, self._keys = app, keys
        self._open: set[_Open] = set()
        self._timer: asyncio.Task[None] | None = None

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun: _Open | None = None

        async def noted(message: asgi.Message) -> None:
            nonlocal begun
            shown = scope.get(SHOWN)
            if message["type"] == "http.response.start" and shown is not None:
                begun = _Open(scope, shown)
                self._add(begun)
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            if begun is not None:
                self._open.discard(begun)

    def _add(self, begun: _Open) -> None:
        self._open.add(begun)
        loop = asyncio.get_running_loop()
        if self._timer is None or self._timer.done() or self._timer.get_loop() is not loop:
            self._timer = loop.create_task(self._look())

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while self._open:
            await asyncio.sleep(LOOK_SECONDS)
            # Most answers are over by then, and nothing is asked for them.
            going = [one for one in self._open if one.at < loop.time() - LOOK_SECONDS / 2]
            if not going:
                continue
            try:
                ended = await run_in_threadpool(self._keys.ended, {one.shown for one in going})
            except Exception as error:
                logger.warning("Whether open answers may go on cannot be looked up: %s", error)
                continue
            for one in going:
                if one.shown in ended:
                    one.cut()
