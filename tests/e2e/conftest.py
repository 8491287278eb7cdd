"""The two platforms that the end-to-end tests share."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from built_studio import build_studio
from live_platform import Platform
from nemesis.checker import Reference
from playwright.sync_api import Browser, BrowserContext
from short_tasks import stop_all
from studio_browser import Tab, real_browser

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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    build_studio()
    with real_browser() as found:
        yield found


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    found = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB")
    yield found
    found.close()


@pytest.fixture
def tab(context: BrowserContext, warm: Platform) -> Tab:
    """A tab that a link has signed in."""
    link = warm.client.sign_in_link()
    found = Tab(context, warm.client.url)
    found.page.goto(link.url)
    found.page.get_by_role("navigation").wait_for()
    return found
