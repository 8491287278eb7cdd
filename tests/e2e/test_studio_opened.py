"""What is opened on pages: dialogs and menus, by the keyboard and for axe; reloaded; a viewer's.

No Ray runs here: the server and the browser are the real ones, the answers that fill the pages are `filled_pages`'.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest_platform import Plane
from filled_pages import fill
from playwright.sync_api import Browser, Response, expect
from served import served
from studio_browser import Tab

from tunesmith.access import Role
from tunesmith.client import Client
from tunesmith.home import Home

# Not in `make test`: the studio has two minutes there.
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(300)]
_WORDS = Path(__file__).parents[2] / "platform" / "tunesmith_ui" / "web" / "src" / "i18n"
OPENERS = (
    ("data", "main .opened button.mantine-Button-root >> nth=0", "dialog"),
    ("models", "article button >> nth=0", "dialog"),
    ("settings", "td button[class*=Button] >> nth=0", "dialog"),
    ("settings", "section:last-of-type td button >> nth=1", "dialog"),
    ("models", "header button[aria-haspopup=menu] >> nth=0", "menu"),
    ("models", "header button[aria-haspopup=menu] >> nth=1", "menu"),
    ("prepare", "main button[aria-label*=':'] >> nth=0", "dialog"),
)
"""A page, what on it opens something, and what that is."""
_HOLDS = {"dialog": "section[role=dialog]", "menu": "[role=menu]"}
"""What axe looks at: what lies behind it is nobody's until it is left."""

PAGES = (
    "prepare",
    "monitor",
    "evaluate",
    "evaluate/samples",
    "test",
    "package",
    "data",
    "pipelines",
    "models",
    "settings",
)
_PRESS = """async () => {
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  const seen = new WeakSet();
  const counted = { pressed: 0, closed: 0 };
  const within = "main button, [role=dialog] button, [role=menu] button";
  for (let turn = 0; turn < 200; turn += 1) {
    const next = [...document.querySelectorAll(within)].find((one) => !seen.has(one) && one.checkVisibility());
    if (!next) break;
    seen.add(next);
    if (next.disabled) {
      counted.closed += Number(next.title.includes("viewer"));
      continue;
    }
    counted.pressed += 1;
    next.click();
    await wait(60);
  }
  return counted;
}"""
"""Presses what can be pressed, in what that opens too; counts that, and what says that it is not for viewers."""


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    home = Home(tmp_path_factory.mktemp("opened") / "home")
    home.create()
    made = Plane(home)
    yield made
    made.services.database.close()


@pytest.fixture(scope="module")
def url(plane: Plane) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, served(plane.app, plane.api_key, patch) as found:
        yield found


def signed_in(browser: Browser, url: str, key: str, language: str = "en-GB", theme: str = "light") -> Tab:
    """A tab of a user's, in a browser of their own."""
    with Client(url=url, api_key=key) as client:
        link = client.sign_in_link()
    scheme = "dark" if theme == "dark" else "light"
    context = browser.new_context(
        viewport={"width": 1440, "height": 900},
        locale=language,
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    tab = Tab(context, url)
    tab.page.goto(f"{url}/studio/{link.url.partition('/studio/')[2]}")
    tab.page.get_by_role("navigation").wait_for()
    return tab


@pytest.mark.parametrize(("language", "theme"), [("zh-CN", "dark"), ("en-GB", "light")])
def test_dialogs_and_menus_are_reached_read_and_left_by_the_keyboard(
    browser: Browser, url: str, plane: Plane, language: str, theme: str
) -> None:
    tab = signed_in(browser, url, plane.api_key, language, theme)
    page = tab.page
    fill(page)
    found: list[str] = []
    for name, opener, role in OPENERS:
        tab.go(name)
        if name == "data":
            first = page.locator("td button").first
            first.focus()
            page.keyboard.press("Enter")
            tab.settle()
        page.locator(opener).focus()
        page.keyboard.press("Enter")
        opened = page.get_by_role(role).last  # type: ignore[arg-type]
        expect(opened).to_be_visible()
        page.wait_for_function(
            "role => document.activeElement.closest(`[role=${role}]`) !== null",
            arg=role,
        )
        page.wait_for_timeout(300)  # until it has moved in: what is half there has no contrast
        found += [f"{name}, {opener}: {one}" for one in tab.findings(_HOLDS[role])]
        page.keyboard.press("Escape")
        expect(opened).to_be_hidden()
        page.wait_for_function("() => document.activeElement !== document.body")
        if page.evaluate("document.activeElement.closest('[role=dialog], [role=menu]') !== null"):
            found.append(f"{name}, {opener}: the keyboard does not come back to what opened it")
    assert "\n".join(found) == ""
    tab.expect_clean()
    page.context.close()


def test_what_is_typed_outlives_a_reload_and_a_look_elsewhere(
    browser: Browser, url: str, plane: Plane
) -> None:
    tab = signed_in(browser, url, plane.api_key)
    page = tab.page
    tab.go("evaluate/samples")
    page.get_by_label("Its name when it is new").fill("kept")
    page.get_by_label("Question").fill("What is 2 plus 2?")
    page.get_by_label("Expected").fill("Four.")
    page.reload()
    expect(page.get_by_label("Expected")).to_have_value("Four.")
    page.get_by_role("button", name="Add the sample").click()
    tab.go("data")
    page.go_back()
    expect(page.get_by_role("cell", name="Four.")).to_be_visible()
    page.reload()
    page.get_by_role("button", name="Save").dblclick()
    expect(page.get_by_text("kept@1").first).to_be_visible()
    with Client(url=url, api_key=plane.api_key) as client:
        assert [(one.name, one.latest) for one in client.datasets.list() if one.name == "kept"] == [
            ("kept", 1)
        ]
    tab.go("evaluate")
    page.get_by_role("button", name="Parameters").click()
    page.get_by_label("Find a parameter").fill("max_samples")
    field = page.locator("[data-field=max_samples] input").first
    field.fill("7")
    page.reload()
    page.get_by_label("Find a parameter").fill("max_samples")
    expect(field).to_have_value("7")
    assert page.evaluate("JSON.stringify({...sessionStorage})").count("ts-") == 0
    tab.expect_clean()
    page.context.close()


def test_a_viewer_is_offered_nothing_that_is_refused(browser: Browser, url: str, plane: Plane) -> None:
    """Every button of every page that can be pressed is, and every one of what it opens: none asks for what is refused.

    That a key sees nothing of other projects is held by the API's own tests: pages show what it answers.
    """
    viewer = signed_in(browser, url, plane.key("vera", Role.VIEWER, projects=["default"]))
    page = viewer.page
    fill(page)
    refused: list[str] = []
    page.on("response", lambda one: refused.append(_named(one)) if one.status == 403 else None)
    words = json.loads((_WORDS / "en.json").read_text())
    pressed, closed = 0, {}
    for name in PAGES:
        viewer.go(name)
        expect(page.get_by_role("note").first).to_have_text(words["frame.viewer"])
        counted = page.evaluate(_PRESS)
        viewer.settle()
        pressed += counted["pressed"]
        closed[name] = counted["closed"]
        assert page.get_by_role("alert").all_inner_texts() == [], name
    assert [one for one in refused if not one.startswith("GET ")] == []
    assert pressed >= 20
    assert {name for name, count in closed.items() if count == 0} <= {"monitor", "models"}
    assert viewer.errors == []
    page.context.close()


def test_a_member_of_another_project_sees_nothing_of_a_shared_address(
    browser: Browser, url: str, plane: Plane
) -> None:
    """The page says what may be the matter; neither it nor any answer has a word of what is hidden."""
    with Client(url=url, api_key=plane.api_key) as client:
        client.projects.make("search")
    task = plane.running(name="secret-plan", project="search")
    tab = signed_in(browser, url, plane.key("bob", projects=["default"]))
    page = tab.page
    said: list[str] = []
    page.on(
        "response", lambda one: said.append(one.url) if "/stream" not in one.url and _holds(one) else None
    )
    why = json.loads((_WORDS / "en.json").read_text())["error.hidden"]
    for name in ("monitor", "evaluate", "package"):
        tab.go(f"{name}/{task.id}")
        expect(page.get_by_role("alert").filter(has_text=why).first).to_be_visible()
        assert "secret-plan" not in page.content(), name
    for name in ("prepare", "data", "models", "pipelines", "test", "settings"):
        tab.go(name)
        assert "secret-plan" not in page.content(), name
    assert said == []
    assert tab.errors == []
    page.context.close()


def _holds(reply: Response) -> bool:
    return "secret-plan" in reply.text() if reply.request.resource_type == "fetch" else False


def _named(one: Response) -> str:
    return f"{one.request.method} {one.url}"
