"""The control plane on both databases that it runs on, empty for every test."""

from collections.abc import Iterator

import pytest
from backed_up import other_home, other_url
from conftest_platform import Plane, home
from real_postgres import own_database
from receivers import hook

from tunesmith.home import Home
from tunesmith_platform.db import engine

__all__ = ["home", "hook", "other_home", "other_url"]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database without rows; of SQLite the state folder's own."""
    if request.param == "sqlite":
        yield ""
        return
    server, schema = (request.getfixturevalue(name) for name in ("postgres_server", "postgres_with_schema"))
    with own_database(server, schema) as url:
        yield url


@pytest.fixture
def replicas(home: Home, plane: Plane, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Plane, Plane]]:
    """Two control planes on one database, one Ray and one MLflow.

    They wait for each other's locks for as long as a busy machine may take: when to give up is tested elsewhere.
    """
    monkeypatch.setattr(engine, "PATIENCE_SECONDS", 30.0)
    second = Plane(home, beside=plane)
    for one in (plane, second):
        one.services.database.patience = 30.0
        one.services.database.engine.dispose()  # connections keep the patience that they were made with
    yield plane, second
    second.services.database.close()


@pytest.fixture
def plane(home: Home, database_url: str) -> Iterator[Plane]:
    plane = Plane(home, database_url=database_url)
    yield plane
    plane.services.database.close()
