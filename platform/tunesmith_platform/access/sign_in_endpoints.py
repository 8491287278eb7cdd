"""Signing in by an identity provider over HTTP: which there is, the way there, the way back.

A browser comes by itself, so what fails leads to the studio, which says why; the log says more.
"""

import logging
from http import HTTPStatus
from typing import Annotated, Any, Protocol
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse

from tunesmith.access import SignInOptions
from tunesmith_platform import examples
from tunesmith_platform.access.endpoints import is_secure, set_session
from tunesmith_platform.access.provider import SignInRefused
from tunesmith_platform.access.sign_in_service import (
    ATTEMPT_SECONDS,
    LEAVES,
    Brought,
    Entered,
    Origin,
    SignInService,
)
from tunesmith_platform.clock import now
from tunesmith_platform.http import answers, services_of, session_cookie_name
from tunesmith_platform.rates import Rate
from tunesmith_platform.routing import ApiRoute
from tunesmith_platform.settings import Settings

logger = logging.getLogger(__name__)
router = APIRouter(tags=["access"], route_class=ApiRoute)


class Services(Protocol):
    """The parts that these endpoints ask."""

    sign_in: SignInService
    wrong_keys: Rate
    settings: Settings


ServicesDep = Annotated[Services, Depends(services_of)]
Brief = Annotated[str, Query(max_length=200)]
Long = Annotated[str, Query(max_length=4096)]
_TOKEN_CHARACTERS = 3500
"""Of an ID token that a browser keeps, at most: it takes a cookie of 4096 with its name and where it counts."""
_TOO_LONG = "-"
_ON: dict[int | str, dict[str, Any]] = {303: {"description": "The browser goes on."}}


@router.get("/sign-in", response_model=SignInOptions, responses=answers(examples.SIGN_IN_OPTIONS))
async def sign_in_options(services: ServicesDep) -> SignInOptions:
    """Say how a browser may come in besides by a link and a key. Needs no key."""
    return services.sign_in.options()


@router.get(
    "/sign-in/oidc", response_class=Response, status_code=303, responses=answers(None, 404, 422) | _ON
)
async def begin_sign_in(
    request: Request,
    services: ServicesDep,
    onward: Annotated[
        str, Query(alias="next", max_length=300, description="The studio's page to go on to.")
    ] = "",
) -> Response:
    """Send this browser to the identity provider. Needs no key."""
    try:
        address, kept = await run_in_threadpool(services.sign_in.begin, onward)
    except SignInRefused as refused:
        return _refused(services.settings, refused)
    response = _to(address)
    # Lax: the way back begins at another site.
    response.set_cookie(
        _cookie_name(request, services.settings),
        kept,
        max_age=ATTEMPT_SECONDS,
        path="/",
        httponly=True,
        samesite="lax",
        secure=is_secure(request, services.settings),
    )
    return response


@router.get(
    "/sign-in/oidc/callback",
    response_class=Response,
    status_code=303,
    responses=answers(None, 404, 422) | _ON,
)
async def finish_sign_in(
    request: Request,
    services: ServicesDep,
    state: Brief = "",
    code: Long = "",
    error: Brief = "",
    iss: Long | None = None,
) -> Response:
    """Take a browser back from the identity provider: a session for whom it names. Needs no key."""
    settings, name = services.settings, _cookie_name(request, services.settings)
    origin = Origin(
        request.scope.get("state", {}).get("request_id", ""), request.client.host if request.client else ""
    )
    # Each asks the provider and is noted as used: who is refused too often waits.
    who = f"sign-in {origin.address}"
    services.wrong_keys.require(who)
    try:
        entered = await run_in_threadpool(
            services.sign_in.finish, request.cookies.get(name, ""), Brought(state, code, error, iss), origin
        )
        response = _to(f"{_studio(settings)}#/{entered.onward}")
        set_session(response, entered.session, settings, is_secure=is_secure(request, settings))
        _keep_token(response, entered, request, settings)
    except SignInRefused as refused:
        services.wrong_keys.add(who)
        response = _refused(settings, refused)
    response.delete_cookie(name, path="/", httponly=True, samesite="lax", secure=is_secure(request, settings))
    return response


@router.get(
    "/sign-in/oidc/sign-out",
    response_class=Response,
    status_code=303,
    responses=answers(None, 404, 422) | _ON,
)
async def leave_provider(request: Request, services: ServicesDep) -> Response:
    """Send a browser that came in by the identity provider there to end its session, where the provider can.

    Its session here is ended before, by `DELETE /v1/sessions/current`. Any other goes on to the studio. Needs no key.
    """
    settings, name = services.settings, _token_name(services.settings)
    kept = request.cookies.get(name, "")
    left = await run_in_threadpool(services.sign_in.leave, kept.removeprefix(_TOO_LONG))
    response = _to(left if kept and left else _studio(settings))
    response.delete_cookie(name, **_of_token(request, settings))
    return response


@router.get(
    "/sign-in/oidc/signed-out",
    response_class=Response,
    status_code=303,
    responses=answers(None, 404, 422) | _ON,
)
async def back_from_leaving(services: ServicesDep, state: Long = "") -> Response:
    """Take a browser back that has ended its session at the identity provider. Needs no key."""
    if not services.sign_in.is_left(state):
        logger.warning("a browser comes back from a sign-out that was not begun here, or long ago")
    return _to(_studio(services.settings))


def _keep_token(response: Response, entered: Entered, request: Request, settings: Settings) -> None:
    """Let a browser keep the ID token, which only its sign-out reads, and no other site's page sends along."""
    token = entered.id_token if len(entered.id_token) <= _TOKEN_CHARACTERS else _TOO_LONG
    seconds = max(0, int((entered.session.expires_at - now()).total_seconds()))
    response.set_cookie(_token_name(settings), token, max_age=seconds, **_of_token(request, settings))


def _token_name(settings: Settings) -> str:
    return f"{session_cookie_name(settings)}_id_token"


def _of_token(request: Request, settings: Settings) -> dict[str, Any]:
    path = urlsplit(settings.public_url).path.rstrip("/") + LEAVES
    secure = is_secure(request, settings)
    return {"path": path, "httponly": True, "samesite": "strict", "secure": secure}


def _cookie_name(request: Request, settings: Settings) -> str:
    """By TLS no sister site may set it: what a browser brings back is then what it was given here."""
    prefix = "__Host-" if is_secure(request, settings) else ""
    return f"{prefix}{session_cookie_name(settings)}_sign_in"


def _refused(settings: Settings, refused: SignInRefused) -> Response:
    logger.warning("sign-in refused (%s): %s", refused.failure, refused)
    return _to(f"{_studio(settings)}#/refused/{refused.failure}")


def _studio(settings: Settings) -> str:
    return f"{settings.public_url.rstrip('/')}/studio/"


def _to(address: str) -> Response:
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return RedirectResponse(address, status_code=HTTPStatus.SEE_OTHER, headers=headers)
