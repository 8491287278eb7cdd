"""Leases: one owner at a time, whoever asks first; one that was killed holds nobody up for longer than its lease."""

import concurrent.futures
import datetime as dt
import subprocess
import sys
import threading

import pytest
from conftest_platform import Plane

from tunesmith.errors import Unavailable
from tunesmith_platform import leases
from tunesmith_platform.db.engine import Database
from tunesmith_platform.leases import Lease, LeaseLost, held, is_taken, new_owner

LONG, OVER = dt.timedelta(hours=1), dt.timedelta(seconds=-1)


@pytest.fixture
def databases(replicas: tuple[Plane, Plane]) -> tuple[Database, Database]:
    return replicas[0].services.database, replicas[1].services.database


def test_one_of_many_that_ask_at_once_has_it(databases: tuple[Database, Database]) -> None:
    asked = [Lease(database, "work", LONG) for database in databases * 4]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(Lease.take, asked))
    assert sum(taken) == 1
    owner = asked[taken.index(True)]
    assert [lease.take() for lease in asked] == [lease is owner for lease in asked], (
        "it keeps it, and nobody else"
    )
    owner.release()
    assert not is_taken(databases[0], "work")
    assert asked[taken.index(False)].take()


def test_a_lease_runs_out_and_what_was_seen_under_it_is_not_recorded(
    databases: tuple[Database, Database],
) -> None:
    killed, next_one = Lease(databases[0], "work", OVER), Lease(databases[1], "work", LONG)
    assert killed.take()
    assert not is_taken(databases[0], "work")
    assert next_one.take()
    with databases[0].write() as session, pytest.raises(LeaseLost):
        killed.require(session)
    assert not killed.take()
    killed.release()
    assert is_taken(databases[0], "work"), "only its owner gives it up"
    with databases[1].write() as session:
        next_one.require(session)


def test_the_lease_of_a_process_that_is_gone_is_free(databases: tuple[Database, Database]) -> None:
    """A server that was killed and is started again takes up its work at once."""
    with subprocess.Popen([sys.executable, "-c", ""]) as other:
        other.wait()
    here = new_owner().partition("-")[0]
    killed = Lease(databases[0], "work", LONG, f"{here}-{other.pid}-0")
    elsewhere = Lease(databases[0], "far", LONG, f"00000000-{other.pid}-0")
    alive = Lease(databases[0], "near", LONG)
    assert killed.take()
    assert elsewhere.take()
    assert alive.take()
    wanted = [Lease(databases[1], name, LONG).take() for name in ("work", "far", "near")]
    assert wanted == [True, False, False]
    with databases[0].write() as session, pytest.raises(LeaseLost):
        killed.require(session)


def test_work_is_done_by_one_after_the_other(databases: tuple[Database, Database]) -> None:
    at_work: list[str] = []
    most = []

    def work(database: Database) -> None:
        with held(database, "work", 30):
            at_work.append("one")
            most.append(len(at_work))
            at_work.pop()

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(work, databases * 2))
    assert most == [1] * 4
    assert not is_taken(databases[0], "work")


def test_who_does_not_wait_leaves_the_work_to_the_other(databases: tuple[Database, Database]) -> None:
    with held(databases[0], "work", 0):
        with pytest.raises(Unavailable), held(databases[1], "work", 0):
            pass
        with held(databases[1], "other", 0):
            pass
    with held(databases[1], "work", 0):
        pass


def test_a_lease_is_taken_again_for_as_long_as_its_work_takes(
    databases: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_HELD_FOR", dt.timedelta(seconds=0.03))
    take, taken, is_renewed = Lease.take, [], threading.Event()

    def count(lease: Lease) -> bool:
        taken.append(take(lease))
        if len(taken) == 4:
            is_renewed.set()
        return taken[-1]

    monkeypatch.setattr(Lease, "take", count)
    with held(databases[0], "work", 0):
        assert is_renewed.wait(30)
    assert all(taken)
