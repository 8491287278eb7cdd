"""A lease has one holder at a time, and goes on to another when its holder stays away."""

import datetime as dt

from conftest_platform import Plane

from tunesmith_platform import leases

MOMENT = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)
LENGTH = dt.timedelta(seconds=30)


def test_one_holds_it_until_it_runs_out(plane: Plane) -> None:
    def hold(holder: str, after: float) -> bool:
        with plane.services.database.write() as session:
            return leases.hold(session, "scheduler", holder, MOMENT + dt.timedelta(seconds=after), LENGTH)

    first, second = leases.new_holder(), leases.new_holder()
    assert first != second
    assert hold(first, 0)
    assert not hold(second, 29)
    assert hold(first, 20), "its holder keeps it for longer"
    assert not hold(second, 49)
    assert hold(second, 50)
    assert not hold(first, 51), "who comes back too late finds another one's name"


def test_each_name_is_a_lease_of_its_own(plane: Plane) -> None:
    with plane.services.database.write() as session:
        holders = {name: leases.new_holder() for name in ("scheduler", "pipelines", "runners")}
        assert all(leases.hold(session, name, holder, MOMENT, LENGTH) for name, holder in holders.items())
