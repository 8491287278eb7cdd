"""A stop reaches a job also while nobody answers: through the work folder, or beside its document in the storage."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from fake_plane import FakeControlPlane, make_document

from tunesmith.job import JobDocument, StopMarker
from tunesmith.lifecycle import Desired
from tunesmith.storage import open_storage
from tunesmith_jobs.report import Reporter
from tunesmith_jobs.stopping import StopFiles

AWAY = "http://127.0.0.1:9"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_SECONDS", "SILENT_SECONDS", "FAR_SECONDS"):
        monkeypatch.setattr(f"tunesmith_jobs.stopping.{name}", 0.05)


@pytest.fixture(params=["folder", "bucket"])
def documents_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the attempt's document lies: on this machine, or in a bucket."""
    if request.param == "folder":
        return str(tmp_path / "files" / "tasks" / "task-1")
    return f"{request.getfixturevalue('s3_uri')}/{tmp_path.name}/tasks/task-1"


def stop(uri: str | Path, attempt: int = 1, task_id: str = "task-1") -> None:
    marker = StopMarker(task_id=task_id, attempt=attempt)
    open_storage(str(uri)).write(f"stop-{attempt}", marker.encode())


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        threading.Event().wait(0.02)
    return False


@pytest.mark.usefixtures("quick")
def test_a_stop_in_the_work_folder_is_found_while_nobody_answers(tmp_path: Path) -> None:
    document = make_document(tmp_path, AWAY)
    with Reporter(document) as reporter:
        assert reporter.desired is Desired.RUN
        stop(document.work_dir)
        assert eventually(lambda: reporter.desired is Desired.STOP)
        assert reporter.wait_heard(0), "what is wanted is known"
    with Reporter(document) as again:
        assert again.desired is Desired.STOP, "one that starts knows it at once"


@pytest.mark.usefixtures("quick")
def test_a_stop_in_the_storage_is_found_while_nobody_answers(tmp_path: Path, documents_uri: str) -> None:
    with Reporter(make_document(tmp_path, AWAY, documents_uri=documents_uri)) as reporter:
        assert not eventually(lambda: reporter.desired is Desired.STOP, 0.3)
        stop(documents_uri)
        assert eventually(lambda: reporter.desired is Desired.STOP)


@pytest.fixture
def plane() -> Iterator[FakeControlPlane]:
    server = FakeControlPlane()
    yield server
    server.close()


@pytest.mark.usefixtures("quick")
def test_a_control_plane_that_hangs_keeps_no_stop_from_its_job(
    tmp_path: Path, plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is frozen takes the connection and answers nothing: the sender waits for ten seconds."""
    hangs, begun = threading.Event(), threading.Event()
    document = make_document(tmp_path, plane.url)

    def hang(*_: object) -> None:
        begun.set()
        hangs.wait(20)
        raise httpx.ReadTimeout("nothing came")

    monkeypatch.setattr("tunesmith_jobs.report.ControlPlane.send", hang)
    reporter = Reporter(document)
    try:
        assert begun.wait(10)
        stop(document.work_dir)
        assert eventually(lambda: reporter.desired is Desired.STOP, 5)
    finally:
        hangs.set()
        reporter.close()


@pytest.mark.usefixtures("quick")
def test_what_the_control_plane_says_later_takes_no_stop_back(
    tmp_path: Path, plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunesmith_jobs.report.SEND_SECONDS", 0.02)
    monkeypatch.setattr("tunesmith_jobs.report.HEARTBEAT_SECONDS", 0.02)
    document = make_document(tmp_path, plane.url)
    stop(document.work_dir)
    with Reporter(document) as reporter:
        assert eventually(lambda: plane.heartbeats > 2)
        assert reporter.desired is Desired.STOP


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("what", ["earlier attempt", "other task", "rubbish"])
def test_a_stop_that_is_not_for_this_attempt_is_passed_over(tmp_path: Path, what: str) -> None:
    files = tmp_path / "files"
    document = make_document(tmp_path, AWAY, attempt=2, documents_uri=str(files))
    for place in (document.work_dir, files):
        if what == "earlier attempt":
            stop(place, attempt=1)
            open_storage(str(place)).write("stop-2", StopMarker(task_id="task-1", attempt=1).encode())
        elif what == "other task":
            stop(place, attempt=2, task_id="task-2")
        else:
            open_storage(str(place)).write("stop-2", b"\x00 stop")
    with Reporter(document) as reporter:
        assert not eventually(lambda: reporter.desired is Desired.STOP, 0.5)


@pytest.mark.parametrize("place", ["work folder", "storage"])
def test_a_driver_whose_workers_have_not_begun_leaves_while_nobody_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """No worker holds the spool: the driver is the one to hear, and its last word waits in the spool."""
    from tunesmith_jobs import attempt, entry

    monkeypatch.setattr(entry, "_WATCH_SECONDS", 0.02)
    monkeypatch.setattr(attempt, "LAST_WORD_SECONDS", 0.0)
    left: list[int] = []
    monkeypatch.setattr(entry.os, "_exit", lambda code: left.append(code) or watch._over.set())
    document: JobDocument = make_document(tmp_path, AWAY, documents_uri=str(tmp_path / "files"))
    watch = entry._Watch(document)
    watch.start()
    try:
        stop(document.work_dir if place == "work folder" else tmp_path / "files")
        assert eventually(lambda: bool(left))
    finally:
        watch.stop()
    assert left == [1], "nobody has heard its last word"
    assert b"stopped_by_user" in Path(document.work_dir, "spool-1.jsonl").read_bytes()


def test_a_storage_that_hangs_keeps_no_driver_from_its_work_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody answers, so the storage is asked, and it does not answer either: the stop beside the spool is found."""
    from tunesmith_jobs import attempt, entry

    monkeypatch.setattr(entry, "_WATCH_SECONDS", 0.02)
    monkeypatch.setattr(attempt, "LAST_WORD_SECONDS", 0.0)
    left: list[int] = []
    monkeypatch.setattr(entry.os, "_exit", lambda code: left.append(code) or watch._over.set())
    is_back, asked = threading.Event(), threading.Event()

    def hang(_: StopFiles) -> bool:
        asked.set()
        is_back.wait(20)
        return False

    monkeypatch.setattr(StopFiles, "is_far", hang)
    document: JobDocument = make_document(tmp_path, AWAY, documents_uri=str(tmp_path / "files"))
    watch = entry._Watch(document)
    watch.start()
    try:
        assert asked.wait(10)
        stop(document.work_dir)
        assert eventually(lambda: bool(left), 5)
    finally:
        is_back.set()
        watch.stop()


def test_a_driver_keeps_looking_whatever_one_look_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock, its stop and its spool: each fails once. Then it leaves in order, and has kept no lock."""
    from tunesmith_jobs import attempt, entry
    from tunesmith_jobs.spool import Spool, SpoolLock

    monkeypatch.setattr(entry, "_WATCH_SECONDS", 0.02)
    monkeypatch.setattr(attempt, "LAST_WORD_SECONDS", 0.0)
    left: list[int] = []
    monkeypatch.setattr(entry.os, "_exit", lambda code: left.append(code) or watch._over.set())
    document: JobDocument = make_document(tmp_path, AWAY)
    failed: list[str] = []

    def once(owner: type, name: str) -> None:
        real = getattr(owner, name)

        def act(*arguments: object, **more: object) -> object:
            if owner.__name__ not in failed:
                failed.append(owner.__name__)
                raise OSError("the disk")
            return real(*arguments, **more)

        monkeypatch.setattr(owner, name, act)

    watch = entry._Watch(document)
    once(SpoolLock, "acquire")
    once(Spool, "__init__")
    watch.start()
    try:
        stop(document.work_dir)
        assert eventually(lambda: bool(left))
    finally:
        watch.stop()
    assert failed == ["SpoolLock", "Spool"]
    assert SpoolLock(Path(document.work_dir), 1).acquire()


def test_a_spool_that_cannot_be_opened_keeps_nobody_else_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith_jobs import report
    from tunesmith_jobs.spool import SpoolLock

    def full(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(report, "Spool", full)
    document = make_document(tmp_path, AWAY)
    lock = SpoolLock(Path(document.work_dir), 1)
    assert lock.acquire()
    with pytest.raises(OSError, match="full"):
        Reporter(document, lock=lock)
    assert SpoolLock(Path(document.work_dir), 1).acquire()
