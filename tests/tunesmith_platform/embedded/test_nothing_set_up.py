"""Who starts a part where no platform was ever set up is told that, and not that a database does not answer."""

import importlib.util
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tunesmith.errors import DatabaseBusy, Unavailable
from tunesmith.home import Home
from tunesmith_platform import controller
from tunesmith_platform.app import ready_schema
from tunesmith_platform.auth import WHERE_THE_KEY_IS
from tunesmith_platform.db import schema
from tunesmith_platform.db.engine import Database
from tunesmith_platform.embedded.commands import app
from tunesmith_platform.settings import Settings

ROOT = Path(__file__).resolve().parents[3]


def start_controller(settings: Settings) -> None:
    controller.run(settings, threading.Event())


def start_server(settings: Settings) -> None:
    database = Database(settings.database_url)
    try:
        ready_schema(database, settings)
    finally:
        database.close()


@pytest.mark.parametrize("start", [start_controller, start_server])
def test_a_folder_that_is_not_there_is_said_to_be_that(
    tmp_path: Path, start: Callable[[Settings], None]
) -> None:
    with pytest.raises(Unavailable, match="Nothing was set up") as told:
        start(Settings(home=tmp_path / "nowhere", database_url=f"sqlite:///{tmp_path}/nowhere/tunesmith.db"))
    assert not isinstance(told.value, DatabaseBusy)
    assert "`tunesmith up`" in str(told.value.hint)
    assert "`tunesmith migrate`" in str(told.value.hint)
    assert not (tmp_path / "nowhere").exists()


def test_a_controller_makes_no_database_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="Nothing was set up"):
        start_controller(Settings(home=tmp_path, database_url=f"sqlite:///{tmp_path}/tunesmith.db"))
    assert list(tmp_path.glob("*.db")) == []


def test_migrate_says_so_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TUNESMITH_DATABASE_URL", f"sqlite:///{tmp_path}/nowhere/t.db")
    told = CliRunner().invoke(app, ["migrate"]).exception
    assert isinstance(told, Unavailable)
    assert "Nothing was set up" in told.message


def test_what_is_there_or_elsewhere_is_not_refused(tmp_path: Path) -> None:
    for url, is_made in (
        (f"sqlite:///{tmp_path}/new.db", True),
        ("postgresql+psycopg://nobody@127.0.0.1:1/none", False),
    ):
        database = Database(url)
        schema.require_place(database, is_made=is_made)
        database.close()


def test_where_the_key_is_is_said_where_it_is_asked_for() -> None:
    for word in ("`api-key`", "`TUNESMITH_HOME`", "`~/.tunesmith`", "`TUNESMITH_API_KEY`"):
        assert word in WHERE_THE_KEY_IS
    assert Home().api_key_file.name == "api-key"


def test_the_demo_says_the_line_by_which_a_shell_finds_its_platform(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("demo", ROOT / "infra" / "scripts" / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    import subprocess

    line = demo.shell_line(Home(tmp_path / "a folder"))
    said = subprocess.run(
        ["/bin/bash", "-c", f"{line}; command -v tunesmith; tunesmith status"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TUNESMITH_LANG": "en"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.stdout.strip().endswith("/tunesmith")
    assert f"Nothing was started in `{tmp_path / 'a folder'}`" in said.stderr.replace("\n", " ")
    assert said.returncode == 3
