"""Events over HTTP: reports in; the log, curves, log lines and the live stream out."""

import re
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError

from tunesmith import views
from tunesmith.errors import InvalidInput
from tunesmith.events import MAX_ATTEMPT, Report, ReportReceipt
from tunesmith.limits import MAX_COUNT
from tunesmith_platform import examples
from tunesmith_platform.events.feeds import Feeds
from tunesmith_platform.events.service import EventService
from tunesmith_platform.http import Limit, ScopeDep, TaskId, answers, bearer, services_of
from tunesmith_platform.routing import SMALL_BYTES, ApiRoute, LargeRequest, admission
from tunesmith_platform.sse import EventStream, Streams

router = APIRouter(tags=["events"], route_class=ApiRoute)


class Services(Protocol):
    """The parts that these endpoints ask."""

    events: EventService
    feeds: Feeds
    streams: Streams


ServicesDep = Annotated[Services, Depends(services_of)]


_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
"""A NUL in JSON. A job may print one, and then has to be heard all the same; PostgreSQL stores none."""


class _ReportRequest(LargeRequest):
    async def json(self) -> Any:
        """The body as a report, read once and not on the event loop, which has the live streams to serve."""
        body = await self.body()
        if b"\\u0000" in body:
            body = self._body = _NUL.sub(rb"\1\\ufffd", body)
        try:
            if len(body) < SMALL_BYTES:
                return Report.model_validate_json(body)
            return await run_in_threadpool(Report.model_validate_json, body)
        except ValidationError:
            return await super().json()  # FastAPI finds the problems again, and words them as everywhere


class _ReportRoute(ApiRoute):
    request_class = _ReportRequest


@admission
async def attempt_of(request: Request) -> int:
    """Which attempt of the path's task the request's token belongs to."""
    services: Services = await services_of(request)
    return await services.events.attempt_of(request.path_params["task_id"], bearer(request))


Attempt = Annotated[int, Path(ge=1, le=MAX_ATTEMPT, description="The attempt's number.")]


async def report(
    task_id: TaskId, report: Report, services: ServicesDep, attempt: Annotated[int, Depends(attempt_of)]
) -> Response:
    """Take a batch of one attempt's events, each exactly once. For jobs, with the attempt's own token.

    An empty batch is a heartbeat. The answer says how far the log is stored and what the user wants of the task.
    """
    services.events.expect(report.attempt, attempt)
    receipt = await services.events.take(task_id, report)
    # As it is: FastAPI would look through it again, in a thread.
    return Response(receipt.model_dump_json(), media_type="application/json")


router.add_api_route(
    "/tasks/{task_id}/reports",
    report,
    methods=["POST"],
    response_model=ReportReceipt,
    responses=answers(examples.RECEIPT, 401, 404, 409, 422),
    route_class_override=_ReportRoute,
)


@router.get(
    "/tasks/{task_id}/reports/{attempt}",
    response_model=ReportReceipt,
    responses=answers(examples.RECEIPT, 401, 404, 422),
)
def received(
    task_id: TaskId, attempt: Attempt, services: ServicesDep, own: Annotated[int, Depends(attempt_of)]
) -> ReportReceipt:
    """How far an attempt's events are stored. A later attempt asks this to hand in what is missing."""
    return services.events.received(task_id, attempt, own)


@router.get(
    "/tasks/{task_id}/events",
    response_model=views.Page[views.EventView],
    responses=answers(examples.EVENTS, 401, 404, 422),
)
def events(
    task_id: TaskId,
    services: ServicesDep,
    scope: ScopeDep,
    after: Annotated[
        int, Query(ge=0, le=MAX_COUNT, description="Number of the last event already read.")
    ] = 0,
    limit: Limit = 100,
    kind: Annotated[list[str] | None, Query(description="Only these kinds of event.")] = None,
) -> views.Page[views.EventView]:
    """Read a task's event log, oldest first."""
    return services.events.page(scope, task_id, after, limit, kind)


@router.get(
    "/tasks/{task_id}/logs",
    response_model=views.Page[views.LogView],
    responses=answers(examples.LOGS, 401, 404, 422),
)
def logs(
    task_id: TaskId,
    services: ServicesDep,
    scope: ScopeDep,
    tail: Annotated[int, Query(ge=1, le=5000, description="Lines at the most.")] = 200,
    level: Annotated[
        list[Literal["debug", "info", "warning", "error"]] | None, Query(description="Only these levels.")
    ] = None,
    after: Annotated[
        int | None, Query(ge=0, le=MAX_COUNT, description="Only lines after this event number.")
    ] = None,
) -> views.Page[views.LogView]:
    """Read a task's log: its last lines, or those after an event."""
    return services.events.logs(scope, task_id, tail, level, after)


@router.get(
    "/tasks/{task_id}/stream",
    response_class=EventStream,
    responses=answers(None, 401, 404, 422, 429)
    | {
        200: {
            "description": "Server-sent events: `id` is the event's number, `event` its kind, `data` an EventView. "
            "After the last event of an ended task comes `event: end`.",
            "content": {"text/event-stream": {"example": examples.STREAM}},
        }
    },
)
async def stream(
    task_id: TaskId,
    services: ServicesDep,
    scope: ScopeDep,
    last_event_id: Annotated[str | None, Header(description="Go on after this event.")] = None,
    after: Annotated[
        int, Query(ge=0, le=MAX_COUNT, description="As `Last-Event-ID`, for clients that cannot set headers.")
    ] = 0,
    accept_encoding: Annotated[str, Header(description="With `gzip`, the stream is compressed.")] = "",
) -> EventStream:
    """Follow a task live. Reconnect with `Last-Event-ID` and nothing is missed or doubled."""
    if last_event_id is not None and not last_event_id.isdecimal():
        raise InvalidInput("`Last-Event-ID` is the number of an event.", field="Last-Event-ID")
    reader = await services.feeds.reader(scope, task_id, int(last_event_id) if last_event_id else after)
    return EventStream(reader, services.streams, accept_encoding)
