"""The endpoints of `fake_api.FakeApi`: how the small server answers, loses an answer or breaks off a stream."""

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from tunesmith import views
from tunesmith.errors import ErrorResponse, TunesmithError, Unauthorized

if TYPE_CHECKING:
    from fake_api import FakeApi


def _page(items: list[Any], has_more: bool = False, after: str | None = None) -> Response:
    return _json(
        {"data": [item.model_dump(mode="json") for item in items], "has_more": has_more, "next": after}
    )


def _json(data: Any, status: int = 200) -> Response:
    return JSONResponse(data, status_code=status)


def _view(view: Any, status: int = 200) -> Response:
    return _json(view.model_dump(mode="json"), status)


class _Broken(Exception):
    """The connection is closed without an answer."""


def app_of(api: "FakeApi", key: str) -> FastAPI:
    """The endpoints over what a `FakeApi` holds, for the one who has the key."""
    app = FastAPI()

    @app.middleware("http")
    async def gate(request: Request, call_next: Callable[..., Any]) -> Any:
        api.requests.append((request.method, request.url.path))
        if request.url.path != "/healthz" and request.headers.get("Authorization") != f"Bearer {key}":
            error = Unauthorized("This API key is not known.", hint="Set `TUNESMITH_API_KEY`.")
            return _json(ErrorResponse(error=error.body()).model_dump(mode="json"), 401)
        if api.refusals:
            return Response("<html>a proxy's page</html>", status_code=api.refusals.pop(0))
        response = await call_next(request)
        if api.lost_answers:
            api.lost_answers -= 1
            return StreamingResponse(_break_off(), headers={"Content-Length": "1000"})
        return response

    @app.exception_handler(TunesmithError)
    def answer(_request: Request, error: Exception) -> Response:
        assert isinstance(error, TunesmithError)
        return _json(ErrorResponse(error=error.body()).model_dump(mode="json"), error.status)

    @app.get("/healthz")
    def healthz() -> Any:
        return {"status": "ok"}

    @app.get("/v1/system")
    def system() -> Any:
        return views.SystemView(
            version="0", parts=[], tasks_by_state={}, max_concurrent_jobs=1, allowed_roots=[], mlflow_url=None
        )

    @app.post("/v1/tasks")
    async def create(request: Request) -> Response:
        return _view(*api.create(await request.json(), request.headers.get("Idempotency-Key")))

    @app.post("/v1/tasks:check")
    async def check(request: Request) -> Response:
        body = await request.json()
        api.checked.append(body)
        return _view(views.TaskCheck(kind="train", spec=body["spec"], rows=7))

    @app.get("/v1/models")
    def models() -> Response:
        return _page(api.models)

    @app.get("/v1/datasets/{name}")
    def dataset(name: str) -> Response:
        return _view(api.dataset(name))

    @app.post("/v1/datasets:run")
    async def run(request: Request) -> Response:
        return _view(api.work_on_data(await request.json()), 201)

    @app.get("/v1/tasks")
    def find(request: Request) -> Response:
        query = request.query_params
        found = [
            task
            for task in sorted(api.tasks.values(), key=lambda task: task.id, reverse=True)
            if (not query.getlist("state") or task.state in query.getlist("state"))
            and query.get("kind", task.kind) == task.kind
            and query.get("name", "") in task.name
            and query.get("tag", "") in ("", *task.tags)
            and not {*query.getlist("without_tag")} & {*task.tags}
            and (not query.get("after") or task.id < query["after"])
        ]
        limit = min(int(query.get("limit", 50)), 2)  # small pages: a client must turn them
        more = len(found) > limit
        return _page(found[:limit], more, found[limit - 1].id if more else None)

    @app.get("/v1/tasks/{task_id}")
    def show(task_id: str) -> Response:
        return _view(api.task(task_id))

    @app.patch("/v1/tasks/{task_id}")
    async def change(task_id: str, request: Request) -> Response:
        api.tasks[task_id] = api.task(task_id).model_copy(update=await request.json())
        return _view(api.tasks[task_id])

    @app.post("/v1/tasks/{task_id}:stop")
    def stop(task_id: str) -> Response:
        if not api.task(task_id).state.is_terminal:
            api.append(task_id, {"kind": "state", "state": "stopping"})
        return _view(api.task(task_id), 202)

    @app.delete("/v1/tasks/{task_id}")
    def delete(task_id: str) -> Response:
        api.task(task_id)
        del api.tasks[task_id]
        return Response(status_code=204)

    @app.get("/v1/tasks/{task_id}/events")
    def events(task_id: str, request: Request) -> Response:
        query = request.query_params
        kinds = query.getlist("kind")
        after = int(query.get("after", 0))
        rest = [e for e in api.events[task_id] if e.n > after and (not kinds or e.payload.kind in kinds)]
        more = len(rest) > 3
        data = [api.dumped(event) for event in rest[:3]]
        return _json({"data": data, "has_more": more, "next": str(rest[2].n) if more else None})

    @app.get("/v1/tasks/{task_id}/metrics")
    def metrics(task_id: str, request: Request) -> Response:
        wanted = request.query_params.getlist("name")
        series: dict[str, list[views.MetricPoint]] = {}
        for event in api.events[task_id]:
            if event.payload.kind == "metrics":
                for name, value in event.payload.values.items():
                    if not wanted or name in wanted:
                        point = views.MetricPoint(
                            step=event.payload.step, value=value, time=event.time, attempt=1
                        )
                        series.setdefault(name, []).append(point)
        return _view(views.Metrics(series=series))

    @app.get("/v1/tasks/{task_id}/checkpoints")
    def checkpoints(task_id: str) -> Response:
        return _page(
            [
                views.CheckpointView(
                    task_id=task_id,
                    step=e.payload.step,
                    name=f"checkpoint-{e.payload.step}",
                    attempt=1,
                    uri=e.payload.uri,
                    bytes=e.payload.bytes,
                    files=e.payload.files,
                    manifest_sha256=e.payload.manifest_sha256,
                    metrics=e.payload.metrics,
                    created_at=e.time,
                )
                for e in api.events[task_id]
                if e.payload.kind == "checkpoint"
            ]
        )

    @app.get("/v1/tasks/{task_id}/rows")
    def rows_of_step(task_id: str, step: int) -> Response:
        return _view(
            views.StepRows(
                task_id=task_id,
                step=step,
                epoch=1,
                steps_per_epoch=4,
                file="/d/train.jsonl",
                rows=[3, 14, 159],
            )
        )

    @app.post("/v1/tasks/{task_id}/checkpoints:save")
    def save_checkpoint(task_id: str) -> Response:
        return _view(views.SaveRequestView(task_id=task_id, requests=1))

    @app.post("/v1/tasks/{task_id}/checkpoints/{step}:{verb}")
    def pin_checkpoint(task_id: str, step: int, verb: str) -> Response:
        return _view(
            views.CheckpointView(
                task_id=task_id,
                step=step,
                name=f"checkpoint-{step}",
                attempt=1,
                uri=f"/c/{step}",
                bytes=1,
                files=1,
                manifest_sha256="0" * 64,
                is_pinned=verb == "pin",
                created_at=dt.datetime(2026, 11, 21, tzinfo=dt.UTC),
            )
        )

    @app.get("/v1/tasks/{task_id}/logs")
    def logs(task_id: str, request: Request) -> Response:
        levels = request.query_params.getlist("level")
        found = [
            views.LogView(n=e.n, time=e.time, level=p.level, source=p.source, message=p.message)
            for e in api.events[task_id]
            if (p := e.payload).kind == "log" and (not levels or p.level in levels)
        ]
        return _page(found[-int(request.query_params.get("tail", 200)) :])

    @app.get("/v1/tasks/{task_id}/stream")
    def stream(task_id: str, request: Request) -> Response:
        api.task(task_id)
        last = request.headers.get("Last-Event-ID", "0")
        api.last_event_ids.append(last)
        cut = api.cut_stream_after.pop(0) if api.cut_stream_after else None
        return StreamingResponse(_cut(_follow(api, task_id, int(last)), cut), media_type="text/event-stream")

    return app


async def _break_off() -> AsyncIterator[bytes]:
    yield b"{"
    raise _Broken


async def _follow(api: "FakeApi", task_id: str, last: int) -> AsyncIterator[bytes]:
    yield b": heartbeat\r\n\r\n"
    log = api.events[task_id]
    at = sum(event.n <= last for event in log)
    while True:
        while at < len(log):
            event, at = log[at], at + 1
            data = json.dumps(api.dumped(event), ensure_ascii=False)
            yield f"id: {event.n}\r\nevent: {event.payload.kind}\r\ndata: {data}\r\n\r\n".encode()
        if api.tasks[task_id].state.is_terminal and at == len(log):
            yield b"event: end\r\ndata: {}\r\n\r\n"
            return
        await asyncio.sleep(0.01)


async def _cut(chunks: AsyncIterator[bytes], after: int | None) -> AsyncIterator[bytes]:
    sent = 0
    async for chunk in chunks:
        if after is not None and sent + len(chunk) > after:
            yield chunk[: after - sent]
            raise _Broken
        sent += len(chunk)
        yield chunk
