"""One driver and one worker for the attempts of every kind: how they end, are stopped, and what they leave behind.

The control plane is a stand-in over HTTP; the worker runs in the driver's process, as that of an operation on data does
in any case. With Ray: `test_entry`, and `tests/e2e/test_warm_runner.py`.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attempts import DOCUMENTS
from fake_plane import FakeControlPlane
from waiting import wait_until

from tunesmith.job import AttemptDocument
from tunesmith.lifecycle import Desired, Reason
from tunesmith.outcome import Outcome
from tunesmith.processes import DONE
from tunesmith_jobs import entry, placement
from tunesmith_jobs.document import is_stop_requested
from tunesmith_jobs.failures import Stopped, Superseded
from tunesmith_jobs.outlet import Outlet
from tunesmith_jobs.program import WorkerContext, program_of

pytestmark = pytest.mark.parametrize("kind", DOCUMENTS)


@pytest.fixture
def plane() -> Iterator[FakeControlPlane]:
    server = FakeControlPlane()
    yield server
    server.close()


def drive(folder: Path, plane: FakeControlPlane, kind: str, work: Any, patch: pytest.MonkeyPatch) -> int:
    """Run an attempt of a kind whose work is what is given; returns the driver's exit code."""
    document = DOCUMENTS[kind](folder, plane.url)
    (folder / "job.json").write_text(document.model_dump_json())
    patch.setattr(type(program_of(kind)), "work", lambda _, *given: work(*given))
    return entry.main(str(folder / "job.json"), placement.in_this_process)


def ends(plane: FakeControlPlane) -> list[tuple[str, str]]:
    said = [event["payload"] for event in plane.events.get(1, [])]
    return [(one["reason"], one["message"]) for one in said if one["kind"] == "finished"]


def test_what_was_done_is_reported_and_nothing_else_stays(
    tmp_path: Path, plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def work(document: AttemptDocument, _: Outlet, context: WorkerContext) -> Outcome:
        assert (type(document), context.rank) == (program_of(kind).document, 0)
        (context.scratch / "weights").write_text("large")
        return Outcome.because(Reason.COMPLETED, "Done.")

    assert drive(tmp_path, plane, kind, work, monkeypatch) == 0
    assert ends(plane) == [("completed", "Done.")]
    kinds_said = [event["payload"]["kind"] for event in plane.events[1]]
    assert kinds_said[0] == "phase", "how long the start took"
    work_dir = tmp_path / "work"
    assert not list(work_dir.rglob("weights"))
    if program_of(kind).needs(DOCUMENTS[kind](tmp_path, plane.url)) is not None:
        assert list(work_dir.glob(f"process-1-driver-*{DONE}")), (
            "who looks for its processes finds the record"
        )


def test_what_it_raises_is_its_outcome(
    tmp_path: Path, plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def work(*_: object) -> Outcome:
        raise LookupError("nobody")

    assert drive(tmp_path, plane, kind, work, monkeypatch) == 0
    assert ends(plane) == [("user_code", "LookupError: nobody")]
    lines = [event["payload"] for event in plane.events[1] if event["payload"]["kind"] == "log"]
    assert "Traceback" in lines[-1]["message"]


@pytest.mark.parametrize("by", ["user", "sigterm"])
def test_a_stop_is_heard_while_it_works(
    tmp_path: Path, plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch, kind: str, by: str
) -> None:
    def work(document: AttemptDocument, outlet: Outlet, _: WorkerContext) -> Outcome:
        if by == "user":
            plane.desired = "stop"
        else:
            os.kill(os.getpid(), signal.SIGTERM)
        wait_until(lambda: outlet.desired is Desired.STOP or is_stop_requested(document), 10)
        raise Stopped("Stopped, and all is saved.")

    before = signal.getsignal(signal.SIGTERM)
    try:
        assert drive(tmp_path, plane, kind, work, monkeypatch) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ends(plane) == [("stopped_by_user", "Stopped, and all is saved.")]


def test_a_stop_before_it_began_begins_nothing(
    tmp_path: Path, plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    plane.desired = "stop"
    assert drive(tmp_path, plane, kind, lambda *_: pytest.fail("it began"), monkeypatch) == 0
    assert ends(plane) == [("stopped_by_user", "Stopped before it began.")]


def test_one_that_is_over_leaves_without_a_word(
    tmp_path: Path, plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def work(_: AttemptDocument, outlet: Outlet, __: WorkerContext) -> Outcome:
        plane.stale = True
        wait_until(lambda: outlet.superseded, 10)
        raise Superseded

    assert drive(tmp_path, plane, kind, work, monkeypatch) == 1
    assert ends(plane) == []
