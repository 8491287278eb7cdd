"""The studio in a real Chromium, on the real platform: a new user's way, and what strangers' texts may do there."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from hostile_texts import HUNDRED, ONE_OF_EACH, hostile
from live_platform import Platform
from model_hub import NAME, ModelHub
from playwright.sync_api import BrowserContext, Route, expect
from short_tasks import wait_warm
from studio_browser import Tab

from tunesmith.client import Client
from tunesmith.errors import Forbidden, Unauthorized
from tunesmith.lifecycle import State
from tunesmith_platform import examples
from tunesmith_ui.pages import BUILT

# Below the time at which a process is ended for a test that no signal frees.
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(840)]
_DRAWN = """() => {
  const drawn = [...document.querySelectorAll(".chart canvas")];
  return drawn.length > 0 && drawn.every((one) => {
    const ink = one.getContext("2d").getImageData(0, 0, one.width, one.height).data;
    return ink.some((value) => value > 0);
  });
}"""
"""Whether every chart of a page shows something."""
PAGES = ("prepare", "monitor", "evaluate", "test", "package", "data", "pipelines", "models", "settings")


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

    tab.go(f"evaluate?task={task_id}&step=20")
    page.get_by_role("button", name="Parameters").click()
    page.get_by_label("Find a parameter").fill("max_")
    for name, value in (("max_samples", "6"), ("max_new_tokens", "4")):
        page.locator(f"[data-field={name}] input").first.fill(value)
    page.get_by_label("Find a parameter").fill("sample_file")
    page.locator("[data-field=sample_file] input").first.fill("default")
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url(re.compile(r"#/evaluate/task-"))
    expect(page.get_by_role("row", name=re.compile("checkpoint-20"))).to_be_visible(timeout=150_000)
    expect(page.get_by_role("figure", name=re.compile(r"Composite\. .*checkpoint-20: \d"))).to_be_visible()
    expect(page.get_by_text("Expected", exact=True).first).to_be_visible()

    tab.go(f"package?task={task_id}&step=30")
    page.get_by_role("radio", name=re.compile("Merge only")).click()
    page.get_by_role("button", name="Start", exact=True).click()
    told = page.get_by_role("dialog")
    expect(told).to_contain_text("License of the base")
    told.get_by_role("button", name="Start all the same").click()
    page.wait_for_url(re.compile(r"#/package/task-"))
    link = page.get_by_role("link", name=re.compile(r"\.gguf$"))
    expect(link).to_be_visible(timeout=150_000)
    with page.expect_download() as download:
        link.click()
    assert Path(download.value.path()).read_bytes()[:4] == b"GGUF"
    tab.expect_clean()


@pytest.mark.usefixtures("browser")
def test_the_first_load_is_small() -> None:
    """What the page names is loaded before anything is seen: below 300 kB, gzipped. The rest comes when needed."""
    page = (BUILT / "index.html").read_text("utf-8")
    first = re.findall(r'(?:src|href)="\./([^"]+)"', page)
    assert any(name.endswith(".css") for name in first)
    assert sum((BUILT / f"{name}.gz").stat().st_size for name in first) < 300_000


@pytest.mark.long  # `make test` has the filled pages
def test_each_page_is_clean_and_open_to_everybody(tab: Tab, warm: Platform) -> None:
    """No serious finding of axe, no word to the console, nothing from outside; filled and in Chinese elsewhere."""
    assert warm.undisturbed
    found: dict[str, list[str]] = {}
    for name in PAGES:
        tab.go(name)
        found[name] = tab.findings()
    tab.go(f"monitor/{warm.undisturbed.id}")
    tab.page.get_by_label("Light or dark").first.click()
    expect(tab.page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")
    tab.page.reload()
    tab.page.wait_for_function(_DRAWN)  # as the page opens, not only where the theme changes under it
    found["monitor dark"] = tab.findings()
    assert {name: said for name, said in found.items() if said} == {}
    tab.expect_clean()


@pytest.mark.long
def test_each_page_is_open_to_everybody_in_chinese_and_in_the_dark(tab: Tab, warm: Platform) -> None:
    assert warm.undisturbed
    tab.page.get_by_text("中文", exact=True).first.click()
    tab.page.get_by_label("浅色或深色").first.click()
    found: dict[str, list[str]] = {}
    for name in (*PAGES, f"monitor/{warm.undisturbed.id}"):
        tab.go(name)
        found[name] = tab.findings()
    assert {name: said for name, said in found.items() if said} == {}
    tab.expect_clean()


def test_no_text_of_a_stranger_runs_or_becomes_a_page(tab: Tab, warm: Platform) -> None:
    looks_at_everything(tab, warm, " ".join(ONE_OF_EACH))


@pytest.mark.long
def test_no_text_of_a_hundred_runs_or_becomes_a_page(tab: Tab, warm: Platform) -> None:
    assert len(set(HUNDRED)) >= 100
    looks_at_everything(tab, warm, " ".join(HUNDRED))


def looks_at_everything(tab: Tab, warm: Platform, text: str) -> None:
    """Every page with that text wherever a stranger may write one: in answers of the API, and typed into each field."""
    done = warm.undisturbed
    said = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
    kept = httpx.post(
        f"{warm.client.url}/v1/conversations",
        json={"title": text[:200], "messages": said},
        headers={"Authorization": f"Bearer {warm.home.api_key_file.read_text().strip()}"},
    ).json()["id"]

    def answer(route: Route) -> None:
        found = route.fetch()
        if route.request.method != "GET" or "application/json" not in found.headers.get("content-type", ""):
            route.fulfill(response=found)
            return
        route.fulfill(response=found, json=hostile(found.json(), text))

    page = tab.page
    tab.go("models")
    page.route(
        re.compile(
            r"/(v1/(tasks|datasets|models|pipelines|system|quota|templates|conversations|evaluations|packages"
            r"|uploads|webhooks)|openai/v1/)(?!.*stream)"
        ),
        answer,
    )
    first = text[:29]
    for name in (*PAGES, f"evaluate/{EVALUATED}", f"monitor/{done.id}", f"test/{kept}", "evaluate/samples"):
        if EVALUATED in name:
            page.route(
                re.compile(f"/tasks/{EVALUATED}"),
                lambda route: route.fulfill(json=evaluated(route.request.url, text)),
            )
        tab.go(name)
        # From the last to the first: a search leaves out what stands behind it.
        fields = page.locator("main input:not([type=checkbox]):not([type=radio]), main textarea")
        for at in reversed(range(fields.count())):
            field = fields.nth(at)
            if field.is_visible() and field.is_editable():
                field.fill(text[:500])
        page.keyboard.press("Escape")
    tab.go(f"monitor/{done.id}")
    expect(page.get_by_role("log")).to_contain_text(first)
    tab.go(f"test/{kept}")
    expect(page.locator(".turn-assistant .markdown")).to_contain_text(first)
    assert page.evaluate("window.hit") is None
    page.unroute_all(
        behavior="ignoreErrors"
    )  # what is still asked for when the page goes is nobody's any more
    assert page.locator("iframe, script:not([src]), a[href^=javascript], a[href^=data], img").count() == 0
    tab.expect_clean()


EVALUATED = "task-0evaluated0000000"


def evaluated(url: str, text: str) -> Any:
    """What the API would say of an evaluation whose every text is a stranger's."""
    if url.endswith("/evaluation/result"):
        return hostile(examples.EVALUATION_RESULT.model_dump(mode="json"), text)
    if url.endswith("/evaluation"):
        return hostile(examples.EVALUATION.model_dump(mode="json"), text) | {"uri": "x"}
    return hostile(examples.TASK.model_dump(mode="json"), text) | {"kind": "evaluate", "state": "completed"}


@pytest.mark.long
def test_what_starts_from_a_task_says_what_it_is(tab: Tab, warm: Platform) -> None:
    """A new stage begins at a checkpoint and knows its task; deleting it names what goes and what stays."""
    page, done = tab.page, warm.undisturbed
    tab.go(f"prepare?from={done.id}&way=stage&step=50")
    expect(page.get_by_text(f"the model that {done.name} had at step 50")).to_be_visible()
    page.get_by_label("Task name").fill("second stage")
    page.get_by_text("YAML", exact=True).click()
    written = page.get_by_label("Parameters as YAML")
    written.fill(re.sub(r"max_steps: \d+", "max_steps: 2", written.input_value()) + "no_such: 1\n")
    expect(page.get_by_text("There is no parameter no_such")).to_be_visible()
    page.get_by_role("button", name="Start the new stage").click()
    page.wait_for_url(re.compile(r"#/monitor/task-"))
    made = warm.client.wait(page.url.rpartition("/")[2], timeout=120)
    assert (made.state, made.parent_id, made.parent_step) == (State.COMPLETED, done.id, 50)
    assert made.spec["max_steps"] == 2
    tab.go("prepare")
    page.get_by_role("button", name="Delete: second stage").click()
    told = page.get_by_role("dialog")
    expect(told).to_contain_text("What stays")
    told.get_by_label("Delete its checkpoints and final model too").check()
    told.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("link", name=re.compile("second stage"))).to_have_count(0)
    assert made.id not in {task.id for task in warm.client.tasks()}
    tab.expect_clean()


def test_a_model_comes_from_the_hub_and_is_trained_from(
    tab: Tab, warm: Platform, warm_hub: type[ModelHub]
) -> None:
    page = tab.page
    tab.go("models")
    page.locator("[data-field=repo_id] input").fill(NAME)
    page.locator("[data-field=revision] input").fill("v2")
    page.get_by_role("button", name="Pull", exact=True).click()
    expect(page.get_by_role("button", name=f"Cancel: {NAME} @ v2")).to_be_visible()
    shown = page.get_by_role("article").filter(has_text=f"{NAME} @ {warm_hub.sha[:12]}")
    expect(shown).to_be_visible()
    for fact in ("LlamaForCausalLM", str(warm.home.models), "SHA-256"):
        expect(shown).to_contain_text(fact)
    shown.get_by_role("button", name="Remove").click()
    told = page.get_by_role("dialog")
    expect(told).to_contain_text("deletes no model's files")
    told.get_by_role("button", name="Close").last.click()
    shown.get_by_role("link", name="Train from this").click()
    expect(page.locator("[data-field=model_name_or_path] input")).to_have_value("small")
    tab.expect_clean()


def test_a_key_is_made_shown_once_and_revoked(tab: Tab, warm: Platform) -> None:
    page = tab.page
    tab.go("settings")
    keys = page.locator("section").filter(has=page.get_by_role("heading", name="Keys", exact=True))
    keys.get_by_label("Whose").fill("bea")
    keys.get_by_role("combobox", name="Role").click()
    page.get_by_role("option", name="viewer").click()
    keys.get_by_role("button", name="Make a key").click()
    secret = keys.get_by_role("status").get_by_text(re.compile("^ts-")).inner_text()
    with Client(url=warm.client.url, api_key=secret) as bea:
        assert all(task.project == "default" for task in bea.tasks()), "she reads"
        with pytest.raises(Forbidden):
            bea.keys.make(role="member")
    keys.get_by_role("button", name="Close").click()
    expect(keys.get_by_text(secret)).to_have_count(0)
    row = keys.get_by_role("row", name=re.compile("^bea"))
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row).to_contain_text("revoked")
    with Client(url=warm.client.url, api_key=secret) as bea, pytest.raises(Unauthorized):
        list(bea.tasks())
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
    tab.page.reload()  # the page that a sign-in leads to may have asked for them before
    expect(tab.page.get_by_role("alert")).to_contain_text("req_1234")
    expect(tab.page.get_by_role("log")).to_contain_text("Training begins")
