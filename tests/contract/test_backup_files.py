"""A backup's file: refused where it is not whole, brought up from the version before, written whole or not at all."""

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
from pathlib import Path
from typing import Any

import pytest
from backed_up import restored_in, saved
from conftest_platform import Plane
from sqlalchemy import MetaData

from tunesmith.cli.main import run
from tunesmith.errors import Conflict, InvalidInput, TunesmithError, Unavailable
from tunesmith.home import Home
from tunesmith_platform.admin.archive import Summary
from tunesmith_platform.admin.backup import back_up
from tunesmith_platform.db import schema
from tunesmith_platform.db.engine import Database


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
