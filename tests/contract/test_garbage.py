"""What is left over is found and removed; what is not proven ours stays, and so does all that is of use."""

import contextlib
import datetime as dt
import json
from pathlib import Path

import pytest
from conftest_platform import LOCAL, Plane
from ended_tasks import end, saved

from tunesmith.cli.main import run
from tunesmith.views import TaskView
from tunesmith_platform import clock
from tunesmith_platform.admin import garbage
from tunesmith_platform.admin.backup import back_up
from tunesmith_platform.admin.garbage import DELETED_TASK, SCRATCH, SESSION, UPLOAD, Collector
from tunesmith_platform.admin.restore import restore
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import RestoreRow, TaskRow
from tunesmith_platform.settings import Settings

LATER = dt.timedelta(hours=2)


@pytest.fixture(autouse=True)
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test made is some hours old when it is looked at."""
    monkeypatch.setattr(garbage, "now", lambda: clock.now() + LATER)


def lost(plane: Plane) -> TaskView:
    """A task whose folders are there and whose row is not: a deletion that was cut off."""
    task = plane.running()
    with plane.services.database.write() as session:
        row = session.get(TaskRow, task.id)
        assert row is not None
        row.artifact_uri = f"{plane.settings.storage_uri}/tasks/{task.id}/artifacts"
    saved(plane, task, 5)
    end(plane, task)
    work = plane.settings.work_dir / task.id
    work.mkdir(parents=True)
    (work / "spool-1.jsonl").write_text("{}\n" * 10)
    with plane.services.database.write() as session:
        session.delete(session.get(TaskRow, task.id))
    return task


def looked(plane: Plane, ray: Path | None = None) -> Collector:
    return Collector(plane.services.database, plane.settings, ray)


def test_what_a_cut_off_deletion_left_goes_and_what_a_user_laid_there_stays(plane: Plane) -> None:
    gone = lost(plane)
    kept = plane.running()
    place = plane.home.files / "tasks" / gone.id
    (place / "notes.txt").write_text("a user's")
    (place / "artifacts" / "checkpoints" / "checkpoint-5" / "mine.txt").write_text("a user's too")
    looking = looked(plane)
    found = looking.find()
    assert {(one.what, Path(one.path).name) for one in found} == {(DELETED_TASK, gone.id), (SCRATCH, gone.id)}
    assert all(one.bytes > 0 and one.why for one in found)
    assert (place / "attempt-1.json").exists(), "looking removes nothing"
    for one in found:
        looking.remove(one)
    assert not (plane.settings.work_dir / gone.id).exists()
    assert sorted(file.name for file in place.rglob("*") if file.is_file()) == ["mine.txt", "notes.txt"]
    assert (plane.home.files / "tasks" / kept.id / "attempt-1.json").exists()
    again = [one for one in looked(plane).find() if one.what == SCRATCH]
    assert again == []


def test_what_another_platform_wrote_into_one_storage_stays(plane: Plane) -> None:
    """Its documents are signed with another secret."""
    task = lost(plane)
    document = plane.home.files / "tasks" / task.id / "attempt-1.json"
    said = json.loads(document.read_text())
    document.write_text(json.dumps({**said, "token": "another's"}))
    assert [one.what for one in looked(plane).find()] == [SCRATCH], "only the work folder is this machine's"
    for content in ("", "{}", "[]", '{"token": 1, "attempt": "x"}'):
        document.write_text(content)
        assert DELETED_TASK not in {one.what for one in looked(plane).find()}


def test_what_was_begun_between_a_backup_and_its_restore_stays(plane: Plane) -> None:
    moment = clock.now()
    task = lost(plane)
    row = RestoreRow(number=1, attempt_floor=100, taken_at=moment - LATER, restored_at=clock.now() + LATER)
    with plane.services.database.write() as session:
        session.add(row)
    assert looked(plane).find() == []
    with plane.services.database.write() as session:
        found = session.get(RestoreRow, 1)
        assert found is not None
        found.restored_at = moment - dt.timedelta(hours=1)
    assert {Path(one.path).name for one in looked(plane).find()} == {task.id}


def test_what_is_young_stays(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    lost(plane)
    monkeypatch.setattr(garbage, "now", clock.now)
    assert looked(plane).find() == []


def test_uploads_of_nobody_and_earlier_sessions_of_ray(plane: Plane, tmp_path: Path) -> None:
    folder = plane.services.datasets.scratch()
    orphan = folder / f"{clock.new_id('upload')}.part"
    orphan.write_bytes(b"x" * 100)
    stranger = folder / "rows.part"
    stranger.write_text("no id")
    ray = tmp_path / "ray"
    ray.mkdir(mode=0o700)
    for name in (
        "session_2026-11-30_15-19-55_998586_6405",
        "session_2026-11-30_16-19-55_998586_6406",
        "mine",
    ):
        (ray / name).mkdir()
        (ray / name / "log").write_text("l" * 10)
    (ray / "session_latest").symlink_to(ray / "session_2026-11-30_16-19-55_998586_6406")
    looking = looked(plane, ray)
    found = looking.find()
    assert [(one.what, one.bytes) for one in found] == [(UPLOAD, 100), (SESSION, 10)]
    assert all(looking.remove(one) for one in found)
    assert (orphan.exists(), stranger.exists()) == (False, True)
    assert sorted(entry.name for entry in ray.iterdir()) == [
        ".tunesmith-made", "mine", "session_2026-11-30_16-19-55_998586_6406", "session_latest",
    ]  # fmt: skip
    ray.chmod(0o777)
    assert looked(plane, ray).find() == [], "somebody else may write there"


def test_after_a_restore_elsewhere_nothing_of_the_other_goes(plane: Plane, tmp_path: Path) -> None:
    """The other platform goes on in the same storage: its new tasks are not in the restored database."""
    if not plane.services.database.is_sqlite:
        return
    back_up(plane.services.database, plane.settings, tmp_path / "b.tar")
    task = plane.running()
    settings = Settings(home=tmp_path / "other", storage_uri=plane.settings.storage_uri)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "report-secret").write_text("another")
    with contextlib.closing(Database(settings.database_url)) as database:
        restore(database, settings, tmp_path / "b.tar")
        assert Collector(database, settings, None).find() == []
    assert (plane.home.files / "tasks" / task.id / "attempt-1.json").exists()
    assert plane.services.tasks.get(LOCAL, task.id).id == task.id


def test_the_command(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = lost(plane)
    monkeypatch.setenv("TUNESMITH_HOME", str(plane.home.root))
    monkeypatch.setenv("TUNESMITH_DATABASE_URL", plane.settings.database_url)
    assert run(["admin", "gc", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert task.id in said.out
    assert "signed with this platform's secret" in said.out
    assert "2 things would go" in said.err
    assert run(["admin", "gc", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["removed"]) == 2
    assert run(["admin", "gc"]) == 0
    assert "Nothing is left over" in capsys.readouterr().err
