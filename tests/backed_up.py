"""Where a backup is restored, and what was saved before it."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest_platform import Plane
from ended_tasks import folder
from real_postgres import own_database

from tunesmith.home import Home
from tunesmith.views import TaskView
from tunesmith_platform.admin.restore import Restored, restore
from tunesmith_platform.db.engine import Database
from tunesmith_platform.settings import Settings


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
