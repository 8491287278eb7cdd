"""Runners over HTTP: they ask for work, with a token of their own."""

import asyncio
import contextlib
import time
from typing import Annotated, Protocol

from fastapi import APIRouter, Depends, Path, Request
from fastapi.concurrency import run_in_threadpool

from tunesmith.job import RunnerAnswer, RunnerAsk
from tunesmith_platform import examples
from tunesmith_platform.http import answers, bearer, services_of
from tunesmith_platform.hub import Hub
from tunesmith_platform.routing import ApiRoute, admission
from tunesmith_platform.runners.service import RunnerService

router = APIRouter(tags=["runners"], route_class=ApiRoute)


class Services(Protocol):
    """The parts that these endpoints ask."""

    hub: Hub
    runners: RunnerService


ServicesDep = Annotated[Services, Depends(services_of)]

RunnerId = Annotated[str, Path(description="The runner's id.", max_length=40, pattern=r"^runner-[0-9a-z]+$")]
_POLL_SECONDS = 1.0
"""How often a waiting answer looks by itself: another API process may have assigned something."""


@admission
async def runner_of(request: Request) -> str:
    """The path's runner, whose token the request carries."""
    runner_id: str = request.path_params["runner_id"]
    (await services_of(request)).runners.authorize(runner_id, bearer(request))
    return runner_id


@router.post(
    "/runners/{runner_id}/next",
    response_model=RunnerAnswer,
    responses=answers(examples.RUNNER_ANSWER, 401, 404, 422),
)
async def next_attempt(
    runner_id: RunnerId,
    ask: RunnerAsk,
    request: Request,
    services: ServicesDep,
    _runner: Annotated[str, Depends(runner_of)],
) -> RunnerAnswer:
    """Ask for an attempt to run. For warm runners, with the runner's own token.

    The answer comes as soon as there is one, or after `wait_seconds` with none. A 404 says: leave.
    """
    runners, hub = services.runners, services.hub
    await run_in_threadpool(runners.note, runner_id, ask)
    deadline = time.monotonic() + ask.wait_seconds
    while True:
        ticket = hub.ticket(runner_id)
        try:
            if await run_in_threadpool(runners.is_given, runner_id):
                break
            left = deadline - time.monotonic()
            if left <= 0:
                return RunnerAnswer(document_uri=None)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ticket.wait(), min(left, _POLL_SECONDS))
        finally:
            hub.drop(runner_id, ticket)
    if await request.is_disconnected():  # it died while it waited: its attempt is taken back in a moment
        return RunnerAnswer(document_uri=None)
    return await run_in_threadpool(runners.take, runner_id)
