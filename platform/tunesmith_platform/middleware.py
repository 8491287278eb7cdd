"""What stands before every endpoint: answers' numbers, our names, size limits, a proxy's path. Knows no route."""

import asyncio
import logging
import re
import secrets
import time
from http import HTTPStatus

from starlette import types as asgi
from starlette.exceptions import HTTPException
from starlette.requests import Request

import tunesmith
from tunesmith import versions
from tunesmith.errors import Forbidden, TooLarge, shortened
from tunesmith_platform.http import answer_error
from tunesmith_platform.logs import serving
from tunesmith_platform.loops import Broken
from tunesmith_platform.web_settings import ANY_HOST, is_allowed_host

logger = logging.getLogger(__name__)
REQUEST_ID = b"x-request-id"
_OURS = (versions.HEADER.lower().encode(), tunesmith.__version__.encode())


EXPOSED_HEADERS = (
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Idempotent-Replayed",
    "Location",
    "Retry-After",
    "X-Request-Id",
    versions.HEADER,
)
"""What of an answer's head pages of other origins may read, where any may call."""
_GIVEN = re.compile(rb"^[A-Za-z0-9._-]{1,64}$")
_BUSY = ("/reports", "/next")
"""Ends of routes that jobs call about once a second: a line for each would be all that there is."""


class Numbered:
    """Gives every answer of the API a number, which a user may name and each line of the log that it causes says.

    It is the caller's own where one is sent, so that a program finds its call in our log.

    Args:
        app: Who answers.
        tells: Whether each request is a line of the log, under its route: an address may hold a signature.
    """

    def __init__(self, app: asgi.ASGIApp, *, tells: bool = False) -> None:
        self._app, self._tells = app, tells

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or not scope["path"].removeprefix(scope.get("root_path", "")).startswith(
            "/v1"
        ):
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(REQUEST_ID, b"")
        number = given.decode() if _GIVEN.match(given) else f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {})["request_id"] = number
        begun, status = time.perf_counter(), 0

        async def numbered(message: asgi.Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (REQUEST_ID, number.encode()), _OURS]
            await send(message)

        with serving(request_id=number):
            try:
                await self._app(scope, receive, numbered)
            except BaseException:
                status = status or HTTPStatus.INTERNAL_SERVER_ERROR
                raise
            finally:
                if self._tells:
                    _tell(scope, status, time.perf_counter() - begun)


def _tell(scope: asgi.Scope, status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", None) or "no route"
    about = {
        "method": scope["method"],
        "route": route,
        "status": status,
        "milliseconds": round(seconds * 1000, 1),
    }
    about |= {
        name: str(value) for name, value in scope.get("path_params", {}).items() if name.endswith("_id")
    }
    level = logging.DEBUG if route.endswith(_BUSY) else logging.INFO
    logger.log(level, "%s %s %s", scope["method"], route, status, extra={"about": about})


class Contained:
    """Makes an `Exception` of whatever else a request raises: a native library's panic, `SystemExit`.

    So it gets the answer of any other failure of ours, in our shape, and ends neither the server nor the connection's
    task without a word.
    """

    def __init__(self, app: asgi.ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Pass a request on."""
        try:
            await self._app(scope, receive, send)
        except (Exception, asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            raise Broken(f"{type(error).__name__}: {error}") from error


MAX_ADDRESS_BYTES = 8 * 1024
"""Of a path and its query together."""


class BelowPath:
    """Takes requests below a path that a proxy serves the platform at, whether it takes that off or not.

    Args:
        app: Who answers them.
        path: Such as `/tunesmith`; empty for none.
    """

    def __init__(self, app: asgi.ASGIApp, path: str) -> None:
        self._app, self._path = app, path

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Pass a request on."""
        if self._path and scope["type"] == "http":
            scope["root_path"] = self._path
        await self._app(scope, receive, send)


class Hosts:
    """Takes requests that name us as their host.

    A page elsewhere may have its own name lead to this machine, and would then be of the same origin as we are: its
    requests still carry its name.

    Args:
        app: Who answers.
        names: Our names; with `*` among them nobody is refused.
    """

    def __init__(self, app: asgi.ASGIApp, names: frozenset[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http" and ANY_HOST not in self._names:
            asked = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
            # No browser leaves it out: who does is a balancer that looks whether we live.
            if not all(is_allowed_host(host, self._names) for host in asked):
                error = Forbidden(
                    f"This platform is not called `{shortened(asked[0], 100)}`.",
                    hint="Call it by its own address; or add the name to `TUNESMITH_ALLOWED_HOSTS`.",
                )
                await answer_error(error.status, error.body(), Request(scope))(scope, receive, send)
                return
        await self._app(scope, receive, send)


class BodyLimit:
    """Refuses bodies over a size, also those that do not say theirs; and addresses over one."""

    def __init__(self, app: asgi.ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max = max_bytes
        self._words = f"The body is over {max_bytes} bytes."

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Pass a request on, counting its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_ADDRESS_BYTES:
            await self._refuse(f"The address is over {MAX_ADDRESS_BYTES} bytes.", scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared[:20]) > self._max:
            await self._refuse(self._words, scope, receive, send)
            return
        seen = 0

        async def counted() -> asgi.Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._words)
            return message

        await self._app(scope, counted, send)

    async def _refuse(self, words: str, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        error = TooLarge(words)
        await answer_error(error.status, error.body(), Request(scope))(scope, receive, send)
