"""The live stream over a real socket: everything once, in order, over reconnects and a server restart."""

import asyncio
import contextlib
import gzip
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from conftest_platform import LOCAL, Plane
from waiting import free_port, wait_until

from tunesmith.client import Client, transport
from tunesmith.home import Home
from tunesmith.lifecycle import State
from tunesmith_platform import sse
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.events import feeds
from tunesmith_platform.monitoring.following import WorkspaceReader
from tunesmith_platform.serving import ApiServer


@contextlib.contextmanager
def serving(plane: Plane, port: int) -> Iterator[str]:
    server = ApiServer(plane.app, "127.0.0.1", port, grace_seconds=1)
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
        wait_until(lambda: len(plane.services.streams) == 1, what="the stream")
        plane.report(task, {"kind": "progress", "step": 1, "total_steps": 10})
        assert seen.wait(0.9), "the poll would have taken a second"
        reader.join()


@pytest.mark.parametrize("last", ["x", "-1", "1.5"])
def test_a_wrong_last_event_id_is_refused(plane: Plane, client: httpx.Client, last: str) -> None:
    task = plane.running()
    reply = client.get(f"/v1/tasks/{task.id}/stream", headers={"Last-Event-ID": last})
    assert reply.status_code == 422
    assert client.get("/v1/tasks/task-0/stream").status_code == 404


def test_streams_are_bounded(plane: Plane, client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_STREAMS", 0)
    task = plane.running()
    for path in (f"/v1/tasks/{task.id}/stream", "/v1/stream"):
        reply = client.get(path)
        assert (reply.status_code, reply.json()["error"]["code"]) == (429, "too_many_requests")


def test_a_reader_that_stands_still_is_cut_off_and_another_misses_nothing(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "STALL_SECONDS", 0.2)
    task = plane.running()
    already = plane.task(task.id).events
    with serving(plane, free_port()) as url, socket.socket() as still:
        still.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        still.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        request = f"GET /v1/tasks/{task.id}/stream HTTP/1.1\r\nHost: localhost\r\n"
        request += f"Authorization: Bearer {plane.api_key}"
        still.sendall(f"{request}\r\n\r\n".encode())
        wait_until(lambda: len(plane.services.streams) == 1, what="the stream")
        lines = [{"kind": "log", "message": "x" * 8000}] * 200
        for _ in range(5):  # more than the system's buffers hold
            plane.report(task, *lines)
        wait_until(lambda: len(plane.services.streams) == 0, what="the end of the stream")
        assert read(plane, url, task.id, already, 1000)[0] == list(range(already + 1, already + 1001))


@pytest.mark.parametrize("held", [4, 256])
def test_a_compressed_stream_is_whole(plane: Plane, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    monkeypatch.setattr(feeds, "HELD_EVENTS", held)  # what came before is read from the log
    task = plane.running()
    plane.report(task, *({"kind": "metrics", "step": i, "values": {"loss": 1 / (i + 1)}} for i in range(50)))
    plane.report(task, {"kind": "finished", "outcome": "completed", "reason": "completed"})
    plane.job(task, JobStatus.SUCCEEDED)
    plane.tick()
    with serving(plane, free_port()) as url:
        headers = {"Authorization": f"Bearer {plane.api_key}", "Accept-Encoding": "gzip"}
        with httpx.stream("GET", f"{url}/v1/tasks/{task.id}/stream", headers=headers) as reply:
            raw = b"".join(reply.iter_raw())
        plain = httpx.get(
            f"{url}/v1/tasks/{task.id}/stream", headers=headers | {"Accept-Encoding": "identity"}
        ).content
    assert gzip.decompress(raw) == plain, "its checksum is right too"
    assert len(raw) < len(plain) / 2
    assert plain.count(b"id: ") == plane.task(task.id).events
    assert plain.endswith(b"event: end\r\ndata: {}\r\n\r\n")


def test_many_streams_of_a_task_share_one_read_and_its_bytes(plane: Plane) -> None:
    task = plane.running()
    n = plane.task(task.id).events

    async def follow() -> list[sse.Chunk | None]:
        readers = [await plane.services.feeds.reader(LOCAL, task.id, n) for _ in range(20)]
        woken = [asyncio.Event() for _ in readers]
        for reader, event in zip(readers, woken, strict=True):
            reader.attach(event.set)
        plane.report(task, {"kind": "progress", "step": 1, "total_steps": 10})
        await asyncio.gather(*(event.wait() for event in woken))
        chunks = [await reader.next() for reader in readers]
        for reader in readers:
            reader.detach()
        plane.services.feeds.close()
        return chunks

    first, *others = asyncio.run(follow())
    assert first is not None
    assert first.plain.count(b"id: ") == 1
    assert all(chunk is first for chunk in others)


def test_what_another_process_stored_is_seen(plane: Plane, home: Home) -> None:
    task = plane.running()
    n = plane.task(task.id).events
    other = Plane(home)  # it tells our hub nothing
    other.seqs = plane.seqs
    with serving(plane, free_port()) as url:
        writer = threading.Timer(
            0.3, other.report, [task, {"kind": "progress", "step": 1, "total_steps": 10}]
        )
        writer.start()
        assert read(plane, url, task.id, n, 1)[0] == [n + 1]
        writer.join()
    other.services.database.close()


def test_a_client_from_afar_reads_a_compressed_stream(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "is_loopback", lambda url: False)
    task = plane.running()
    with serving(plane, free_port()) as url, Client(url, plane.api_key) as client:
        events = client.stream(task.id)
        first = [next(events) for _ in range(plane.task(task.id).events)]
        plane.report(task, {"kind": "progress", "step": 1, "total_steps": 10})
        assert next(events).n == first[-1].n + 1, "each event comes at once, not when a block is full"


def test_streams_of_the_task_list_share_one_look_and_miss_nothing(plane: Plane) -> None:
    old = plane.submit()

    async def follow() -> tuple[list[bytes], list[sse.Chunk | None]]:
        readers = [WorkspaceReader(plane.services.following.of(LOCAL), None) for _ in range(3)]
        woken = asyncio.Event()
        for reader in readers:
            reader.attach(woken.set)
        first = [chunk.plain for reader in readers if (chunk := await reader.next())]
        await woken.wait()  # the feed knows now where it begins
        woken.clear()
        plane.submit(name="another")
        await woken.wait()
        rest = [await reader.next() for reader in readers]
        for reader in readers:
            reader.detach()
        plane.services.following.close()
        return first, rest

    first, rest = asyncio.run(follow())
    assert all(old.id.encode() in chunk and b"event: tasks" in chunk for chunk in first)
    assert rest[0] is not None
    assert b"event: task\r\n" in rest[0].plain
    assert b'"another"' in rest[0].plain
    assert all(chunk is rest[0] for chunk in rest)


def test_a_feed_that_cannot_be_read_keeps_no_other_back(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.settings.max_concurrent_jobs = 2
    bad, good = plane.running(), plane.running()
    look_at = feeds._look_at

    def poisoned(session: object, task: feeds.repository.Mark, last: int | None) -> feeds.Look:
        if task.id == bad.id:
            raise SystemExit(1)
        return look_at(session, task, last)  # type: ignore[arg-type]

    with serving(plane, free_port()) as url:
        assert read(plane, url, bad.id, 0, 1)[0] == [1]
        monkeypatch.setattr(feeds, "_look_at", poisoned)
        seen, _ = read(plane, url, good.id, 0, 3)
        assert seen == [1, 2, 3]
        monkeypatch.setattr(feeds, "_look_at", look_at)
        assert read(plane, url, bad.id, 0, 3)[0] == [1, 2, 3], "it is read again once it can be"
