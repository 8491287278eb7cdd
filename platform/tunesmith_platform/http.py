"""What every endpoint shares: who asks, how answers and errors are described and sent. Knows HTTP; knows no noun."""

import contextlib
import hashlib
import logging
import math
from http import HTTPStatus
from typing import Annotated, Any, Protocol, cast
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from tunesmith.access import Role
from tunesmith.errors import (
    ErrorBody,
    ErrorResponse,
    Fault,
    Forbidden,
    InvalidInput,
    TunesmithError,
    Unauthorized,
    Unavailable,
)
from tunesmith.language import Language, language_of, tr
from tunesmith.limits import MAX_COUNT
from tunesmith.secret_values import hide_in_json, known_secrets
from tunesmith.spec.problems import problems_error
from tunesmith.storage_away import StorageAway
from tunesmith.versions import HEADER, skew_of_client
from tunesmith_platform.auth import WHERE_THE_KEY_IS, Identity, Keys, Shown, digest_of
from tunesmith_platform.caller import Change, name_owner
from tunesmith_platform.clock import MADE
from tunesmith_platform.db.engine import AWAY, why_away
from tunesmith_platform.described import described
from tunesmith_platform.logs import serving
from tunesmith_platform.own_page import is_own_page
from tunesmith_platform.rates import Rate
from tunesmith_platform.routing import admission
from tunesmith_platform.scope import Scope

logger = logging.getLogger(__name__)
_scheme = HTTPBearer(auto_error=False, description="The API key: `Authorization: Bearer <key>`.")


# These are coroutines, because FastAPI sends plain functions through a thread: three hops a request for nothing.


async def services_of(request: Request) -> Any:
    """The control plane's parts. Who asks for them says by a protocol of its own (`Services`) which it works with."""
    return request.app.state.services


def bearer(request: Request) -> str:
    """The bearer token of a request.

    Raises:
        Unauthorized: There is none.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized(
            "An API key is needed.",
            hint=WHERE_THE_KEY_IS,
        )
    return token.strip()


@admission
async def scope_of(request: Request, _scheme: Annotated[Any, Depends(_scheme)] = None) -> Scope:
    """Whose data the request may see and change. The scheme is named for the API's description alone.

    Raises:
        Forbidden: It changes something, and its key only reads.
    """
    identity = await identity_of(request)
    if request.method not in _SAFE:
        identity.expect(Role.MEMBER)
    return _entered(request, identity)


@admission
async def reading_scope_of(request: Request, _scheme: Annotated[Any, Depends(_scheme)] = None) -> Scope:
    """As `scope_of`, where whoever may read may ask: for a call that is a POST and changes nothing."""
    return _entered(request, await identity_of(request))


@admission
async def admin_scope_of(request: Request, _scheme: Annotated[Any, Depends(_scheme)] = None) -> Scope:
    """As `scope_of`, for those whose key is an administrator's."""
    identity = await identity_of(request)
    identity.expect(Role.ADMIN)
    return _entered(request, identity)


@admission
async def entered(request: Request, _scheme: Annotated[Any, Depends(_scheme)] = None) -> Identity:
    """Who asks, whatever its role: for what everybody may do about themselves."""
    identity = await identity_of(request)
    _name(request, identity)
    return identity


def _entered(request: Request, identity: Identity) -> Scope:
    _name(request, identity)
    return identity.scope()


def _name(request: Request, identity: Identity) -> None:
    """Note who asks, and what is to be noted with what it changes."""
    if request.method in _SAFE:
        name_owner(identity.name)
        return
    if not request.scope.get(_COUNTED):  # a route asks before it reads, and its endpoint once more
        changes = cast(Rate, request.app.state.services.changes)
        changes.require(identity.key)
        changes.add(identity.key)
        request.scope[_COUNTED] = True
    made: list[str] = []
    MADE.set(made)
    change = Change(
        who=identity.name,
        role=identity.role,
        key_id=identity.key_id,
        action=request.scope["route"].name,
        subject="/".join(map(str, request.path_params.values())),
        request_id=request.scope.get("state", {}).get("request_id", ""),
        address=request.client.host if request.client else "",
        made=made,
    )
    name_owner(identity.name, change)


async def identity_of(request: Request) -> Identity:
    """Whose key this is, or whose a browser's session stands for.

    Only one that is new, or was not looked up for a while, takes the way to the database.

    Raises:
        Unauthorized: It is nobody's.
        Forbidden: A page of another origin asks with this browser's session.
    """
    if (shown := request.scope.get(SHOWN)) is not None:  # its route has asked before
        return cast(Shown, shown).identity
    keys = cast(Keys, request.app.state.services.keys)
    cookie = "" if "Authorization" in request.headers else session_cookie(request)
    if cookie:
        of_own_page(request)
        known = keys.remembered_session(cookie)
        if known is None:
            known = await run_in_threadpool(keys.identity_of_session, cookie)
        request.scope[SHOWN] = Shown(known, digest_of(cookie))
        return known
    key = bearer(request)
    known = keys.remembered(key)
    if known is None:
        with counting_wrong(request):
            known = await run_in_threadpool(keys.identity, key)
    request.scope[SHOWN] = Shown(known)
    return known


def counting_wrong(
    request: Request, kind: str = "key", *, is_costly: bool = False
) -> contextlib.AbstractContextManager[None]:
    """Count against a caller's address what it shows of a kind and counts for nothing; as `Rate.counting_wrong`."""
    address = request.client.host if request.client else ""
    wrong = cast(Rate, request.app.state.services.wrong_keys)
    return wrong.counting_wrong(f"{kind} {address}", is_costly=is_costly)


SHOWN = "tunesmith.shown"
"""Where a request's scope says with what somebody came in: its answer ends with that."""
_COUNTED = "tunesmith.counted"
STUDIO_HEADER = "X-Tunesmith-Studio"
"""What the studio's pages send with what they change: no form and no plain request of another page has it."""
_SAFE = ("GET", "HEAD")


class _Reached(Protocol):
    public_url: str


def session_cookie_name(settings: _Reached) -> str:
    """The name of the session's cookie: cookies of one host are shared by all its ports, so it names the platform."""
    return f"tunesmith_{hashlib.sha256(settings.public_url.encode()).hexdigest()[:8]}"


def session_cookie(request: Request) -> str:
    """The session that a browser shows; "" when it shows none."""
    return request.cookies.get(session_cookie_name(request.app.state.services.settings), "")


def of_own_page(request: Request) -> None:
    """See that a browser asks for a page of ours.

    What changes something carries a header that only own pages can set.

    Raises:
        Forbidden: It asks for another page, or cannot say for which.
    """
    headers = request.headers
    public = urlsplit(request.app.state.services.settings.public_url).netloc
    hosts = {headers.get("host", ""), public}
    is_own = is_own_page(headers.get("sec-fetch-site", ""), headers.get("origin", ""), hosts)
    if not is_own or (request.method not in _SAFE and STUDIO_HEADER not in headers):
        raise Forbidden(
            "This request was not made by a page of the studio.",
            hint=f"Pages send `{STUDIO_HEADER}` and come from this address; programs show an API key.",
        )


ScopeDep = Annotated[Scope, Depends(scope_of)]
ReadingScopeDep = Annotated[Scope, Depends(reading_scope_of)]
AdminScopeDep = Annotated[Scope, Depends(admin_scope_of)]
IdentityDep = Annotated[Identity, Depends(entered)]
OptionalKey = Annotated[Any, Depends(_scheme)]
"""Names the scheme for the API's description; the endpoint itself decides whether a key is needed."""
After = Annotated[str | None, Query(max_length=120, description="`next` of the page before.")]
AfterNumber = Annotated[int | None, Query(ge=1, le=MAX_COUNT, description="`next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Entries of a page at the most.")]
TaskId = Annotated[
    str, Path(description="The task's id.", min_length=3, max_length=40, pattern=r"^[a-z]+-[0-9a-z]+$")
]


def answers(example: Any, *errors: int, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint: its success with an example, and each error of its own, with one.

    Args:
        example: What success looks like; None when there is no body.
        errors: HTTP statuses of its own errors; those of every route are added where it is made (`ApiRoute`).
        status: The success's HTTP status.
    """
    found: dict[int | str, dict[str, Any]] = {}
    if example is not None:
        body = example.model_dump(mode="json") if isinstance(example, BaseModel) else example
        found[status] = {"content": {"application/json": {"example": body}}}
    found |= {code: described(code) for code in errors}
    return found


def made_or_found(example: BaseModel, words: str, *errors: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint that makes something, or finds that it was there before.

    Args:
        example: What it answers in both cases.
        words: How what was there before came to be there.
        errors: As of `answers`.
    """
    found = answers(example, *errors, status=201)
    return found | {200: {"model": type(example), "description": words, **found[201]}}


def say_made(response: Response, is_new: bool, location: str | None = None, *, is_keyed: bool = True) -> None:
    """Say in an answer's head whether the call made what it answers.

    Args:
        response: The answer.
        is_new: Whether it did; else it was there before.
        location: Where it is found from now on.
        is_keyed: Whether it was there by the call's `Idempotency-Key`.
    """
    if not is_new:
        response.status_code = HTTPStatus.OK
        if is_keyed:
            response.headers["Idempotent-Replayed"] = "true"
    if location is not None:
        response.headers["Location"] = location


_RETRY_AFTER_SECONDS = 1
"""When to come again after an answer that says a part is away: the next try is cheap for both."""


def answer_error(status: int, body: ErrorBody, request: Request | None = None) -> Response:
    """An error in the one shape; in the language of whoever asks, where the request is given."""
    if request is not None and language_of(request.headers.get("accept-language", "")) is Language.ZH:
        body = _in_chinese(body)
    if request is not None and status in _OF_ANOTHER_VERSION:
        body = _with_skew(body, request)
    headers: dict[str, str] = {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if status == HTTPStatus.SERVICE_UNAVAILABLE or "retry_after" in body.details:
        headers["Retry-After"] = str(math.ceil(body.details.get("retry_after", _RETRY_AFTER_SECONDS)))
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        # Nobody knows how much of the request was read: what comes next on the connection could be its rest.
        headers["Connection"] = "close"
    # Some words are those of a storage or a service, which may repeat what we showed it: they are for us alone.
    said = hide_in_json(
        bytes(JSONResponse(ErrorResponse(error=body).model_dump(mode="json")).body), known_secrets()
    )
    return Response(said, status_code=status, headers=headers, media_type="application/json")


_OF_ANOTHER_VERSION = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.UNPROCESSABLE_ENTITY)
"""What a call is answered that a version knows and another does not."""


def _with_skew(body: ErrorBody, request: Request) -> ErrorBody:
    """An error that says too that an older client asked, which may be why."""
    words = skew_of_client(request.headers.get(HEADER))
    if not words:
        return body
    language = language_of(request.headers.get("accept-language", ""))
    hint = " ".join(filter(None, (body.hint, tr(words, language))))
    return body.model_copy(update={"hint": hint})


def _in_chinese(body: ErrorBody) -> ErrorBody:
    """An error for who asks for Chinese; programs that say nothing get English, and translate what they show."""

    def put(text: str | None) -> str | None:
        return tr(text, Language.ZH) if text else text

    problems = [
        one.model_copy(update={"message": put(one.message), "hint": put(one.hint)}) for one in body.problems
    ]
    return body.model_copy(
        update={"message": put(body.message), "hint": put(body.hint), "problems": problems}
    )


def _known(request: Request, error: Exception) -> Response:
    assert isinstance(error, TunesmithError)
    return answer_error(error.status, error.body(), request)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    items = error.errors()
    in_body = all(item["loc"][:1] == ("body",) for item in items)
    known = problems_error(items, _body_model(request) if in_body else None, skip=1)
    return answer_error(known.status, known.body(), request)


def _body_model(request: Request) -> type[BaseModel] | None:
    route = request.scope.get("route")
    field = getattr(route, "body_field", None)
    kind = getattr(getattr(field, "field_info", None), "annotation", None)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI could not read the body
        cause = error.__cause__
        unreadable = (
            cause
            if isinstance(cause, TunesmithError)
            else InvalidInput("The body cannot be read.", field="body")
        )
        return answer_error(unreadable.status, unreadable.body())
    codes = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
    body = ErrorBody(code=codes.get(error.status_code, "http"), message=str(error.detail), fault=Fault.USER)
    return answer_error(error.status_code, body, request)


def _away(request: Request, error: Exception) -> Response:
    known = why_away(error)
    if known is None:
        return _unexpected(request, error)
    logger.error("database: %s: %s", known.code, error)
    return answer_error(known.status, known.body(), request)


def _storage_away(request: Request, error: Exception) -> Response:
    logger.error("storage: %s", error)
    known = Unavailable("The storage does not answer.", details={"reason": str(error)[:300]})
    return answer_error(known.status, known.body(), request)


def _unexpected(request: Request, error: Exception) -> Response:
    number = request.scope.get("state", {}).get("request_id", "")
    with serving(request_id=number):  # what sets that has been left by now
        logger.exception("%s %s failed %s", request.method, request.url.path, number, exc_info=error)
    body = ErrorBody(
        code="internal",
        message="Something went wrong on our side.",
        hint="`tunesmith logs api` has the details.",
        fault=Fault.PLATFORM,
    )
    return answer_error(500, body, request)


def install_errors(app: FastAPI) -> None:
    """Make every error answer in one shape."""
    app.add_exception_handler(TunesmithError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(StorageAway, _storage_away)
    app.add_exception_handler(Exception, _unexpected)
    for kind in AWAY:
        app.add_exception_handler(kind, _away)
