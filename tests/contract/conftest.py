"""The control plane on both databases that it runs on, empty for every test."""

from collections.abc import Iterator

import pytest
from conftest_platform import Plane, home
from sqlalchemy import create_engine, text

from tunesmith.home import Home

__all__ = ["home"]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database; of SQLite the state folder's own."""
    if request.param == "sqlite":
        return ""
    url: str = request.getfixturevalue("postgres_url")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return url


@pytest.fixture
def plane(home: Home, database_url: str) -> Iterator[Plane]:
    plane = Plane(home, database_url=database_url)
    plane.services.database.migrate()
    yield plane
    plane.services.database.close()
