"""Browsers over HTTP: a link with a one-time code, the session that it becomes, its end."""

from http import HTTPStatus
from typing import Annotated, Protocol

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from tunesmith.access import SessionView, SignInLink
from tunesmith_platform import examples
from tunesmith_platform.access.service import AccessService, SignedIn
from tunesmith_platform.auth import Identity
from tunesmith_platform.clock import now
from tunesmith_platform.http import (
    IdentityDep,
    OptionalKey,
    answers,
    bearer,
    counting_wrong,
    of_own_page,
    services_of,
    session_cookie,
    session_cookie_name,
)
from tunesmith_platform.routing import ApiRoute, admission
from tunesmith_platform.settings import Settings

router = APIRouter(tags=["access"], route_class=ApiRoute)


class Services(Protocol):
    """The parts that these endpoints ask."""

    access: AccessService
    settings: Settings


ServicesDep = Annotated[Services, Depends(services_of)]


@admission
async def shown(request: Request) -> str:
    """The code or the key that who signs in shows; no other page may sign a browser in as somebody."""
    credential = bearer(request)
    of_own_page(request)
    return credential


@router.post("/sessions:link", response_model=SignInLink, responses=answers(examples.SIGN_IN_LINK, 401))
async def sign_in_link(request: Request, services: ServicesDep, _who: IdentityDep) -> SignInLink:
    """Make an address that signs one browser in, once, within some minutes. With a key alone: no session makes more."""
    return await run_in_threadpool(services.access.link, bearer(request))


@router.post(
    "/sessions",
    response_model=SessionView,
    status_code=201,
    responses=answers(examples.SESSION, 401, 403, status=201),
)
async def sign_in(
    request: Request,
    response: Response,
    services: ServicesDep,
    credential: Annotated[str, Depends(shown)],
    _scheme: OptionalKey,
) -> SessionView:
    """Sign this browser in, by a link's code or by a key, shown as a bearer token. The answer sets a cookie."""
    keys = request.app.state.services.keys
    with counting_wrong(request):
        begun = await run_in_threadpool(services.access.sign_in, credential)
    set_session(response, begun, services.settings, is_secure=is_secure(request, services.settings))
    identity = await run_in_threadpool(keys.identity_of_session, begun.cookie)
    return _view(identity)


@router.get("/sessions/current", response_model=SessionView, responses=answers(examples.SESSION, 401))
async def current_session(identity: IdentityDep) -> SessionView:
    """Say who one is here, where one works, and until when where that ends."""
    return _view(identity)


@router.delete("/sessions/current", status_code=204, responses=answers(None, 401))
async def sign_out(request: Request, services: ServicesDep, _who: IdentityDep) -> Response:
    """Sign this browser out. Other browsers stay signed in."""
    cookie = session_cookie(request)
    if cookie:
        await run_in_threadpool(services.access.sign_out, cookie)
    response = Response(status_code=HTTPStatus.NO_CONTENT)
    response.delete_cookie(session_cookie_name(services.settings), path="/", httponly=True, samesite="strict")
    return response


def set_session(response: Response, begun: SignedIn, settings: Settings, *, is_secure: bool) -> None:
    """Let a browser keep its session, which only the server reads and no other site's page sends along."""
    response.set_cookie(
        session_cookie_name(settings),
        begun.cookie,
        max_age=max(0, int((begun.expires_at - now()).total_seconds())),
        path="/",
        httponly=True,
        samesite="strict",
        secure=is_secure,
    )
    response.headers["Cache-Control"] = "no-store"


def is_secure(request: Request, settings: Settings) -> bool:
    """Whether browsers come by TLS."""
    return request.url.scheme == "https" or settings.public_url.startswith("https:")


def _view(identity: Identity) -> SessionView:
    projects = None if identity.projects is None else sorted(identity.projects)
    return SessionView(
        name=identity.name, role=identity.role, projects=projects, expires_at=identity.expires_at
    )
