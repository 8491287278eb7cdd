"""How the API listens: uvicorn, with an end for the live streams and a way to break a connection off.

Knows uvicorn and the streams; knows no endpoint.
"""

import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tunesmith_platform.sse import ABORT


class _Protocol(HttpToolsProtocol):
    def on_message_begin(self) -> None:
        super().on_message_begin()
        # ASGI cannot say it: `close` waits for a reader that does not read.
        self.scope["extensions"] = {ABORT: {"abort": self.transport.abort}}


class ApiServer(uvicorn.Server):
    """Serves the control plane.

    Args:
        app: The control plane, as `app.create_app` makes it.
        host: Where to listen.
        port: Where to listen.
        grace_seconds: How long requests may take that are under way when the server is asked to end.
    """

    def __init__(self, app: FastAPI, host: str, port: int, grace_seconds: int = 3) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http=_Protocol,
                access_log=False,
                log_config=None,
                timeout_graceful_shutdown=grace_seconds,
            )
        )
        self._end_streams: Callable[[], None] = app.state.services.streams.close

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the live streams, which would never end by themselves; then as uvicorn does it."""
        self._end_streams()
        await super().shutdown(sockets)
