"""Monitoring over HTTP: a task's log in full and its autopsy; the platform's gauges for Prometheus."""

import datetime as dt
from typing import Annotated, Literal, Protocol

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import AwareDatetime

from tunesmith import views
from tunesmith.autopsy import Autopsy
from tunesmith.limits import MAX_COUNT
from tunesmith_platform import examples
from tunesmith_platform.auth import Keys
from tunesmith_platform.http import (
    Limit,
    OptionalKey,
    ScopeDep,
    TaskId,
    answers,
    bearer,
    counting_wrong,
    services_of,
)
from tunesmith_platform.monitoring.following import WorkspaceFeeds, WorkspaceReader
from tunesmith_platform.monitoring.gauges import CONTENT_TYPE
from tunesmith_platform.monitoring.repository import LogQuery
from tunesmith_platform.monitoring.service import MonitoringService
from tunesmith_platform.routing import ApiRoute, worded
from tunesmith_platform.sse import EventStream, Streams

router = APIRouter(tags=["monitoring"], route_class=ApiRoute)


class Counting(Protocol):
    """A part with numbers of its own."""

    def numbers(self) -> dict[str, float]:
        """They, by their names as gauges."""


class Services(Protocol):
    """The parts that these endpoints ask."""

    asking: Counting

    keys: Keys
    streams: Streams
    monitoring: MonitoringService
    following: WorkspaceFeeds


ServicesDep = Annotated[Services, Depends(services_of)]
scrape = APIRouter(tags=["monitoring"], route_class=ApiRoute)

_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP")


def _wanted(
    text: Annotated[
        str | None, Query(alias="q", max_length=500, description="Only lines that hold this, in any case.")
    ] = None,
    level: Annotated[
        list[Literal["debug", "info", "warning", "error"]] | None, Query(description="Only these levels.")
    ] = None,
    source: Annotated[
        list[str] | None, Query(max_length=64, description="Only these speakers: worker-0, driver, platform.")
    ] = None,
    since: Annotated[
        AwareDatetime | None, Query(description="Only from this time on, with its zone.")
    ] = None,
    until: Annotated[AwareDatetime | None, Query(description="Only before this time, with its zone.")] = None,
) -> LogQuery:
    return LogQuery(text or None, tuple(level or ()), tuple(source or ()), _utc(since), _utc(until))


def _utc(moment: dt.datetime | None) -> dt.datetime | None:
    return moment.astimezone(dt.UTC) if moment is not None else None


Wanted = Annotated[LogQuery, Depends(_wanted)]


@router.get(
    "/tasks/{task_id}/logs:search",
    response_model=views.Page[views.LogView],
    responses=answers(examples.LOGS, 401, 404, 422),
)
def search_logs(
    task_id: TaskId,
    services: ServicesDep,
    scope: ScopeDep,
    wanted: Wanted,
    after: Annotated[int, Query(ge=0, le=MAX_COUNT, description="`next` of the page before.")] = 0,
    limit: Limit = 200,
) -> views.Page[views.LogView]:
    """Search a task's whole log, oldest line first."""
    return services.monitoring.search(scope, task_id, wanted, after, limit)


@router.get(
    "/tasks/{task_id}/logs:download",
    response_class=StreamingResponse,
    responses=answers(None, 401, 404, 422)
    | {
        200: {
            "description": "The log as text: time, level, speaker and message on a line.",
            "content": {"text/plain": {"example": examples.LOG_TEXT}},
        }
    },
)
def download_logs(
    task_id: TaskId, services: ServicesDep, scope: ScopeDep, wanted: Wanted
) -> StreamingResponse:
    """Download a task's log as text: all of it, or what matches."""
    parts = services.monitoring.download(scope, task_id, wanted)
    attachment = f'attachment; filename="{task_id}.log"'
    return StreamingResponse(
        parts, media_type="text/plain; charset=utf-8", headers={"Content-Disposition": attachment}
    )


@router.get(
    "/tasks/{task_id}/autopsy",
    response_model=Autopsy,
    responses=answers(examples.AUTOPSY, 401, 404, 422),
)
@worded
def autopsy(task_id: TaskId, services: ServicesDep, scope: ScopeDep) -> Autopsy:
    """Say why a task ended, whose fault it was, what its workers said last, and what to do next."""
    return services.monitoring.autopsy(scope, task_id)


@router.get(
    "/stream",
    response_class=EventStream,
    responses=answers(None, 401, 422, 429)
    | {
        200: {
            "description": "Server-sent events: `tasks` with the whole list first, then `task` for each that "
            "changed and `deleted`; `id` is the position to go on after.",
            "content": {"text/event-stream": {"example": examples.WORKSPACE_STREAM}},
        }
    },
)
async def workspace(
    services: ServicesDep,
    scope: ScopeDep,
    last_event_id: Annotated[
        str | None, Header(max_length=60, description="Go on after this position; else from the whole list.")
    ] = None,
    after: Annotated[
        str | None,
        Query(max_length=60, description="As `Last-Event-ID`, for clients that cannot set headers."),
    ] = None,
    accept_encoding: Annotated[str, Header(description="With `gzip`, the stream is compressed.")] = "",
) -> EventStream:
    """Follow the list of tasks live: states, progress, new tasks, deleted ones.

    Reconnect with `Last-Event-ID` and nothing is missed: where the position is not known any more (another server, too
    long ago), the whole list comes again.
    """
    reader = WorkspaceReader(services.following.of(scope), last_event_id or after)
    return EventStream(reader, services.streams, accept_encoding)


@scrape.get(
    "/metrics",
    response_class=Response,  # errors are JSON
    responses=answers(None, 401, 403)
    | {
        200: {
            "description": "The gauges in Prometheus' text format.",
            "content": {"text/plain": {"example": examples.EXPOSITION}},
        }
    },
)
def prometheus(request: Request, services: ServicesDep, _scheme: OptionalKey) -> PlainTextResponse:
    """Show the platform in numbers, for Prometheus.

    Needs a key that works in every project, unless the settings open it to this machine.
    """
    address = request.client.host if request.client else None
    is_forwarded = any(name in request.headers for name in _FORWARDED)
    if not services.monitoring.is_open_to(address, is_forwarded=is_forwarded):
        # The gauges are of everybody's tasks.
        key = bearer(request)
        with counting_wrong(request):
            identity = services.keys.identity(key)
        identity.expect_everything()
    reconciler = getattr(request.app.state, "reconciler", None)
    text = services.monitoring.exposition(
        reconciler.last_seconds if reconciler else None, services.asking.numbers()
    )
    return PlainTextResponse(text, media_type=CONTENT_TYPE)
