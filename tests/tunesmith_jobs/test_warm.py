"""What a warm runner does before it has a task: it asks until it is given one or told to leave, and rehearses."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

from tunesmith.job import RunnerDocument
from tunesmith.lifecycle import State
from tunesmith_jobs import warm


class Plane:
    """Answers what it is told to, one after the other, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self.asked: list[dict[str, Any]] = []
        self.tokens: set[str | None] = set()
        plane = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                plane.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                plane.tokens.add(self.headers["Authorization"])
                status, body = plane.answers.pop(0)
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Warming:
    """A worker that is warm when it is asked a second time, on a node that has room for it at first."""

    def __init__(self, looks_with_room: int = 99) -> None:
        self.looks = 0
        self.looks_with_room = looks_with_room

    def is_warm(self) -> bool:
        self.looks += 1
        return self.looks > 1

    def has_room(self) -> bool:
        return self.looks <= self.looks_with_room


@pytest.fixture
def plane() -> Iterator[Plane]:
    server = Plane()
    yield server
    server.close()


def await_attempt(plane: Plane, folder: Path, monkeypatch: pytest.MonkeyPatch, room: int = 99) -> str | None:
    monkeypatch.setattr(warm, "_WARMING_SECONDS", 0.01)
    document = RunnerDocument(runner_id="runner-a", api_url=plane.url, token="its own")
    return warm._await_attempt(document, cast(Any, Warming(room)))


def test_it_asks_until_it_is_given_an_attempt(
    plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = {"document_uri": None}
    plane.answers = [(200, nothing), (503, {}), (200, nothing), (200, {"document_uri": "/d"})]
    assert await_attempt(plane, tmp_path, monkeypatch) == "/d"
    assert [ask["is_warm"] for ask in plane.asked] == [False, True, True, True]
    assert plane.asked[0]["wait_seconds"] < 1 < plane.asked[-1]["wait_seconds"], (
        "it tells soon that it is warm"
    )
    assert plane.tokens == {"Bearer its own"}


@pytest.mark.parametrize("status", [401, 404])
def test_it_leaves_when_it_is_told_to(
    plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    plane.answers = [(200, {"document_uri": None}), (status, {})]
    assert await_attempt(plane, tmp_path, monkeypatch) is None


def test_it_leaves_when_nobody_answers_for_long(
    plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.close()
    monkeypatch.setattr(warm, "_ORPHANED_SECONDS", 0.1)
    with pytest.raises(warm._Orphaned):
        await_attempt(plane, tmp_path, monkeypatch)


def test_it_leaves_when_memory_becomes_short(
    plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.answers = [(200, {"document_uri": None})] * 3
    with pytest.raises(warm._Crowded):
        await_attempt(plane, tmp_path, monkeypatch, room=3)


def test_it_warms_up_behind_what_trains_and_trains_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    from tunesmith_jobs import warm_worker

    seen: list[int] = []

    def rehearse(_: Path) -> None:
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    monkeypatch.setattr(warm_worker, "rehearse", rehearse)
    ours = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    warm_worker.Worker().warm(1, has_gpus=False)
    assert seen[0] > ours == os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_it_does_not_warm_up_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    from tunesmith_jobs import warm_worker

    monkeypatch.setattr(warm_worker, "spare_share", lambda beside: 0.5 if not beside else 0.01)
    monkeypatch.setattr(warm_worker, "rehearse", lambda _: pytest.fail("it warmed up"))
    worker = warm_worker.Worker()
    worker.warm(1, has_gpus=False)
    assert worker.has_room()


def test_the_rehearsal_trains(tmp_path: Path) -> None:
    """When it fails a runner goes on without it, and nobody would notice that tasks start slowly."""
    from tunesmith_jobs.warm_worker import rehearse

    outcome = rehearse(tmp_path)
    assert outcome.outcome is State.COMPLETED, outcome.message
