"""Pages whose server is away, or that have no network: they say so, keep what was typed, send nothing twice, come back.

No Ray runs here: the server and the browser are the real ones.
"""

import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_process import Server
from conftest_platform import Plane
from playwright.sync_api import BrowserContext, Request, expect
from studio_browser import Tab
from waiting import free_port, wait_until

from tunesmith.client import Client
from tunesmith.home import Home
from tunesmith_platform.serving import ApiServer

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
TABS = ("prepare", "monitor", "evaluate", "test", "package", "data", "pipelines", "models", "settings")
CUT_OFF = "Cut off from the platform"


class Restarted:
    """A control plane whose server is stopped and started at one address; what it knows is in its database."""

    def __init__(self, folder: Path) -> None:
        self._home = Home(folder)
        self._home.create()
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        self.plane = Plane(self._home, port=self._port)
        self._server = ApiServer(self.plane.app, "127.0.0.1", self._port)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        wait_until(lambda: self._server.started)

    def stop(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(30)
        self.plane.services.database.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Restarted]:
    made = Restarted(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def tab(context: BrowserContext, server: Restarted) -> Tab:
    with Client(url=server.url, api_key=server.plane.api_key) as client:
        link = client.sign_in_link().url
    found = Tab(context, server.url)
    found.page.goto(f"{server.url}/studio/{link.partition('/studio/')[2]}")
    found.page.get_by_role("navigation").wait_for()
    return found


def test_a_page_whose_server_starts_again_keeps_what_was_typed_and_sends_it_once(
    tab: Tab, server: Restarted
) -> None:
    page = tab.page
    sent: list[str] = []
    page.on("request", lambda one: sent.append(one.url) if _is_change(one) else None)
    tab.go("settings")
    name = page.get_by_label("Whose", exact=True)
    name.fill("ann of the night")
    server.stop()
    told = page.get_by_role("alert").filter(has_text=CUT_OFF)
    expect(told).to_be_visible()
    expect(told).to_contain_text(re.compile(r"Next try in \d seconds?|Trying now"))
    expect(page.get_by_role("alert")).to_have_count(1)  # not one a panel
    page.get_by_role("button", name="Make a key", exact=True).click()
    expect(page.get_by_role("alert")).to_have_count(
        2
    )  # what was pressed failed, and says so beside its button
    server.start()
    expect(told).to_have_count(0)
    expect(name).to_have_value("ann of the night")
    page.get_by_role("button", name="Make a key", exact=True).dblclick()
    expect(page.get_by_text("ann of the night").first).to_be_visible()
    wait_until(lambda: len(_keys(server)) == 1)
    assert len(sent) == 2, "pressed twice, once without an answer"
    assert tab.errors == []


@pytest.mark.long
@pytest.mark.timeout(840)
def test_half_a_minute_without_a_network_is_said_and_leaves_every_page_as_it_was(
    tab: Tab, server: Restarted
) -> None:
    page = tab.page
    for at, name in enumerate(TABS):
        tab.go(name)
        text = page.locator("main").inner_text()
        field = page.locator("main input[type=text]:visible, main textarea:visible").first
        has_field = field.count() > 0 and field.is_editable()
        if has_field:
            field.fill(f"typed {at}")
        if at % 2:
            server.stop()
        else:
            page.context.set_offline(True)
        told = page.get_by_role("alert").filter(has_text=CUT_OFF)
        expect(told).to_be_visible()
        page.wait_for_timeout(30_000)
        expect(page.get_by_role("alert")).to_have_count(1)
        if at % 2:
            server.start()
        else:
            page.context.set_offline(False)
        expect(told).to_have_count(0)
        tab.settle()
        expect(page.get_by_role("alert")).to_have_count(0)
        if has_field:
            expect(field).to_have_value(f"typed {at}")
        else:
            # Figures may have moved meanwhile: the room on the disk, the memory.
            words = re.compile(re.sub(r"\d+", r"\\d+", re.escape(text)))
            expect(page.locator("main")).to_have_text(words, use_inner_text=True)
    assert tab.errors == []
    assert tab.outside == []


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_server_that_hangs_is_noticed_and_a_key_that_was_asked_for_meanwhile_is_made_once(
    context: BrowserContext, tmp_path: Path
) -> None:
    """It takes connections and answers nothing, as a process does that is stopped or swapped out."""
    home = Home(tmp_path / "home")
    home.create()
    plane = Plane(home)
    key = plane.api_key
    plane.services.database.close()
    server = Server(home, f"sqlite:///{home.database}", tmp_path / "log")
    try:
        wait_until(lambda: server.answers("/readyz"), 60)
        with Client(url=server.url, api_key=key) as client:
            link = client.sign_in_link().url
        tab = Tab(context, server.url)
        page = tab.page
        sent: list[str] = []
        page.on("request", lambda one: sent.append(one.url) if _is_change(one) else None)
        page.goto(f"{server.url}/studio/{link.partition('/studio/')[2]}")
        page.get_by_role("navigation").wait_for()
        tab.go("settings")
        page.get_by_label("Whose", exact=True).fill("ann of the night")
        told = page.get_by_role("alert").filter(has_text=CUT_OFF)
        page.wait_for_timeout(25_000)  # an idle stream that lives is not taken for one that does not
        expect(told).to_have_count(0)
        server.process.send_signal(signal.SIGSTOP)
        page.get_by_role("button", name="Make a key", exact=True).dblclick()
        expect(told).to_be_visible(timeout=35_000)
        page.wait_for_timeout(30_000)
        expect(told).to_be_visible()
        expect(page.get_by_role("alert")).to_have_count(1)
        server.process.send_signal(signal.SIGCONT)
        expect(told).to_have_count(0, timeout=30_000)
        expect(page.get_by_text("ann of the night").first).to_be_visible()
        with Client(url=server.url, api_key=key) as client:
            made = [one for one in client.keys.list() if one.name == "ann of the night"]
        assert (len(made), len(sent)) == (1, 1)
        assert tab.errors == []
    finally:
        server.process.send_signal(signal.SIGCONT)
        server.process.terminate()
        server.process.wait(30)


def _is_change(request: Request) -> bool:
    return request.method == "POST" and request.url.endswith("/v1/keys")


def _keys(server: Restarted) -> list[str]:
    with Client(url=server.url, api_key=server.plane.api_key) as client:
        return [one.name for one in client.keys.list() if one.name == "ann of the night"]
