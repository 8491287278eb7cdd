"""Workers that give no sign of life: real processes, frozen and busy ones, and a guard that looks at them."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_plane import FakeControlPlane, make_document
from waiting import wait_until

from tunesmith.job import JobDocument
from tunesmith.processes import ProcessRecord, end, pulse_of, pulse_of_record, record_of_this, records_in
from tunesmith_jobs.alive import alive
from tunesmith_jobs.silence import Guard, Here, Silence, stack_of
from tunesmith_jobs.spool import SpoolLock

_CHILD = """
import sys, time
from pathlib import Path
from tunesmith.job import JobDocument
from tunesmith_jobs import alive
from tunesmith_jobs.spool import SpoolLock
alive.BEAT_SECONDS = 0.02
document = JobDocument.model_validate_json(Path(sys.argv[1]).read_text())
how = sys.argv[3]
lock = SpoolLock(Path(document.work_dir), 1)
if how == "speaking":
    lock.acquire()
if how == "busy":
    alive.os.utime = lambda path: time.sleep(600)
with alive.alive(document, int(sys.argv[2])):
    print("here", flush=True)
    def waiting_for_nothing():
        while True:
            if how != "busy":
                time.sleep(0.01)
    waiting_for_nothing()
"""
Starter = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def plane() -> Iterator[FakeControlPlane]:
    server = FakeControlPlane()
    yield server
    server.close()


@pytest.fixture
def document(tmp_path: Path, plane: FakeControlPlane) -> JobDocument:
    return make_document(tmp_path, plane.url)


@pytest.fixture
def worker(tmp_path: Path, document: JobDocument) -> Iterator[Starter]:
    """Starts workers of the attempt; all are gone after the test."""
    (tmp_path / "job.json").write_text(document.model_dump_json())
    started: list[subprocess.Popen[bytes]] = []

    def start(number: int, how: str = "") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", _CHILD, str(tmp_path / "job.json"), str(number), how]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        assert started[-1].stdout is not None
        assert started[-1].stdout.readline() == b"here\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=20)


def freeze(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: (pulse := pulse_of(process.pid)) is not None and pulse.state == "T", 10)


def moved(document: JobDocument, process: subprocess.Popen[bytes]) -> None:
    """Wait for a further sign of life."""
    (record,) = [one for one in records_in(Path(document.work_dir), 1) if one.pid == process.pid]
    file = Path(document.work_dir) / record.name
    before = file.stat().st_mtime_ns
    wait_until(lambda: file.stat().st_mtime_ns != before, 10)


def said(plane: FakeControlPlane, kind: str) -> list[dict[str, Any]]:
    return [event["payload"] for event in plane.events.get(1, []) if event["payload"]["kind"] == kind]


def test_a_frozen_worker_is_reported_then_ended_with_its_stack_and_no_other(
    document: JobDocument, plane: FakeControlPlane, worker: Starter
) -> None:
    """The frozen one holds the spool, as a first worker does: nobody else can speak for the job until it is gone."""
    frozen, sound = worker(0, "speaking"), worker(1)
    guard = Guard(document)
    guard.look(1)
    moved(document, frozen)
    freeze(frozen)
    guard.look(1)  # what it said before it was frozen
    moved(document, sound)
    guard.look(11)
    assert plane.silent == [], "eleven seconds are no silence yet"
    moved(document, sound)
    guard.look(1)
    ((one,),) = plane.silent
    assert one["worker"] == 0
    assert one["seconds"] == 12
    assert "12 s: its process is stopped by a signal" in one["message"]
    moved(document, sound)
    guard.look(47)
    assert frozen.poll() is None, "59 seconds are not 60"
    moved(document, sound)
    guard.look(1)
    assert frozen.wait(10) == -signal.SIGKILL
    assert sound.poll() is None
    guard.look(1)
    assert plane.silent[-1] == []
    (warning,), (line,) = said(plane, "warning"), said(plane, "log")
    assert warning["code"] == "worker_ended"
    assert "It was ended" in warning["message"]
    assert line["source"] == "worker-0"
    assert "waiting_for_nothing" in line["message"], "where it stood"
    guard.look(1)
    assert len(said(plane, "warning")) == 1
    assert "It was ended" in guard.words


def test_a_worker_that_computes_is_reported_and_never_ended(
    document: JobDocument, plane: FakeControlPlane, worker: Starter
) -> None:
    """As one in a call that keeps Python from running: it gives no sign, and takes processor time."""
    busy = worker(0, "busy")
    guard = Guard(document)

    def taken() -> int:
        pulse = pulse_of(busy.pid)
        assert pulse is not None
        return pulse.processor

    for _ in range(8):
        before = taken()
        wait_until(lambda before=before: taken() > before, 10)  # type: ignore[misc]
        guard.look(10)
    assert busy.poll() is None
    assert plane.silent[-1][0]["seconds"] >= 60
    assert said(plane, "warning") == []


def test_one_that_goes_on_is_silent_no_more(document: JobDocument, worker: Starter) -> None:
    process, here = worker(0), Here(Path(document.work_dir), 1)
    here.look(1)
    freeze(process)
    here.look(20)
    assert here.look(1)[0].still >= 20
    process.send_signal(signal.SIGCONT)
    moved(document, process)
    assert (here.look(1)[0].silent, here.look(0)[0].still) == (0, 0)


def test_a_guard_leaves_when_its_attempt_is_over_and_takes_the_frozen_with_it(
    document: JobDocument, plane: FakeControlPlane, worker: Starter
) -> None:
    process, left = worker(0), []
    guard = Guard(document, exit_process=left.append)
    guard.look(1)
    freeze(process)
    guard.look(1)
    guard.look(12)
    plane.stale = True
    guard.look(1)
    assert left == [1]
    assert process.wait(10) == -signal.SIGKILL


def test_a_pid_that_is_another_process_now_is_not_ended(tmp_path: Path) -> None:
    """Nor one of another boot, nor the process that asks."""
    mine = record_of_this(1, 0)
    assert mine is not None
    assert not end(mine)
    with subprocess.Popen(["sleep", "60"]) as bystander:
        try:
            pulse = pulse_of(bystander.pid)
            assert pulse is not None
            its = {"pid": bystander.pid, "ticks": pulse.began}
            for other in (its | {"ticks": pulse.began - 1}, its | {"boot": "another"}):
                record = mine.model_copy(update=other)
                assert pulse_of_record(record) is None
                assert not end(record)
            assert bystander.poll() is None
            assert end(mine.model_copy(update=its))
            assert bystander.wait(10) == -signal.SIGKILL
        finally:
            bystander.kill()


def test_a_record_stays_when_its_process_is_done_and_bad_ones_are_left_out(document: JobDocument) -> None:
    folder = Path(document.work_dir)
    with alive(document, 3):
        assert [(one.worker, one.pid) for one in records_in(folder, 1)] == [(3, os.getpid())]
    assert records_in(folder, 1) == []
    (left,) = records_in(folder, 1, with_done=True)
    assert left.pid == os.getpid()
    (folder / "process-1-worker-4-1.json").write_text("{")
    (folder / "process-1-worker-5-1.json").write_text(left.model_dump_json())  # another's name
    assert records_in(folder, 1) == []


def test_a_full_disk_keeps_nobody_from_working(
    document: JobDocument, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with alive(document, 0):
        assert records_in(Path(document.work_dir), 1) == []


def test_where_a_stack_is_not_to_be_had_it_says_so() -> None:
    assert "not to be had" in stack_of(2**22 + 1)


def test_what_the_guard_could_not_say_is_said_by_the_last_word(
    document: JobDocument, plane: FakeControlPlane, worker: Starter
) -> None:
    lock = SpoolLock(Path(document.work_dir), 1)
    process = worker(1)
    guard = Guard(document)
    guard.look(1)
    freeze(process)
    assert lock.acquire()  # the first worker speaks
    guard.look(1)
    guard.look(60)
    assert process.wait(10) == -signal.SIGKILL
    guard.look(1)
    assert [payload.kind for payload in guard.pending] == ["log", "warning"]
    lock.release()
    guard.look(1)
    assert guard.pending == []
    assert [warning["code"] for warning in said(plane, "warning")] == ["worker_ended"]


def test_a_machine_that_slept_was_not_silent(
    document: JobDocument, plane: FakeControlPlane, worker: Starter
) -> None:
    """Nor a guard that was frozen itself: after an hour it finds that the worker has not moved meanwhile."""
    process, now = worker(0), [0.0]
    guard = Guard(document, clock=lambda: now[0])
    guard.turn()
    freeze(process)
    guard.turn()
    now[0] = 3600
    guard.turn()
    assert plane.silent == []
    assert process.poll() is None


class FakeElsewhere:
    """Another machine, with one frozen worker."""

    def __init__(self) -> None:
        self.ended: list[ProcessRecord] = []
        self.is_closed = False
        record = _record(worker=5, node="far", boot="another")
        pulse = pulse_of(os.getpid())
        assert pulse is not None
        self.found = [Silence(record, pulse, 0, silent=60, still=60)]

    def look(self, elapsed: float, here: int) -> list[Silence]:
        return self.found

    def end(self, record: ProcessRecord) -> str | None:
        self.ended.append(record)
        self.found = []
        return "where it stood"

    def close(self) -> None:
        self.is_closed = True


def test_a_worker_on_another_machine_is_reported_and_ended_there(
    document: JobDocument, plane: FakeControlPlane
) -> None:
    far = FakeElsewhere()
    guard = Guard(document, far)
    guard.look(1)
    guard.look(1)
    assert [one.worker for one in far.ended] == [5]
    assert [[one["worker"] for one in said] for said in plane.silent] == [[5], []]
    (line,) = said(plane, "log")
    assert line["source"] == "worker-5"
    assert "on far" in line["message"]
    assert "where it stood" in line["message"]
    guard.start()
    guard.stop()
    assert far.is_closed


class _Stuck(FakeElsewhere):
    """Machines that cannot be left: their cluster does not answer."""

    def close(self) -> None:
        raise RuntimeError("no cluster")


def test_machines_that_cannot_be_left_cost_no_last_word(
    document: JobDocument, plane: FakeControlPlane
) -> None:
    guard = Guard(document, _Stuck())
    guard.start()
    guard.stop()
    assert not guard.is_alive()


def _record(**more: Any) -> ProcessRecord:
    mine = record_of_this(1, 0)
    assert mine is not None
    return mine.model_copy(update=more)


def test_two_records_of_a_worker_do_not_hide_each_other() -> None:
    assert _record(pid=1).name != _record(pid=2).name
    assert _record(worker=None).words.startswith("The driver (process ")
