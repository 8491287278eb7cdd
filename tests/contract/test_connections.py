"""Whether the database has a connection for each that the processes on it may open."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from conftest_platform import Plane
from sqlalchemy import text

from tunesmith.home import Home
from tunesmith_platform.db import connections, engine
from tunesmith_platform.db.engine import CONNECTIONS, Database
from tunesmith_platform.scope import INSTALLATION


@contextlib.contextmanager
def process(url: str, monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[Database]:
    """A process on a database, as the database sees one."""
    monkeypatch.setattr(engine.os, "getpid", lambda: number)
    database = Database(url)
    database.ping()
    yield database
    database.close()


def test_it_is_said_when_one_server_more_does_not_fit(
    plane: Plane, home: Home, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    if plane.services.database.is_sqlite:
        assert connections.shortage(plane.services.database) == ""
        return
    url = plane.settings.database_url
    with plane.services.database.read() as session:
        places = int(str(session.scalar(text("SHOW max_connections"))))
    fitting = (places - 3) // CONNECTIONS  # three are kept for superusers
    assert fitting >= 2, "the server of the tests takes 100"
    with contextlib.ExitStack() as stack:
        for number in range(1, fitting + 1):
            database = stack.enter_context(process(url, monkeypatch, 10_000 + number))
            others = connections.shortage(database)
            is_too_many = number + 1 > fitting  # the plane's own process is one of them
            assert bool(others) is is_too_many, (number, others)
        assert f"{fitting + 1} processes" in others
        assert "raise `max_connections`" in others
        (part,) = [part for part in plane.services.system.view(INSTALLATION).parts if part.name == "database"]
        assert (part.ok, part.message) == (True, others), "it works until it does not"
