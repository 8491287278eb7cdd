"""The live stream over a real socket: everything once, in order, over reconnects and a server restart."""

import contextlib
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from conftest_platform import Plane
from waiting import free_port

from tunesmith.lifecycle import State
from tunesmith_platform.backends.protocols import JobStatus


@contextlib.contextmanager
def serving(plane: Plane, port: int) -> Iterator[str]:
    config = uvicorn.Config(
        plane.app, host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def read(plane: Plane, url: str, task_id: str, last: int, wanted: int) -> tuple[list[int], bool]:
    """Ids of the stream's next events, up to `wanted`, and whether its end came."""
    headers = {"Authorization": f"Bearer {plane.api_key}", "Last-Event-ID": str(last)}
    ids: list[int] = []
    with httpx.stream("GET", f"{url}/v1/tasks/{task_id}/stream", headers=headers, timeout=20) as reply:
        assert reply.status_code == 200
        for line in reply.iter_lines():
            if line.startswith("id:"):
                ids.append(int(line[3:]))
            if line == "event: end":
                return ids, True
            if len(ids) >= wanted and not line:
                return ids, False
    return ids, False


def test_a_stream_goes_on_where_it_was_cut(plane: Plane) -> None:
    task = plane.running()
    port = free_port()
    with serving(plane, port) as url:
        first, ended = read(plane, url, task.id, 0, 2)
        assert not ended
        for step in range(5):
            plane.report(task, {"kind": "metrics", "step": step, "values": {"loss": 1.0}})
    with serving(plane, port) as url:  # the server was restarted in between
        plane.report(task, {"kind": "finished", "outcome": "completed", "reason": "completed"})
        plane.job(task, JobStatus.SUCCEEDED)
        finisher = threading.Timer(0.5, plane.tick)
        finisher.start()
        rest, ended = read(plane, url, task.id, first[-1], 1000)
        finisher.join()
    assert ended
    assert first + rest == list(range(1, plane.task(task.id).events + 1))
    assert plane.task(task.id).state is State.COMPLETED


def test_an_event_is_pushed_without_waiting_for_the_poll(plane: Plane) -> None:
    task = plane.running()
    seen = threading.Event()
    with serving(plane, free_port()) as url:
        already = plane.task(task.id).events

        def follow() -> None:
            assert read(plane, url, task.id, already, 1)[0] == [already + 1]
            seen.set()

        reader = threading.Thread(target=follow)
        reader.start()
        while task.id not in plane.services.hub._waiting:  # it listens now
            time.sleep(0.005)
        plane.report(task, {"kind": "progress", "step": 1, "total_steps": 10})
        assert seen.wait(0.9), "the poll would have taken a second"
        reader.join()


@pytest.mark.parametrize("last", ["x", "-1", "1.5"])
def test_a_wrong_last_event_id_is_refused(plane: Plane, client: httpx.Client, last: str) -> None:
    task = plane.running()
    reply = client.get(f"/v1/tasks/{task.id}/stream", headers={"Last-Event-ID": last})
    assert reply.status_code == 422
    assert client.get("/v1/tasks/task-0/stream").status_code == 404
