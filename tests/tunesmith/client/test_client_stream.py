"""The live stream: every event once and in order, whatever happens to the server meanwhile (I8)."""

import random
import threading
from collections.abc import Iterator

import pytest
from fake_api import KEY, FakeApi

from tunesmith import Client
from tunesmith.client import stream as stream_module
from tunesmith.client.stream import Frame, frames
from tunesmith.errors import CannotConnect, NotFound, TunesmithError, Unauthorized
from tunesmith.lifecycle import Reason, State


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as server:
        yield server


@pytest.fixture
def client(api: FakeApi) -> Client:
    return Client(api.url, KEY, retry_seconds=0.2, patience=5)


def test_a_stream_ends_with_its_task(api: FakeApi, client: Client) -> None:
    task = api.add_task()
    api.run_to(task.id, State.COMPLETED, Reason.COMPLETED)
    assert [event.n for event in client.stream(task.id)] == list(range(1, 14))
    assert [event.n for event in client.stream(task.id, after=11)] == [12, 13]
    assert list(client.stream(task.id, after=13)) == []


def test_the_server_is_killed_in_mid_stream_and_started_again(api: FakeApi, client: Client) -> None:
    task = api.add_task()
    api.append(task.id, {"kind": "state", "state": "running"}, {"kind": "log", "message": "before"})
    seen = []
    for event in client.stream(task.id):
        seen.append(event.n)
        if event.n == 2:
            api.kill()
            api.append(task.id, {"kind": "log", "message": "while it was away"})
            threading.Timer(0.2, api.start).start()
        if event.n == 3:
            api.kill()
            api.start()
            api.run_to(task.id, State.STOPPED, Reason.STOPPED_BY_USER)
    assert seen == list(range(1, len(api.events[task.id]) + 1))
    assert api.last_event_ids[:3] == ["0", "2", "3"]


def test_a_stream_cut_anywhere_has_no_gap_and_no_duplicate(api: FakeApi, client: Client) -> None:
    task = api.add_task()
    api.run_to(task.id, State.COMPLETED, Reason.COMPLETED, steps=40)
    draw = random.Random(7)
    api.cut_stream_after = [draw.randrange(20, 3000) for _ in range(12)]
    assert [event.n for event in client.stream(task.id)] == list(range(1, len(api.events[task.id]) + 1))
    assert api.cut_stream_after == [], "every cut was met"


def test_a_server_that_repeats_itself_is_heard_once(api: FakeApi, client: Client) -> None:
    task = api.add_task()
    api.run_to(task.id, State.COMPLETED, Reason.COMPLETED)
    log = api.events[task.id]
    log[5:5] = log[2:5]
    assert [event.n for event in client.stream(task.id)] == list(range(1, 14))


def test_a_silent_server_is_left(api: FakeApi, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.client.transport.SILENCE_SECONDS", 0.3)
    task = api.add_task()
    api.append(task.id, {"kind": "log", "message": "then nothing"})
    stream = client.stream(task.id)
    assert next(stream).n == 1
    more = threading.Timer(1.0, lambda: api.run_to(task.id, State.COMPLETED, Reason.COMPLETED))
    more.start()
    assert [event.n for event in stream] == list(range(2, 15))
    assert len(api.last_event_ids) > 1, "it connected again"


def test_it_gives_up_when_there_is_no_server_for_long(api: FakeApi) -> None:
    client = Client(api.url, KEY, patience=0.5)
    task = api.add_task()
    api.append(task.id, {"kind": "log", "message": "last words"})
    stream = client.stream(task.id)
    assert next(stream).n == 1
    api.kill()
    with pytest.raises(CannotConnect) as caught:
        next(stream)
    assert "tunesmith watch" in str(caught.value.hint)
    api.start()


def test_what_the_server_refuses_is_not_asked_again(api: FakeApi, client: Client) -> None:
    with pytest.raises(NotFound):
        next(client.stream(f"task-{0:018}"))
    with pytest.raises(Unauthorized):
        next(Client(api.url, "wrong").stream(f"task-{0:018}"))
    assert len(api.requests) == 2


def test_something_else_than_a_stream_is_said(api: FakeApi, client: Client) -> None:
    api.refusals = [200]
    with pytest.raises(TunesmithError, match="does not understand"):
        next(client.stream(f"task-{0:018}"))


def test_only_cr_and_lf_end_a_line(api: FakeApi, client: Client) -> None:
    """Text holds other separators that `str.splitlines` would cut at, and JSON keeps them as they are."""
    task = api.add_task()
    message = "a\u2028b\u2029c\x85d\x0be\x1cf"
    api.append(task.id, {"kind": "log", "message": message})
    api.run_to(task.id, State.COMPLETED, Reason.COMPLETED)
    first = next(client.stream(task.id)).payload
    assert first.kind == "log"
    assert first.message == message


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_frames_are_the_same_however_the_bytes_arrive(size: int, end: str) -> None:
    text = [
        "id: 1",
        "event: log",
        "data: é",
        "data:b",
        "",
        ": ping",
        "",
        "event: x",
        "",
        "data",
        "",
        "data: cut",
    ]
    raw = end.join(text).encode()
    chunks = [raw[i : i + size] for i in range(0, len(raw), size)]
    assert list(frames(chunks)) == [Frame("log", "é\nb"), Frame("message", "")]


def test_an_endless_line_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "MAX_LINE_BYTES", 1000)
    with pytest.raises(TunesmithError, match="1000"):
        list(frames([b"x" * 600, b"x" * 600]))
