"""A warm runner: it asks until it is given a task or told to leave, loads for every kind, and does one of any kind."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from attempts import DOCUMENTS, NOBODY

from tunesmith.job import RunnerDocument
from tunesmith.lifecycle import Reason, State
from tunesmith.outcome import Outcome
from tunesmith.spec.kinds import Feature, supporting
from tunesmith_jobs import placement, warm
from tunesmith_jobs.document import write_outcome
from tunesmith_jobs.program import Attempt, Needs, program_of


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


WARM = supporting(Feature.WARM)


_LOWEST = 19
"""The priority behind which there is none: whole test runs have it already."""


def test_it_warms_up_for_each_kind_behind_what_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose loading fails keeps none from being ready, and from the first on no library asks the hub."""
    from tunesmith_jobs import warm_worker

    seen: list[tuple[str, int, str | None, bool]] = []

    def warms_up(kind: str) -> Any:
        def act(_: object, folder: Path, *, can_compute: bool) -> None:
            priority = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
            seen.append((kind, priority, os.environ.get("HF_HUB_OFFLINE"), folder.is_dir() and can_compute))
            raise RuntimeError("a package is missing")

        return act

    def of(kind: str) -> Any:
        return type(kind, (), {"warm_up": warms_up(kind)})()

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(warm_worker, "program_of", of)
    ours = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    warm_worker.Worker().warm(1, has_gpus=False)
    assert [one[0] for one in seen] == [*WARM]
    behind = min(_LOWEST, ours + 1)
    assert all(one[1] >= behind and one[2:] == ("1", True) for one in seen), seen
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == ours


def test_a_driver_asks_what_is_needed_and_imports_nothing_heavy() -> None:
    """A driver holds no torch in memory beside the process that computes; without workers it needs no Ray."""
    program = """
import sys
from tunesmith.spec.kinds import kinds
from tunesmith_jobs.entry import main
from tunesmith_jobs.program import program_of
for kind in kinds():
    program_of(kind)
print({"torch", "ray", "transformers"} & set(sys.modules))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.stdout == "set()\n", ran.stderr


@pytest.mark.parametrize("kind", WARM)
def test_what_was_loaded_is_what_the_work_loads(kind: str, tmp_path: Path) -> None:
    """Where a GPU is still to be given nothing is computed, and all is imported even so."""
    program = program_of(kind)
    program.warm_up(tmp_path, can_compute=False)
    assert getattr(program, "function", "peft:").partition(":")[0] in sys.modules
    assert not list(tmp_path.iterdir())


def test_it_does_not_warm_up_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    from tunesmith_jobs import warm_worker

    monkeypatch.setattr(warm_worker, "spare_share", lambda beside: 0.5 if not beside else 0.01)
    monkeypatch.setattr(warm_worker, "prepare_libraries", lambda: pytest.fail("it warmed up"))
    worker = warm_worker.Worker()
    worker.warm(1, has_gpus=False)
    assert worker.has_room()


def test_the_rehearsal_trains(tmp_path: Path) -> None:
    """When it fails a runner goes on without it, and nobody would notice that tasks start slowly."""
    from tunesmith_jobs.train.rehearsal import rehearse

    outcome = rehearse(tmp_path)
    assert outcome.outcome is State.COMPLETED, outcome.message


# --- an attempt in the worker that waited: the worker is a stand-in, its driver is not


class Worker(warm.WarmWorker):
    """On a node that has room: works, cannot use its GPUs, or is lost, as it is told."""

    def __init__(self, answers: list[bool | Exception], *, has_place: bool = True) -> None:
        self.answers, self.has_place = answers, has_place
        self.asked: list[float] = []
        self.started, self.is_over = 1, False

    def is_warm(self) -> bool:
        return True

    def has_room(self) -> bool:
        return True

    def end(self) -> None:
        self.is_over = True

    def _start(self) -> Any:
        self.started += 1

    def _is_node_there(self) -> bool:
        return True

    def _release(self, group: Any) -> None:
        assert group == "reserved"

    def _reserve(self, needs: Needs, use_gpu: bool, spare_cpus: float) -> tuple[dict[str, float], Any] | None:
        return ({"CPU": 3.0}, "reserved") if self.has_place else None

    def _has_done(self, attempt: Attempt, cpus: float, devices: str | None) -> bool:
        self.asked.append(cpus)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if answer:
            write_outcome(attempt.document, DONE)
        return answer


DONE = Outcome.because(Reason.COMPLETED, "done")
COLD = Outcome.because(Reason.COMPLETED, "done by others")


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """How many restarts the workers had left that took the warm one's place, each time."""
    found: list[int | None] = []

    def in_workers(_: Attempt, needs: Needs, use_gpu: bool) -> Outcome:
        found.append(needs.restarts)
        return COLD

    monkeypatch.setattr(placement, "connect", lambda *_: False)
    monkeypatch.setattr(placement, "in_workers", in_workers)
    return found


def attempt_of(kind: str, folder: Path) -> Attempt:
    document = DOCUMENTS[kind](folder, NOBODY)
    Path(document.work_dir).mkdir(parents=True)
    return Attempt.of(document)


@pytest.mark.parametrize("kind", WARM)
def test_an_attempt_of_each_kind_is_done_by_the_worker_that_waited(
    kind: str, tmp_path: Path, cold: list[int | None]
) -> None:
    worker = Worker([True])
    assert worker.start(attempt_of(kind, tmp_path)) == DONE
    assert (worker.asked, worker.is_over, cold) == ([3.0], True, [])


@pytest.mark.parametrize("kind", WARM)
def test_where_the_worker_cannot_be_used_others_are_started(
    kind: str, tmp_path: Path, cold: list[int | None]
) -> None:
    restarts = program_of(kind).needs(DOCUMENTS[kind](tmp_path, NOBODY)).restarts
    for name, worker in {"gpu": Worker([False]), "place": Worker([], has_place=False)}.items():
        assert worker.start(attempt_of(kind, tmp_path / name)) == COLD, name
        assert worker.is_over, name
    assert cold == [restarts, restarts]


@pytest.mark.parametrize("kind", WARM)
def test_a_worker_that_is_lost_is_replaced_as_often_as_in_any_other_job(
    kind: str, tmp_path: Path, cold: list[int | None]
) -> None:
    from ray.exceptions import RayError

    restarts = program_of(kind).needs(DOCUMENTS[kind](tmp_path, NOBODY)).restarts
    lost = [RayError("lost") for _ in range((restarts or 0) + 1)]
    worker = Worker([*lost])
    found = worker.start(attempt_of(kind, tmp_path / "lost"))
    assert found.reason is (Reason.JOB_LOST if restarts is None else Reason.WORKER_LOST)
    assert (len(worker.asked), worker.started) == (len(lost), len(lost))
    if restarts:
        assert Worker([lost[0], True]).start(attempt_of(kind, tmp_path / "again")) == DONE
    attempt = attempt_of(kind, tmp_path / "ended")
    write_outcome(attempt.document, DONE)
    assert Worker([lost[0]]).start(attempt) == DONE, "it was lost when all was done"
    assert cold == []
