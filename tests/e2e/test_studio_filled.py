"""Pages of a team's platform, full of long names in two languages; what a page shows of a task that ends;
and what is pressed twice.

No Ray runs here: the server and the browser are the real ones, the answers that fill the pages are written here.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from conftest_platform import Plane
from filled_pages import CUT, fill
from playwright.sync_api import Browser, Page, Request, Route, expect
from served import served
from studio_browser import Tab

from tunesmith.client import Client
from tunesmith.home import Home
from tunesmith_platform import examples

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

PAGES = ("data", "pipelines", "models", "settings", "prepare", "evaluate", "package", "test", "monitor")
LOOKS = (
    pytest.param("en-GB", "light", 1440, marks=pytest.mark.long),
    pytest.param("zh-CN", "dark", 1440, marks=pytest.mark.long),
    pytest.param("en-GB", "dark", 390, marks=pytest.mark.long),
    pytest.param("zh-CN", "light", 390),
)
ID = "task-0ending00000000000"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A server's address and its first key."""
    home = Home(tmp_path_factory.mktemp("filled") / "home")
    home.create()
    plane = Plane(home)
    with pytest.MonkeyPatch.context() as patch, served(plane.app, plane.api_key, patch) as url:
        yield url, plane.api_key
    plane.services.database.close()


def opened(browser: Browser, address: tuple[str, str], **look: Any) -> Tab:
    """A tab that is signed in."""
    url, key = address
    with Client(url=url, api_key=key) as client:
        link = client.sign_in_link()
    tab = Tab(browser.new_context(**look), url)
    tab.page.goto(f"{url}/studio/{link.url.partition('/studio/')[2]}")
    tab.page.get_by_role("banner").wait_for()
    return tab


@pytest.mark.parametrize(("language", "theme", "width"), LOOKS)
def test_full_pages_hide_nothing(
    browser: Browser, address: tuple[str, str], language: str, theme: Any, width: int
) -> None:
    """Wide tables scroll inside themselves; no text lies beyond its frame, and no column is a letter wide."""
    tab = opened(
        browser, address, viewport={"width": width, "height": 900}, locale=language, color_scheme=theme
    )
    page = tab.page
    fill(page)
    found: dict[str, list[str]] = {}
    for name in PAGES:
        page.goto(f"{tab.base}#/{name}")
        tab.settle()
        if name == "data":
            page.locator("td button").first.click()
            tab.settle()
        found[name] = page.evaluate(CUT)
        found[f"{name}, of axe"] = tab.findings()
    assert [f"{name}: {one}" for name, said in found.items() for one in said] == []
    tab.expect_clean()
    page.context.close()


class Ending:
    """A task whose end a page hears of, with what comes with the end in no answer of before."""

    def __init__(self, page: Page, kind: str) -> None:
        self.is_over = False
        """Whether the task's own answer says that it is over; only from then on the others do."""
        self._said = False
        self._kind = kind
        page.route(re.compile(f"/v1/tasks/{ID}"), self._answer)

    def _answer(self, route: Route) -> None:
        path = route.request.url.partition(ID)[2].partition("?")[0]
        if path == "/stream":
            route.abort()  # as behind what lets no stream through: the page has its clock alone
            return
        if not path:
            self._said = self.is_over
        route.fulfill(json=self._task() if not path else self._part(path))

    def _task(self) -> dict[str, Any]:
        task = examples.TASK.model_dump(mode="json") | {"id": ID, "kind": self._kind, "name": "ending"}
        over = {"state": "completed", "ended_at": "2026-11-21T09:40:00Z"}
        return task | (over if self._said else {})

    def _part(self, path: str) -> dict[str, Any]:
        """What is asked beside the task, as it is at the moment of the task's last answer."""
        empty: dict[str, Any] = {"data": [], "has_more": False, "next_cursor": None}
        full = {
            "/checkpoints": examples.CHECKPOINTS,
            "/logs": examples.LOGS,
            "/curves": examples.CURVES,
            "/evaluation": examples.EVALUATION,
            "/evaluation/result": examples.EVALUATION_RESULT,
        }[path].model_dump(mode="json")
        if self._said:
            return full | ({"uri": "x"} if path == "/evaluation" else {})
        if path == "/curves":
            return full | {"curves": []}
        return full | {"uri": None} if path == "/evaluation" else empty


@pytest.mark.parametrize("kind", ["evaluate", "train"])
def test_what_comes_with_a_tasks_end_is_shown_without_a_reload(
    browser: Browser, address: tuple[str, str], kind: str
) -> None:
    tab = opened(browser, address, viewport={"width": 1440, "height": 900}, locale="en-GB")
    page = tab.page
    ending = Ending(page, kind)
    page.goto(f"{tab.base}#/{'monitor' if kind == 'train' else kind}/{ID}")
    expect(page.get_by_role("heading", name="ending")).to_be_visible()
    tab.settle()
    ending.is_over = True
    expect(page.locator("main .state-completed").first).to_be_visible()
    if kind == "train":
        expect(page.get_by_role("log")).to_contain_text(examples.LOGS.data[0].message)
        expect(page.get_by_role("row", name=re.compile("^50 "))).to_be_visible()
        expect(page.get_by_role("figure", name=re.compile(r"Training loss\. .*: \d"))).to_be_visible()
    else:
        expect(page.get_by_role("row", name=re.compile("checkpoint-50 recommended"))).to_be_visible()
    page.context.close()


def test_what_is_pressed_twice_is_sent_once(browser: Browser, address: tuple[str, str]) -> None:
    tab = opened(browser, address, viewport={"width": 1440, "height": 900}, locale="en-GB")
    page = tab.page
    sent: list[str] = []

    def note(request: Request) -> None:
        if request.method != "GET" and "/v1/" in request.url:
            sent.append(f"{request.method} {request.url.rpartition('/v1/')[2]}")

    page.on("request", note)
    twice = "button => { button.click(); button.click(); }"
    tab.go("settings")
    keys = page.locator("section").filter(has=page.get_by_role("heading", name="Keys", exact=True))
    keys.get_by_label("Whose").fill("twice")
    keys.get_by_role("button", name="Make a key").evaluate(twice)
    expect(keys.get_by_role("status")).to_be_visible()
    row = keys.get_by_role("row", name=re.compile("^twice"))
    expect(row).to_have_count(1)
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").evaluate(twice)
    expect(row).to_contain_text("revoked")
    page.get_by_label("Address").fill("https://hooks.example.com/here")
    page.get_by_role("button", name="Add a webhook").evaluate(twice)
    hook = page.get_by_role("row", name=re.compile("hooks.example.com"))
    expect(hook).to_have_count(1)
    hook.get_by_role("button", name="Send a test").evaluate(twice)
    expect(hook.get_by_role("status")).to_be_visible()
    hook.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").evaluate(twice)
    expect(hook).to_have_count(0)
    assert len(sent) == len(set(sent)) == 5, sent
    tab.expect_clean()
    page.context.close()
