"""The two platforms that the end-to-end tests share."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_platform import Platform
from nemesis.checker import Reference
from short_tasks import stop_all

from tunesmith.client import Client
from tunesmith.errors import TunesmithError
from tunesmith.home import Home


@pytest.fixture(scope="session")
def cold(live_home: Home, tiny_model: Path, left_alone: Reference) -> Platform:
    """The platform on which Ray Train starts each task's workers for it alone.

    What `left_alone` takes is the first test's time, not that of the longest one.
    """
    return Platform(live_home, tiny_model, is_warm=False)


@pytest.fixture(scope="session")
def warm(warm_home: Home, tiny_model: Path) -> Platform:
    """The platform on which tasks start in a warm runner, as users' do."""
    return Platform(warm_home, tiny_model, is_warm=True)


@pytest.fixture(autouse=True)
def _leave_nothing_running(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test that failed left running would keep all others waiting for their turn."""
    yield
    for name in {"live_home", "warm_home"} & set(request.fixturenames):
        home: Home = request.getfixturevalue(name)
        with contextlib.suppress(TunesmithError, TimeoutError):
            stop_all(Client(home=home))
