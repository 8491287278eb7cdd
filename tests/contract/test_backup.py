"""A platform is backed up while it goes on, and restored elsewhere: what it knew is there, and nothing runs twice."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL, Plane
from ended_tasks import folder
from fastapi.testclient import TestClient
from real_postgres import own_database
from sqlalchemy import MetaData, select, text
from two_users import MOMENT, rows_of
from waiting import wait_until

from tunesmith.cli.main import run
from tunesmith.errors import Conflict, InvalidInput, StaleAttempt, TunesmithError, Unavailable
from tunesmith.events import Report
from tunesmith.home import Home
from tunesmith.lifecycle import Reason, State
from tunesmith.spec.task import MoreSteps
from tunesmith.views import TaskView
from tunesmith_platform.admin.archive import Summary
from tunesmith_platform.admin.backup import back_up
from tunesmith_platform.admin.restore import Restored, restore
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.db import schema
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import AuditRow, TaskRow
from tunesmith_platform.settings import Settings

NOT_KEPT = {"browsers", "leases", "runners", "server_uses"}
CHANGED = {"tasks", "attempts", "events", "deliveries", "notice_cursors", "pipelines", "pipeline_steps"}
CHANGED |= {"quota_entries", "quota_projects"}
"""Where a restore stops what was under way."""
EMPTIED = {"uploads", "measurements"}


@contextlib.contextmanager
def empty_database(request: pytest.FixtureRequest, kind: str) -> Iterator[str]:
    """The URL of a database without tables; empty for the state folder's own."""
    if kind == "sqlite":
        yield ""
        return
    with own_database(request.getfixturevalue("postgres_server")) as url:
        yield url


@pytest.fixture
def other_home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "elsewhere")
    home.create()
    return home


@pytest.fixture(params=["sqlite", "postgresql"])
def other_url(request: pytest.FixtureRequest, other_home: Home) -> Iterator[str]:
    """Where the backup is restored: each database takes what either gave."""
    with empty_database(request, request.param) as url:
        yield url or f"sqlite:///{other_home.database}"


def saved(plane: Plane, task: TaskView, step: int) -> Path:
    """A checkpoint as a job leaves and reports it."""
    path = folder(plane, task, f"checkpoints/checkpoint-{step}")
    sums = hashlib.sha256((path / "manifest.json").read_bytes()).hexdigest()
    event = {"kind": "checkpoint", "step": step, "uri": str(path), "bytes": 1, "files": 1}
    plane.report(task, event | {"manifest_sha256": sums})
    return path


def restored_in(home: Home, url: str, file: Path) -> Restored:
    settings = Settings(home=home.root, database_url=url)
    with contextlib.closing(Database(url)) as database:
        return restore(database, settings, file)


def everything(database: Database) -> dict[str, list[Any]]:
    """Every row of every table, as the columns' types read them."""
    there = MetaData()
    with database.read() as session:
        there.reflect(session.connection())
        return {
            table.name: sorted(
                json.dumps([str(value) for value in row])
                for row in session.execute(select(*(TABLES[table.name].columns)))
            )
            for table in there.sorted_tables
            if table.name in TABLES
        }


TABLES = TaskRow.metadata.tables


def test_every_table_is_restored_as_it_was(
    plane: Plane, other_home: Home, other_url: str, tmp_path: Path
) -> None:
    """Rows of every kind, among them bytes, points in time, `null` beside nothing, words of any language."""
    said = {"action": "stop_task", "subject": "task-ann", "request_id": "r", "address": "127.0.0.1"}
    audited = AuditRow(time=MOMENT, who="ann", role="member", key_id="key-ann", **said)
    rows = [*rows_of("ann", 1), audited]
    plane.services.keys.enroll(plane.home.api_key_file, "local")
    with plane.services.database.write() as session:
        for row in rows:
            session.add(row)
            session.flush()
    before = everything(plane.services.database)
    summary = back_up(plane.services.database, plane.settings, tmp_path / "b.tar")
    assert {table.name for table in summary.tables} == TABLES.keys() - NOT_KEPT
    done = restored_in(other_home, other_url, tmp_path / "b.tar")
    with contextlib.closing(Database(other_url)) as database:
        after = everything(database)
        assert after["restores"]
        for name, wanted in before.items():
            if name not in CHANGED | EMPTIED | NOT_KEPT | {"restores"}:
                assert after[name] == wanted, name
        with database.read() as session:
            assert session.scalar(text("SELECT count(*) FROM deliveries WHERE state = 'pending'")) == 0
    assert done.attempt_floor == 100
    assert [name for name, wanted in before.items() if not wanted and name not in NOT_KEPT] == ["restores"]


def test_it_goes_on_and_the_restored_one_runs_nothing_twice(
    plane: Plane, other_home: Home, other_url: str, tmp_path: Path
) -> None:
    done = plane.running(name="done")
    plane.report(done, {"kind": "finished", "outcome": "completed", "reason": "completed"})
    plane.job(done, JobStatus.SUCCEEDED)
    plane.tick()
    runs = plane.running(name="runs")
    place = saved(plane, runs, 5)
    waits = plane.submit(name="waits")
    back_up(plane.services.database, plane.settings, tmp_path / "b.tar")
    # The platform goes on: one saves and loses its job, which is begun again; what waited begins.
    saved(plane, runs, 7)
    plane.job(runs, JobStatus.FAILED)
    plane.tick()
    later = plane.submit(name="later")

    found = restored_in(other_home, other_url, tmp_path / "b.tar")
    assert sorted(found.stopped) == sorted([runs.id, waits.id])
    assert (found.stored.counts["there"], found.stored.not_there) == (2, []), "the checkpoint and the model"
    # Its cluster is the same one: jobs of the other platform are seen.
    other = Plane(other_home, database_url=other_url)
    other.jobs = other.services.jobs = plane.jobs  # type: ignore[assignment]
    other.reconciler._services.jobs = plane.jobs
    submitted = list(plane.jobs.submits)
    other.tick()
    other.tick()
    assert plane.jobs.submits == submitted, "nothing was begun"
    assert plane.jobs.kills == []
    for task, state, reason in (
        (done, State.COMPLETED, Reason.COMPLETED),
        (runs, State.STOPPED, Reason.RESTORED),
        (waits, State.STOPPED, Reason.RESTORED),
    ):
        seen = other.task(task.id)
        assert (seen.state, seen.reason) == (state, reason), task.name
    with pytest.raises(TunesmithError, match=later.id):
        other.task(later.id)

    # The job of the other speaks to the restored one: it is refused, whoever's secret it shows.
    report = Report.model_validate({"attempt": 1, "events": []})
    with pytest.raises(StaleAttempt):
        other.services.events.ingest(runs.id, report)
    with TestClient(other.app) as client:
        said = client.post(
            f"/v1/tasks/{runs.id}/reports",
            json=report.model_dump(mode="json"),
            headers={"Authorization": f"Bearer {plane.token(runs)}"},
        )
        assert said.status_code in (401, 404), said.text

    # It goes on where its user says so, from the checkpoint of the backup, and no number is given twice.
    other.services.verbs.carry_on(LOCAL, runs.id, MoreSteps())
    other.tick()
    assert plane.jobs.submits[len(submitted) :] == [f"{runs.id}-101"]
    document = json.loads(Path(plane.jobs.documents[f"{runs.id}-101"]).read_text())
    assert document["attempt"] == 101
    assert place.is_relative_to(document["artifact_uri"]), "where the job looks for its checkpoints"
    other.job(runs, JobStatus.RUNNING, 101)
    other.tick()
    assert other.task(runs.id).state is State.RUNNING
    other.services.database.close()


def test_a_second_restore_gives_no_number_of_the_first(
    plane: Plane, other_home: Home, tmp_path: Path
) -> None:
    """Of one backup too: what was begun after the first restore lies in the storage."""
    task = plane.running()
    back_up(plane.services.database, plane.settings, tmp_path / "b.tar")
    (plane.home.files / "tasks" / task.id / "attempt-101.json").write_text("{}")
    assert (
        restored_in(other_home, f"sqlite:///{other_home.database}", tmp_path / "b.tar").attempt_floor == 200
    )
    with contextlib.closing(Database(f"sqlite:///{other_home.database}")) as database:
        back_up(database, Settings(home=other_home.root), tmp_path / "c.tar")
    third = Home(tmp_path / "third")
    third.create()
    assert restored_in(third, f"sqlite:///{third.database}", tmp_path / "c.tar").attempt_floor == 300


def test_it_is_one_moment_while_others_write(plane: Plane, tmp_path: Path) -> None:
    """A task says how many events it has; in each backup they are there, and no other."""
    tasks, over = [plane.running(), *(plane.submit() for _ in range(3))], threading.Event()

    def write() -> None:
        while not over.is_set():
            plane.submit()
            plane.report(tasks[0], *({"kind": "log", "message": "m"} for _ in range(5)))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        before = plane.task(tasks[0].id).events
        for number in range(3):
            wait_until(lambda: plane.task(tasks[0].id).events > before + 20 * (number + 1), 30, "it goes on")  # noqa: B023
            back_up(plane.services.database, plane.settings, tmp_path / f"{number}.tar")
    finally:
        over.set()
        writer.join()
    for number in range(3):
        home = Home(tmp_path / f"home-{number}")
        home.create()
        url = f"sqlite:///{home.database}"
        restored_in(home, url, tmp_path / f"{number}.tar")
        with contextlib.closing(Database(url)) as database, database.read() as session:
            wrong = text(
                "SELECT id FROM tasks WHERE events != (SELECT count(*) FROM events WHERE task_id = tasks.id)"
            )
            assert session.scalars(wrong).all() == []


@pytest.fixture
def backup_file(plane: Plane, tmp_path: Path) -> Path:
    saved(plane, plane.running(), 5)
    back_up(plane.services.database, plane.settings, tmp_path / "b.tar")
    return tmp_path / "b.tar"


def other_file(file: Path, change: Any) -> Path:
    """A backup whose members went through a function."""
    target = file.with_name("changed.tar")
    with tarfile.open(file) as given, tarfile.open(target, "w") as made:
        for member in given.getmembers():
            stream = given.extractfile(member)
            data = change(member.name, stream.read() if stream else b"")
            if data is not None:
                member.size = len(data)
                made.addfile(member, io.BytesIO(data))
    return target


def test_what_is_no_whole_backup_is_refused_and_nothing_is_there(backup_file: Path, other_home: Home) -> None:
    url, whole = f"sqlite:///{other_home.database}", backup_file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    with tarfile.open(backup_file) as tar:
        newer = Summary.model_validate_json(tar.extractfile("backup.json").read())  # type: ignore[union-attr]
    newer.revision = "9999"
    cases: list[tuple[bytes, type[TunesmithError], str]] = [
        (b"", InvalidInput, "no whole backup"),
        (b"no tar at all", InvalidInput, "no whole backup"),
        (whole[: len(whole) // 2], InvalidInput, "no whole backup"),
        (bytes(flipped), InvalidInput, "no whole backup"),
        (
            other_file(
                backup_file,
                lambda name, data: newer.model_dump_json().encode() if name == "backup.json" else data,
            ).read_bytes(),
            Unavailable,
            "newer version",
        ),
    ]
    for content, error, words in cases:
        (other_home.root / "b.tar").write_bytes(content)
        with pytest.raises(error, match=words):
            restored_in(other_home, url, other_home.root / "b.tar")
        assert not other_home.database.exists() or schema.state(Database(url)) is schema.Schema.EMPTY
    restored_in(other_home, url, backup_file)
    with pytest.raises(Conflict, match="holds something"):
        restored_in(other_home, url, backup_file)


def test_a_backup_of_the_version_before_is_brought_up_to_this_one(
    backup_file: Path, other_home: Home
) -> None:
    with (
        contextlib.closing(Database(f"sqlite:///{other_home.root}/older.db")) as before,
        before.write() as session,
    ):
        schema.bring_to(session, "0029")
        there = MetaData()
        there.reflect(session.connection())
    had = {table.name: set(table.columns.keys()) for table in there.sorted_tables}
    with tarfile.open(backup_file) as tar:
        now = Summary.model_validate_json(tar.extractfile("backup.json").read())  # type: ignore[union-attr]
    columns = {table.name: table.columns for table in now.tables}
    sums: dict[str, str] = {}

    def older(name: str, data: bytes) -> bytes | None:
        """A member with what the version before had of it."""
        table = name.removeprefix("tables/").removesuffix(".jsonl.gz")
        if table not in columns:
            return data
        if table not in had:
            return None
        kept = [place for place, column in enumerate(columns[table]) if column in had[table]]
        rows = [json.loads(line) for line in gzip.decompress(data).splitlines()]
        made = gzip.compress(
            b"".join(json.dumps([row[i] for i in kept]).encode() + b"\n" for row in rows), mtime=0
        )
        sums[name] = hashlib.sha256(made).hexdigest()
        return made

    other_file(backup_file, older)
    summary = now.model_copy(update={"revision": "0029"})
    summary.tables = [
        table.model_copy(update={"columns": [one for one in table.columns if one in had[table.name]]})
        for table in now.tables
        if table.name in had
    ]
    summary.sums = {
        name: sums.get(name, value)
        for name, value in now.sums.items()
        if name in sums or not name.startswith("tables/")
    }

    def whole(name: str, data: bytes) -> bytes | None:
        return summary.model_dump_json().encode() if name == "backup.json" else older(name, data)

    url = f"sqlite:///{other_home.database}"
    done = restored_in(other_home, url, other_file(backup_file, whole))
    assert len(done.stopped) == 1
    with contextlib.closing(Database(url)) as database:
        assert schema.state(database) is schema.Schema.CURRENT


def test_what_is_not_in_the_storage_is_named(plane: Plane, other_home: Home, tmp_path: Path) -> None:
    task = plane.running()
    kept, changed, gone = (saved(plane, task, step) for step in (1, 2, 3))
    back_up(plane.services.database, plane.settings, tmp_path / "b.tar")
    (changed / "weights").write_text("longer than it was")
    gone.rename(tmp_path / "moved")
    looked = restored_in(other_home, f"sqlite:///{other_home.database}", tmp_path / "b.tar").stored
    assert {(found.value, entry.of) for found, entry in looked.not_there} == {
        ("changed", f"{task.id}:2"),
        ("missing", f"{task.id}:3"),
    }
    assert kept.exists()
    assert looked.counts["there"] == 2


def test_one_that_is_killed_leaves_no_file_of_the_name_and_no_row(
    plane: Plane, other_home: Home, tmp_path: Path
) -> None:
    """kill -9 in the middle of either: what is there under its name is whole, and the next one succeeds."""
    for _ in range(20):
        plane.submit()
    target = tmp_path / "b.tar"
    hold = "import os, signal; from tunesmith_platform.admin import rows; "
    die = "(lambda *a: os.kill(os.getpid(), signal.SIGKILL))"
    command = "from tunesmith.cli.main import run; import sys; sys.exit(run(sys.argv[1:]))"
    url = plane.settings.database_url
    given = {**os.environ, "TUNESMITH_HOME": str(plane.home.root), "TUNESMITH_DATABASE_URL": url}
    late = f"{hold}rows._put = {die}; {command}"
    ended = subprocess.run(
        [sys.executable, "-c", late, "admin", "backup", str(target)], env=given, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert not target.exists()
    back_up(plane.services.database, plane.settings, target)
    given = {**given, "TUNESMITH_HOME": str(other_home.root), "TUNESMITH_DATABASE_URL": ""}
    late = f"{hold}rows._go_on_counting = {die}; {command}"
    ended = subprocess.run(
        [sys.executable, "-c", late, "admin", "restore", str(target)], env=given, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert len(restored_in(other_home, f"sqlite:///{other_home.database}", target).stopped) == 20


def test_the_commands(
    plane: Plane,
    other_home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = plane.running()
    saved(plane, task, 5)
    monkeypatch.setenv("TUNESMITH_HOME", str(plane.home.root))
    monkeypatch.setenv("TUNESMITH_DATABASE_URL", plane.settings.database_url)
    assert run(["admin", "backup", str(tmp_path)]) == 0
    (file,) = tmp_path.glob("tunesmith-*.tar")
    assert file.stat().st_mode & 0o777 == 0o600
    assert str(file) in capsys.readouterr().out
    assert run(["admin", "backup", str(file)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert run(["admin", "backup", str(tmp_path / "no" / "b.tar")]) == 1
    assert "There is no folder" in capsys.readouterr().err
    secrets = [
        read.read_text()
        for read in (plane.home.api_key_file, plane.home.report_secret_file, plane.home.ray_token_file)
    ]
    with tarfile.open(file) as tar:
        for member in tar.getmembers():
            data = tar.extractfile(member).read()  # type: ignore[union-attr]
            data = gzip.decompress(data) if member.name.endswith(".gz") else data
            assert not any(secret.encode() in data for secret in secrets), member.name
    monkeypatch.setenv("TUNESMITH_HOME", str(other_home.root))
    monkeypatch.setenv("TUNESMITH_DATABASE_URL", "")
    assert run(["migrate"]) == 0
    capsys.readouterr()
    assert run(["admin", "restore", str(file), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["stopped"], said["stored"]["counts"]["there"]) == ([task.id], 2)
    assert str(plane.home.files) in json.loads(other_home.allowed_roots_file.read_text())
    assert run(["admin", "restore", str(file)]) == 1
    assert "holds something already" in capsys.readouterr().err
