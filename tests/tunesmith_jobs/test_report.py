"""The spool and the reporter against a real HTTP server: nothing lost, nothing twice, whatever breaks."""

import datetime as dt
import errno
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_plane import FakeControlPlane, make_document

from tunesmith.events import CheckpointRemoved, CheckpointSaved, Metrics, Progress
from tunesmith.lifecycle import Desired
from tunesmith_jobs.control_plane import ControlPlane
from tunesmith_jobs.report import Reporter
from tunesmith_jobs.spool import Spool, SpoolLock, read_events


@pytest.fixture
def plane() -> Iterator[FakeControlPlane]:
    server = FakeControlPlane()
    yield server
    server.close()


def point(step: int, loss: float = 1.0) -> Metrics:
    return Metrics(step=step, values={"loss": loss})


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        threading.Event().wait(0.02)
    return False


def test_everything_arrives_once_and_in_order(tmp_path: Path, plane: FakeControlPlane) -> None:
    with Reporter(make_document(tmp_path, plane.url)) as reporter:
        for step in range(5000):
            reporter.emit(point(step))
        assert reporter.drain(20)
    assert plane.steps() == list(range(5000))
    assert [e["seq"] for e in plane.events[1]] == list(range(1, 5001))
    assert plane.bad_tokens == 0


def test_emit_costs_little_while_nobody_listens(tmp_path: Path) -> None:
    with Reporter(make_document(tmp_path, "http://127.0.0.1:9")) as reporter:
        began = time.perf_counter()
        for step in range(2000):
            reporter.emit(point(step))
        assert (
            time.perf_counter() - began
        ) / 2000 < 1e-3  # ten times the usual: other work runs on this machine
        assert not reporter.drain(0.1)
        assert not reporter.superseded


def test_a_silent_job_sends_heartbeats_and_learns_of_a_stop(
    tmp_path: Path, plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunesmith_jobs.report.HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr("tunesmith_jobs.report.SEND_SECONDS", 0.05)
    with Reporter(make_document(tmp_path, plane.url)) as reporter:
        assert eventually(lambda: plane.heartbeats >= 3)
        assert reporter.desired is Desired.RUN
        plane.desired = "stop"
        assert eventually(lambda: reporter.desired is Desired.STOP)


def test_a_job_learns_of_a_save_and_of_pins(
    tmp_path: Path, plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunesmith_jobs.report.HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr("tunesmith_jobs.report.SEND_SECONDS", 0.05)
    with Reporter(make_document(tmp_path, "http://127.0.0.1:9")) as unheard:
        assert unheard.pinned is None  # nothing may be removed yet
    with Reporter(make_document(tmp_path, plane.url)) as reporter:
        assert eventually(lambda: reporter.pinned == frozenset())  # an older control plane says nothing of it
        plane.wants = {"save_now": 2, "pinned": [4, 8]}
        assert eventually(lambda: reporter.pinned == {4, 8})
        assert reporter.save_now == 2


def checkpoint(step: int) -> CheckpointSaved:
    return CheckpointSaved(step=step, uri="u", bytes=1, files=1, manifest_sha256="0" * 64)


def test_what_is_listed_is_known_once_all_has_arrived_that_was_said_before(
    tmp_path: Path, plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunesmith_jobs.report.SEND_SECONDS", 0.05)
    monkeypatch.setattr("tunesmith_jobs.report.MAX_BATCH_EVENTS", 1)
    plane.listed = lambda: [
        e["payload"]["step"] for e in plane.events[1] if e["payload"]["kind"] == "checkpoint"
    ]
    with Reporter(make_document(tmp_path, "http://127.0.0.1:9")) as away:
        for step in (2, 4, 6):
            away.emit(checkpoint(step))
        assert away.listed is None
    with Reporter(make_document(tmp_path, plane.url)) as reporter:
        assert eventually(lambda: reporter.listed == {2, 4, 6})
        reporter.emit(checkpoint(8))
        assert reporter.drain(10)
        assert reporter.listed == {2, 4, 6}, "what this process says itself it knows"


def test_an_older_control_plane_is_asked_once_what_it_lists(
    tmp_path: Path, plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    received = ControlPlane.received
    monkeypatch.setattr("tunesmith_jobs.report.SEND_SECONDS", 0.05)
    monkeypatch.setattr(
        ControlPlane, "received", lambda self, attempt: asked.append(attempt) or received(self, attempt)
    )
    with Reporter(make_document(tmp_path, plane.url)) as reporter:
        for step in range(3):
            reporter.emit(point(step))
            assert reporter.drain(10)
        assert eventually(lambda: asked == [1])
        assert reporter.listed is None


def test_what_is_adopted_late_takes_back_nothing_that_was_said_of_a_checkpoint_since(
    tmp_path: Path, plane: FakeControlPlane
) -> None:
    """Reported again, or removed, while the control plane was away: the older word of it does not count."""
    with Reporter(make_document(tmp_path, "http://127.0.0.1:9")) as first:
        for step in (2, 4, 6):
            first.emit(checkpoint(step))
        first.emit(point(6))
    with Reporter(make_document(tmp_path, plane.url, attempt=2)) as second:
        second.emit(checkpoint(6))
        second.emit(CheckpointRemoved(step=2))
        assert second.adopt_older()
        assert second.drain(10)
    told = [(e["payload"]["kind"], e["payload"]["step"]) for e in plane.events[2]]
    assert told == [("checkpoint", 6), ("checkpoint_removed", 2), ("checkpoint", 4), ("metrics", 6)]


def test_the_server_goes_away_and_comes_back(tmp_path: Path) -> None:
    first = FakeControlPlane()
    with Reporter(make_document(tmp_path, first.url)) as reporter:
        for step in range(10):
            reporter.emit(point(step))
        assert reporter.drain(10)
        first.close()
        for step in range(10, 20):
            reporter.emit(point(step))
        assert not reporter.drain(0.5)
        second = FakeControlPlane(first.port)
        second.events = first.events
        assert reporter.drain(15)
    assert second.steps() == list(range(20))
    second.close()


@pytest.mark.parametrize("status", [500, 503, 429, 502, 401])
def test_a_refusal_is_tried_again(tmp_path: Path, plane: FakeControlPlane, status: int) -> None:
    plane.failures = [(status, {"error": {"code": "internal", "message": "no"}}), (status, {"not": "ours"})]
    with Reporter(make_document(tmp_path, plane.url)) as reporter:
        reporter.emit(point(1))
        assert reporter.drain(15)
    assert plane.steps() == [1]
    assert plane.posts >= 3


def test_a_server_restored_from_a_backup_gets_what_it_lost(tmp_path: Path, plane: FakeControlPlane) -> None:
    with Reporter(make_document(tmp_path, plane.url)) as reporter:
        for step in range(30):
            reporter.emit(point(step))
        assert reporter.drain(10)
        del plane.events[1][12:]
        reporter.emit(point(30))
        assert eventually(lambda: plane.steps() == list(range(31)))


def test_a_lost_reply_does_not_double_events(tmp_path: Path, plane: FakeControlPlane) -> None:
    document = make_document(tmp_path, plane.url)
    with Reporter(document) as reporter:
        reporter.emit(point(1))
        reporter.emit(point(2))
        assert reporter.drain(10)
    (tmp_path / "work" / "spool-1.acked").write_text("0")
    with Reporter(document) as reporter:
        reporter.emit(point(3))
        assert reporter.drain(10)
    assert plane.steps() == [1, 2, 3]


def test_a_stale_attempt_is_told_and_sends_no_more(tmp_path: Path, plane: FakeControlPlane) -> None:
    plane.stale = True
    told = threading.Event()
    with Reporter(make_document(tmp_path, plane.url), on_gone=told.set) as reporter:
        reporter.emit(point(1))
        assert told.wait(10)
        assert reporter.superseded
        assert not reporter.drain(5)
    assert plane.posts == 1


def test_a_deleted_task_ends_the_attempt(tmp_path: Path, plane: FakeControlPlane) -> None:
    plane.failures = [(404, {"error": {"code": "not_found", "message": "gone"}})]
    with Reporter(make_document(tmp_path, plane.url)) as reporter:
        assert eventually(lambda: reporter.superseded)


def test_one_event_that_is_refused_does_not_hold_up_the_rest(tmp_path: Path, plane: FakeControlPlane) -> None:
    plane.refuse_value = 666.0
    with Reporter(make_document(tmp_path, plane.url)) as reporter:
        for step in range(9):
            reporter.emit(point(step, 666.0 if step == 4 else 1.0))
        assert reporter.drain(20)
    assert plane.steps() == [0, 1, 2, 3, 5, 6, 7, 8]
    assert plane.events[1][4]["payload"]["kind"] == "log"


def test_a_torn_line_is_dropped_and_numbers_go_on(tmp_path: Path, plane: FakeControlPlane) -> None:
    document = make_document(tmp_path, plane.url)
    with Reporter(document) as reporter:
        reporter.emit(point(1))
        reporter.emit(point(2))
        assert reporter.drain(10)
    with (tmp_path / "work" / "spool-1.jsonl").open("ab") as file:
        file.write(b'{"seq":3,"time":"2026-01-01T00:0')
    with Reporter(document) as reporter:
        assert reporter.last_seq == 2
        reporter.emit(point(3))
        assert reporter.drain(10)
    assert plane.steps() == [1, 2, 3]
    assert [e.seq for e in read_events(tmp_path / "work", 1, 0)] == [1, 2, 3]


def test_a_line_of_zeros_left_by_a_power_cut_is_dropped(tmp_path: Path) -> None:
    spool = spool_with_events(tmp_path, 2)
    spool.close()
    with (tmp_path / "spool-1.jsonl").open("ab") as file:
        file.write(b"\0" * 40 + b"\n")
    again = Spool(tmp_path, 1)
    assert again.last_seq == 2
    assert again.append(point(3)) == 3
    assert len(read_events(tmp_path, 1, 0)) == 3


class FullDisk:
    """A file that takes a part of a line, and then nothing."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("ab", buffering=0)
        self.room = 20

    def write(self, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room = 0
        return self.file.write(data[:20])

    def truncate(self, size: int) -> int:
        return self.file.truncate(size)


def test_a_full_disk_neither_stops_training_nor_loses_an_event(tmp_path: Path) -> None:
    spool = spool_with_events(tmp_path, 2)
    whole = spool._file
    spool._file = FullDisk(tmp_path / "spool-1.jsonl")  # type: ignore[assignment]
    for step in (2, 3, 4):
        assert spool.append(point(step)) == 2
    spool._file = whole
    assert spool.append(point(5)) == 6
    spool.close()
    found = read_events(tmp_path, 1, 0)
    assert [event.seq for event in found] == [1, 2, 3, 4, 5, 6]
    assert [event.payload.step for event in found] == list(range(6))  # type: ignore[union-attr]


def spool_with_events(folder: Path, count: int) -> Spool:
    spool = Spool(folder, 1)
    for step in range(count):
        spool.append(point(step))
    return spool


def test_only_one_process_writes(tmp_path: Path, plane: FakeControlPlane) -> None:
    document = make_document(tmp_path, plane.url)
    other = SpoolLock(tmp_path / "work", 1)
    with Reporter(document):
        assert not other.acquire()
    assert other.acquire()
    with pytest.raises(Exception, match="still writes"):
        Reporter(document, lock_timeout=0.1)
    other.release()


def test_a_batch_is_bounded_in_bytes(tmp_path: Path) -> None:
    spool = spool_with_events(tmp_path, 100)
    lines = spool.read(10, 1000, 500)
    assert 1 <= len(lines) < 10
    assert json.loads(lines[0])["seq"] == 11
    assert len(spool.read(0, 7, 10**9)) == 7
    assert spool.read(100, 7, 10**9) == []
    assert len(spool.read(3, 7, 1)) == 1


def test_the_next_attempt_hands_in_what_did_not_arrive(tmp_path: Path, plane: FakeControlPlane) -> None:
    with Reporter(make_document(tmp_path, plane.url)) as reporter:
        reporter.emit(point(1))
        assert reporter.drain(10)
    spool = Spool(tmp_path / "work", 1)
    when = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    spool.append(point(2), when)
    spool.append(Progress(step=2, total_steps=9))
    spool.append(point(3))
    spool.close()
    for _ in range(2):  # a second start of the attempt does not hand them in again
        with Reporter(make_document(tmp_path, plane.url, attempt=2)) as reporter:
            assert reporter.adopt_older()
            assert reporter.drain(10)
    assert plane.steps(1) == [1]
    assert plane.steps(2) == [2, 3]
    assert dt.datetime.fromisoformat(plane.events[2][0]["time"]) == when
    with Reporter(make_document(tmp_path, plane.url, attempt=3)) as reporter:
        assert reporter.adopt_older()
    assert plane.steps(3) == []


def test_adoption_waits_for_the_control_plane(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    spool_with_events(tmp_path / "work", 3).close()
    with Reporter(make_document(tmp_path, "http://127.0.0.1:9", attempt=2)) as reporter:
        assert not reporter.adopt_older()
        assert reporter.last_seq == 0


@pytest.mark.parametrize("poison", [RuntimeError("a bug"), SystemExit(1)], ids=repr)
def test_reports_and_heartbeats_go_on_whatever_a_post_raises(
    tmp_path: Path, plane: FakeControlPlane, poison: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunesmith_jobs.report.MAX_BACKOFF_SECONDS", 0.05)
    send, poisons = ControlPlane.send, [poison, poison]

    def poisoned(self: ControlPlane, lines: list[bytes], *more: Any) -> Any:
        if lines and poisons:
            raise poisons.pop()
        return send(self, lines, *more)

    monkeypatch.setattr(ControlPlane, "send", poisoned)
    with Reporter(make_document(tmp_path, plane.url)) as reporter:
        reporter.emit(point(1))
        assert reporter.drain(10)
    assert not poisons
    assert plane.steps() == [1]
