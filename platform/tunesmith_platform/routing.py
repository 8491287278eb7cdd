"""How a request is read: first who asks, then how much they sent, then what it says.

FastAPI reads and parses a body before it asks any dependency; here nobody's body is read before their token is known.
Knows HTTP and JSON; knows no noun.
"""

import json
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from tunesmith.errors import InvalidInput, TooLarge, shortened
from tunesmith.rows.files import decoding
from tunesmith_platform.described import OF_EVERY_ROUTE
from tunesmith_platform.worded import in_readers_language

Admission = Callable[[Request], Awaitable[Any]]
_AnyEndpoint = TypeVar("_AnyEndpoint", bound=Callable[..., Any])
_AnyAdmission = TypeVar("_AnyAdmission", bound=Callable[..., Awaitable[Any]])

MAX_JSON_BYTES = 2**20
"""A body that is no file and no batch: a few hundred times what the largest of them has."""
MAX_NAMES = 50_000
"""Names in one JSON object: each unknown one is an error of its own."""
SMALL_BYTES = 16 * 1024
"""A body that is read so fast that a thread for it would cost more."""
_MAX_DIGITS = len(str(2**63))
_ADMISSIONS: set[Any] = set()
_LARGE: set[Any] = set()
_WORDED: set[Any] = set()


def admission(dependency: _AnyAdmission) -> _AnyAdmission:
    """Mark a dependency that says who asks: a route asks it before it reads the body. It takes the request alone."""
    _ADMISSIONS.add(dependency)
    return dependency


def _dependants(route: APIRoute) -> list[Dependant]:
    """What a route depends on, itself among it."""
    found, waiting = [], [route.dependant]
    while waiting:
        dependant = waiting.pop()
        waiting += dependant.dependencies
        found.append(dependant)
    return found


def admissions_of(route: APIRoute) -> list[Admission]:
    """Whom a route asks before it reads."""
    asked = (dependant.call for dependant in _dependants(route))
    return [call for call in asked if call in _ADMISSIONS]  # type: ignore[misc]


def large_body(endpoint: _AnyEndpoint) -> _AnyEndpoint:
    """Mark an endpoint whose body is as large as the settings let in at all; others take `MAX_JSON_BYTES`."""
    _LARGE.add(endpoint)
    return endpoint


def worded(endpoint: _AnyEndpoint) -> _AnyEndpoint:
    """Mark an endpoint whose answer holds sentences for people: they are put into the language of who asks."""
    _WORDED.add(endpoint)
    return endpoint


class ApiRequest(Request):
    """A request whose body is read up to a limit, and off the event loop where it is long."""

    max_bytes = MAX_JSON_BYTES

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body's pieces, as long as they are within the limit."""
        seen = 0
        async for piece in super().stream():
            seen += len(piece)
            if seen > self.max_bytes:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self.too_large().message)
            yield piece

    def too_large(self) -> TooLarge:
        """What is answered to a longer body."""
        return TooLarge(f"The body is over {self.max_bytes} bytes.")

    async def json(self) -> Any:
        """The body as JSON, which every client would read alike."""
        body = await self.body()
        return read_json(body) if len(body) < SMALL_BYTES else await run_in_threadpool(read_json, body)


class LargeRequest(ApiRequest):
    """A request that may bring a piece of a file, or a list of a million numbers."""

    @property
    def max_bytes(self) -> int:  # type: ignore[override]
        """As much as the settings let in at all."""
        limit: int = self.app.state.services.settings.max_body_bytes
        return limit


_building = threading.RLock()


class ApiRoute(APIRoute):
    """A route that knows who asks before it reads, reads no more than it needs, and names every route's errors.

    Until it is asked for the first time it knows only which requests are its own: what FastAPI makes of an endpoint's
    parameters and answers costs milliseconds, and a start makes all routes.
    """

    request_class: type[ApiRequest] | None = None
    """How its requests are read, where that is not told by the endpoint."""
    of_every_route: Mapping[int | str, dict[str, Any]] = OF_EVERY_ROUTE
    """What any of them may answer, as it is described."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.path, self.endpoint = path, endpoint
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)
        self.name = options.get("name") or endpoint.__name__
        self.methods = {method.upper() for method in options.get("methods") or ("GET",)}
        self._options = options
        self._is_begun = False

    def __getattr__(self, name: str) -> Any:
        """Whatever else a route has: made when it is first looked for."""
        with _building:
            if name not in self.__dict__ and not self.__dict__.get("_is_begun", True):
                self._is_begun = True
                try:
                    super().__init__(
                        self.path,
                        self.endpoint,
                        **(
                            self._options
                            | {"responses": {**(self._options.get("responses") or {}), **self.of_every_route}}
                        ),
                    )
                except BaseException:
                    self._is_begun = False
                    raise
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError(f"a route has no `{name}`") from None

    def under(self, prefix: str, app: FastAPI) -> "ApiRoute":
        """The same route of an application, below a prefix."""
        options = self._options | {"dependency_overrides_provider": app}
        if isinstance(options.get("generate_unique_id_function"), DefaultPlaceholder):
            options["generate_unique_id_function"] = app.router.generate_unique_id_function
        return type(self)(prefix + self.path, self.endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own handler, behind the checks."""
        handle = super().get_route_handler()
        admissions = admissions_of(self)
        kind = self.request_class or (LargeRequest if self.endpoint in _LARGE else ApiRequest)

        has_query = any(dependant.query_params for dependant in _dependants(self))

        async def checked(request: Request) -> Response:
            _refuse_nul(request.path_params.values())
            if has_query:
                _refuse_nul(value for _name, value in request.query_params.multi_items())
            for admit in admissions:
                await admit(request)
            read = kind(request.scope, request.receive)
            declared = request.headers.get("content-length", "")
            if declared.isdecimal() and int(declared[:20]) > read.max_bytes:
                raise read.too_large()
            answer = await handle(read)
            return in_readers_language(request, answer) if self.endpoint in _WORDED else answer

        return checked


def _refuse_nul(texts: Iterable[Any]) -> None:
    """Nothing has a name with a NUL, and not every database takes one to look for."""
    if any(isinstance(text, str) and "\x00" in text for text in texts):
        raise InvalidInput("The address holds a NUL character.", hint="Remove it: nothing has such a name.")


def serve(app: FastAPI, router: APIRouter, prefix: str = "") -> None:
    """Add a router's routes to an application.

    FastAPI's own `include_router` makes every route a second time, at the first request; and asks each router before
    it asks its routes.

    Args:
        app: The application.
        router: A router with routes of this module's kind alone.
        prefix: What their paths begin with.
    """
    for route in router.routes:
        assert isinstance(route, ApiRoute)
        app.router.routes.append(route.under(prefix, app))


def read_json(body: bytes) -> Any:
    """A body as JSON: no name twice, no number that is none or over 64 bits, no NUL and no half of a character.

    Each of these would be lost or break a part behind: a database, another reader of the same JSON.

    Raises:
        InvalidInput: It is not such JSON.
        TooLarge: One of its objects has too many names.
    """
    try:
        found = _DECODER.decode(body.decode())
    except UnicodeDecodeError as error:
        raise _unreadable(f"byte {error.start} is no UTF-8") from None
    except json.JSONDecodeError as error:
        raise _unreadable(f"{error.msg} at column {error.colno} of line {error.lineno}") from None
    except decoding.NotFinite as error:
        raise _unreadable(
            f"`{shortened(str(error), 40)}` is no number that can be kept",
            "Integers have at most 64 bits, other numbers are finite.",
        ) from None
    except decoding.Twice as error:
        raise _unreadable(
            f"the name `{shortened(str(error), 40)}` stands twice in one object", "Keep one of them."
        ) from None
    except RecursionError:
        raise _unreadable("it is nested too deeply", "Write it flatter.") from None
    if decoding.may_smuggle(body):
        problem = decoding.unusable_text({"": found})
        if problem is not None:
            raise InvalidInput(
                problem.message.replace("The row", "The body"), hint=problem.hint, field=_place(found)
            )
    return found


def _place(found: Any) -> str:
    """Where the text is that cannot be used, as a field's path."""
    waiting: list[tuple[str, Any]] = [("", found)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str) and decoding.unusable_text({"": value}):
            return path or "body"
        items = (
            value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
        )
        for name, inner in items:
            if isinstance(name, str) and decoding.unusable_text({name: ""}):
                return path or "body"
            waiting.append((f"{path}.{name}" if path else str(name), inner))
    return "body"


def _unreadable(why: str, hint: str | None = None) -> InvalidInput:
    return InvalidInput(f"The body cannot be read as JSON: {why}.", hint=hint, field="body")


def _whole(digits: str) -> int:
    if len(digits) > _MAX_DIGITS + 1 or not -(2**63) <= (value := int(digits)) < 2**63:
        raise decoding.NotFinite(digits)
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_NAMES:
        raise TooLarge(f"An object of the body has {len(pairs)} names; at most {MAX_NAMES} are read.")
    return decoding.once(pairs)


_DECODER = json.JSONDecoder(
    parse_constant=decoding.refuse_constant,
    parse_float=decoding.finite,
    parse_int=_whole,
    object_pairs_hook=_once,
)
