"""The schema: one process brings it up to date, however many start; what is older or newer is not served."""

import concurrent.futures
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from conftest_platform import Plane
from fastapi.testclient import TestClient
from real_postgres import own_database
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from tunesmith.cli.main import run
from tunesmith.errors import Unavailable
from tunesmith.home import Home
from tunesmith_platform import app
from tunesmith_platform.app import create_app
from tunesmith_platform.db import schema
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.schema import Schema
from tunesmith_platform.db.tables import TemplateRow
from tunesmith_platform.settings import Settings
from tunesmith_platform.testing.fakes import FakeJobs

OLDER, NEWER = "0018", "9999"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    with own_database(request.getfixturevalue("postgres_server")) as url:
        yield url


def test_two_that_start_at_once_migrate_once(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    meeting, upgrade, upgrades = threading.Barrier(2), command.upgrade, []

    def meet_and_upgrade(config: Config, to: str) -> None:
        upgrades.append(to)
        with suppress(threading.BrokenBarrierError):
            meeting.wait(0.5)  # one that is let in beside this one comes here too
        upgrade(config, to)

    def start() -> bool:
        with closing(Database(empty_url)) as database:
            found = schema.migrate(database)
            schema.require(database)
            return found

    monkeypatch.setattr(command, "upgrade", meet_and_upgrade)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        did = [call.result() for call in [pool.submit(start) for _ in range(2)]]
    assert sorted(did) == [False, True]
    assert upgrades == ["head"]


def set_back(plane: Plane, revision: str) -> None:
    """Make the database one of another version."""
    with plane.services.database.write() as session:
        if revision == NEWER:
            session.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": revision})
            return
        config = Config()
        config.set_main_option("script_location", str(schema.MIGRATIONS))
        config.attributes["connection"] = session.connection()
        command.downgrade(config, revision)


def served(plane: Plane, home: Home, **settings: Any) -> TestClient:
    """A server on the plane's database."""
    made = Settings(home=home.root, database_url=plane.settings.database_url, run_loops=False, **settings)
    return TestClient(create_app(made, FakeJobs()))


@pytest.mark.parametrize(("revision", "says"), [(OLDER, "older"), (NEWER, "newer")])
def test_a_server_does_not_serve_another_versions_database(
    plane: Plane, home: Home, revision: str, says: str
) -> None:
    set_back(plane, revision)
    with pytest.raises(Unavailable, match=says) as refused, served(plane, home, migrate_at_start=False):
        pass
    assert revision in refused.value.message
    assert refused.value.hint
    assert schema.state(plane.services.database) is (Schema.OLDER if revision == OLDER else Schema.UNKNOWN)


def test_what_a_newer_version_made_is_left_as_it_is(plane: Plane, home: Home) -> None:
    set_back(plane, NEWER)
    with pytest.raises(Unavailable, match="newer"), served(plane, home, migrate_at_start=True):
        pass
    with plane.services.database.read() as session:
        assert session.scalar(text("SELECT version_num FROM alembic_version")) == NEWER


def test_a_server_migrates_where_it_is_told_to(plane: Plane, home: Home) -> None:
    set_back(plane, OLDER)
    with served(plane, home, migrate_at_start=True) as client:
        assert client.get("/healthz").status_code == 200
    assert schema.state(plane.services.database) is Schema.CURRENT


@pytest.mark.parametrize(("revision", "says"), [(OLDER, "older than"), (NEWER, "a newer version")])
def test_a_server_says_that_its_database_was_migrated_meanwhile_and_goes_on_where_it_can(
    plane: Plane, home: Home, revision: str, says: str
) -> None:
    """A newer version adds before it takes away; what does not fit any more is refused with the reason."""
    with served(plane, home, migrate_at_start=False) as client:
        client.headers["Authorization"] = f"Bearer {plane.api_key}"
        assert client.get("/healthz").json() == {"status": "ok"}
        with plane.services.database.write() as session:
            session.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": revision})
        assert client.get("/v1/tasks").status_code == 200
        (database,) = [
            part for part in client.get("/v1/system").json()["parts"] if part["name"] == "database"
        ]
        assert (database["ok"], says in database["message"]) == (False, True)
        health = client.get("/healthz")
        assert (health.status_code, health.json()["status"]) == (200, "ok"), "nobody starts it again for that"
        assert revision in health.json()["notice"]
        with plane.services.database.write() as session:
            session.execute(text("ALTER TABLE templates RENAME COLUMN parameters TO settings"))
        body = {"name": "t", "parameters": {"r": 8}}
        for answer in (client.get("/v1/templates"), client.post("/v1/templates", json=body)):
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (503, "unavailable"), error
            assert revision in error["message"]
            assert says in error["message"]
            assert error["hint"]


def test_a_column_that_is_gone_without_a_migration_is_a_fault_of_ours(plane: Plane, home: Home) -> None:
    with served(plane, home, migrate_at_start=False) as client:
        with plane.services.database.write() as session:
            session.execute(text("ALTER TABLE templates RENAME COLUMN parameters TO settings"))
        database = client.app.state.services.database  # type: ignore[attr-defined]
        with pytest.raises(DBAPIError), database.read() as session:
            session.scalars(select(TemplateRow)).all()


def test_sqlite_is_migrated_at_start_and_postgresql_by_command(home: Home) -> None:
    """Several servers share a PostgreSQL; a SQLite file has its one machine."""
    assert Settings(home=home.root).migrate_at_start is True
    assert Settings(home=home.root, database_url="postgresql+psycopg://h/d").migrate_at_start is False


def test_the_command_and_the_server(
    plane: Plane, home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: Any
) -> None:
    set_back(plane, OLDER)
    monkeypatch.setenv("TUNESMITH_HOME", str(home.root))
    monkeypatch.setenv("TUNESMITH_DATABASE_URL", plane.settings.database_url)
    monkeypatch.setenv("TUNESMITH_MIGRATE_AT_START", "false")
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 3
    assert "`tunesmith migrate`" in caplog.text
    assert "Traceback" not in caplog.text
    assert [run(["migrate"]), run(["migrate"])] == [0, 0]
    said = capsys.readouterr().err
    assert f"is {schema.newest()} now" in said
    assert f"is {schema.newest()} already" in said
    set_back(plane, NEWER)
    assert run(["migrate"]) == 1
    assert NEWER in capsys.readouterr().err
