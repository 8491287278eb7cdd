"""Who waits how long to write: for another program not long, for our own as long as these get on."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from conftest_platform import Plane
from locked_database import locked
from sqlalchemy import event

from tunesmith.errors import DatabaseBusy
from tunesmith_platform.db.engine import _PATIENCE


def test_many_that_wait_are_all_answered_in_about_the_time_of_one(plane: Plane) -> None:
    """They wait side by side, not one after the other: ten in a row would take ten times as long."""
    database, refused = plane.services.database, []
    database.patience = 0.5

    def write(_: int) -> None:
        try:
            with database.write():
                pytest.fail("it is locked")
        except DatabaseBusy as error:
            refused.append(error)

    began = time.monotonic()
    with locked(plane), ThreadPoolExecutor(20) as pool:
        list(pool.map(write, range(20)))
    assert len(refused) == 20
    assert time.monotonic() - began < 20 * database.patience / 2


def test_who_gives_up_at_once_makes_nobody_else_give_up_sooner(plane: Plane) -> None:
    """Some writes are worth no wait, such as when a key was used; the next one is, and the lock may be a short one."""
    database = plane.services.database
    with locked(plane), pytest.raises(DatabaseBusy), database.write(patience=0.01):
        pytest.fail("it is locked")
    asked: list[float] = []

    def begun(connection: Any) -> None:
        asked.append(connection.get_execution_options()[_PATIENCE])

    event.listen(database.engine, "begin", begun, insert=True)
    with database.write():
        pass
    assert asked == [pytest.approx(database.patience, abs=0.5)]


def test_our_own_writers_wait_for_each_other_longer_than_for_another_program(plane: Plane) -> None:
    database = plane.services.database
    database.patience = 0.02
    done = threading.Event()

    def write() -> None:
        with database.write():
            done.set()

    with database.write():
        second = threading.Thread(target=write, daemon=True)
        second.start()
        assert not done.wait(20 * database.patience)
        assert second.is_alive(), "it waits"
    assert done.wait(10)
