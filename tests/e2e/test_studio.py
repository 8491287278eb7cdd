"""The studio in a real Chromium, on the real platform: a new user's way, and what strangers' texts may do there."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from built_studio import build_studio
from live_platform import Platform
from playwright.sync_api import Browser, BrowserContext, Route, expect
from short_tasks import wait_warm
from studio_browser import Tab, real_browser

from tunesmith.lifecycle import State
from tunesmith_ui.pages import BUILT

# Below the time at which a process is ended for a test that no signal frees.
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(840)]
PAGES = ("prepare", "monitor", "evaluate", "test", "package", "data", "pipelines", "models", "settings")
PAYLOADS = (
    "<script>window.hit=1</script>",
    "<img src=x onerror=window.hit=1>",
    "<svg onload=window.hit=1>",
    '"><iframe srcdoc="<script>parent.hit=1</script>">',
    "[a](javascript:window.hit=1)",
    "![a](x onerror=window.hit=1)",
    "<a href='data:text/html,<script>opener.hit=1</script>'>a</a>",
    "{{constructor.constructor('window.hit=1')()}}",
    "</style><script>window.hit=1</script>",
)
HOSTILE = " ".join(PAYLOADS)


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


def test_a_new_user_goes_from_a_file_to_a_gguf(tab: Tab, warm: Platform, tmp_path: Path) -> None:
    page = tab.page
    assert "tsc-" not in page.url, "the code does not stay in the address"
    rows = tmp_path / "talks.jsonl"
    rows.write_bytes(warm.rows.read_bytes())
    wait_warm(warm.client)

    tab.go("data")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload a file").click()
    chooser.value.set_files(rows)
    expect(page.get_by_role("cell", name="talks", exact=True)).to_be_visible()

    tab.go("prepare")
    page.locator("[data-field=model_name_or_path] input").fill(str(warm.model))
    page.locator("[data-field=train_file] input").fill("talks")
    for name, value in (("max_steps", "30"), ("save_steps", "10"), ("logging_steps", "1")):
        page.get_by_label("Find a parameter").fill(name)
        page.locator(f"[data-field={name}] input").first.fill(value)
    page.get_by_label("Task name").fill("from the browser")
    expect(page.get_by_text("30 (")).to_be_visible()  # the estimate
    page.reload()
    expect(page.get_by_label("Task name")).to_have_value("from the browser")
    page.get_by_role("button", name="Start", exact=True).click()

    page.wait_for_url(re.compile(r"#/monitor/task-"))
    task_id = page.url.rpartition("/")[2]
    expect(page.get_by_text("30 / 30")).to_be_visible()
    done = warm.client.wait(task_id, timeout=120)
    assert (done.state, done.name) == (State.COMPLETED, "from the browser")
    expect(page.locator(".state-completed").first).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="from the browser")).to_be_visible()
    expect(page.get_by_role("figure", name=re.compile(r"Training loss. Training loss: \d"))).to_be_visible()
    expect(page.get_by_role("row", name=re.compile(r"^30 "))).to_be_visible()
    expect(page.get_by_role("log")).to_contain_text("Training begins")

    page.get_by_role("row", name=re.compile(r"^20 ")).get_by_role("link", name="Chat").click()
    page.get_by_label("Your message").fill("what is 2 plus 2?")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("button", name="Answer again")).to_be_visible(timeout=150_000)
    expect(page.locator(".turn-assistant")).to_have_count(1)
    expect(page.get_by_role("alert")).to_have_count(0)

    tab.go(f"package?task={task_id}&step=30")
    page.get_by_role("button", name="Parameters").click()
    page.get_by_label("Find a parameter").fill("quant_types")
    page.locator("[data-field=quant_types] input").first.click()
    page.keyboard.press("Backspace")
    page.keyboard.type("F16")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Start", exact=True).click()
    told = page.get_by_role("dialog")
    expect(told).to_contain_text("License of the base")
    told.get_by_role("button", name="Start all the same").click()
    page.wait_for_url(re.compile(r"#/package/task-"))
    link = page.get_by_role("link", name=re.compile(r"F16\.gguf"))
    expect(link).to_be_visible(timeout=150_000)
    with page.expect_download() as download:
        link.click()
    assert Path(download.value.path()).read_bytes()[:4] == b"GGUF"
    tab.expect_clean()


def test_the_first_load_is_small(browser: Browser) -> None:
    """What the page names is loaded before anything is seen: below 300 kB, gzipped. The rest comes when needed."""
    page = (BUILT / "index.html").read_text("utf-8")
    first = re.findall(r'(?:src|href)="\./([^"]+)"', page)
    assert any(name.endswith(".css") for name in first)
    assert sum((BUILT / f"{name}.gz").stat().st_size for name in first) < 300_000


def test_each_page_is_clean_and_open_to_everybody(tab: Tab, warm: Platform) -> None:
    """In both languages, one of them dark: no serious finding of axe, no word to the console, nothing from outside."""
    assert warm.undisturbed
    found: dict[str, list[str]] = {}
    for name in PAGES:
        tab.go(name)
        found[name] = tab.findings()
    tab.page.get_by_text("中文", exact=True).first.click()
    tab.page.get_by_label("浅色或深色").first.click()
    expect(tab.page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")
    for name in PAGES:
        tab.go(name)
        found[f"{name} zh dark"] = tab.findings()
    assert {name: said for name, said in found.items() if said} == {}
    tab.expect_clean()


def hostile(value: Any, key: str = "") -> Any:
    """An answer of the API in which every text that a stranger may write is an attack."""
    if isinstance(value, dict):
        return {name: hostile(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [hostile(inner, key) for inner in value]
    kept = (
        "state",
        "kind",
        "id",
        "task_id",
        "time",
        "level",
        "verdict",
        "fault",
        "status",
        "code",
        "desired",
        "reason",
    )
    is_moment = isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d", value)
    # With what stood there: what the platform keeps apart, as data sets' names, stays apart.
    return f"{HOSTILE} {value}" if isinstance(value, str) and key not in kept and not is_moment else value


def test_no_text_of_a_stranger_runs_or_becomes_a_page(tab: Tab, warm: Platform) -> None:
    done = warm.undisturbed
    events = (
        f"data: {json.dumps({'choices': [{'delta': {'content': HOSTILE}, 'finish_reason': 'stop'}]})}\n\n"
    )

    def answer(route: Route) -> None:
        if route.request.method == "POST":
            route.fulfill(status=200, content_type="text/event-stream", body=events + "data: [DONE]\n\n")
            return
        found = route.fetch()
        if "application/json" not in found.headers.get("content-type", ""):
            route.fulfill(response=found)
            return
        route.fulfill(response=found, json=hostile(found.json()))

    page = tab.page
    tab.go("models")
    page.route(
        re.compile(r"/(v1/(tasks|datasets|models|pipelines|system|quota|templates)|openai/v1/)(?!.*stream)"),
        answer,
    )
    for name in PAGES:
        tab.go(name)
        time.sleep(0.3)
    tab.go(f"monitor/{done.id}")
    expect(page.get_by_role("log")).to_contain_text(PAYLOADS[0])
    tab.go("test?model=a")
    page.get_by_label("Your message").fill(HOSTILE)
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".turn-assistant .markdown")).to_contain_text(PAYLOADS[0])
    assert page.evaluate("window.hit") is None
    assert page.locator("iframe, script:not([src]), a[href^=javascript], a[href^=data], img").count() == 0
    tab.expect_clean()


def test_a_session_ends_everywhere_and_its_place_is_kept(
    tab: Tab, context: BrowserContext, warm: Platform
) -> None:
    second = Tab(context, warm.client.url)
    second.go("settings")
    assert (
        second.page.evaluate("Object.keys(localStorage).concat(Object.keys(sessionStorage)).join()").count(
            "key"
        )
        == 0
    )
    assert second.page.evaluate("document.cookie") == "", "no page reads the session"
    second.page.get_by_label("Account").click()
    second.page.get_by_text("Sign out").click()
    expect(second.page.get_by_text("This browser is not signed in.")).to_be_visible()
    tab.page.reload()
    expect(tab.page.get_by_text("This browser is not signed in.")).to_be_visible()
    key = warm.home.api_key_file.read_text()
    tab.page.get_by_label("API key").fill(key)
    tab.page.get_by_role("button", name="Sign in").click()
    tab.page.get_by_role("navigation").wait_for()


def test_a_part_that_fails_leaves_the_page_and_names_the_request(tab: Tab, warm: Platform) -> None:
    done = warm.undisturbed
    tab.page.route(
        re.compile("/curves"),
        lambda route: route.fulfill(
            status=500,
            headers={"x-request-id": "req_1234"},
            json={"error": {"code": "internal", "message": "It broke."}},
        ),
    )
    tab.go(f"monitor/{done.id}")
    expect(tab.page.get_by_role("alert")).to_contain_text("req_1234")
    expect(tab.page.get_by_role("log")).to_contain_text("Training begins")
