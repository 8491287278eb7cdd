"""What a page that stays open lives through: lost answers, a lost network, other tabs, a server that is killed.

State comes back by itself, and nothing is submitted twice.
"""

import os
import re
import shutil
import signal
import threading

import psutil
import pytest
from live_platform import Platform
from model_hub import NAME, ModelHub
from playwright.sync_api import BrowserContext, Route, expect
from short_tasks import ENDLESS, stop_all
from studio_browser import Tab

from tunesmith.lifecycle import State
from tunesmith_platform.embedded.record import read_record

# Not in `make test`: the studio has two minutes there.
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(840)]


def test_a_start_whose_answer_is_lost_is_one_task(tab: Tab, warm: Platform, context: BrowserContext) -> None:
    """Pressed again, and once more in a hurry, it finds the task that is there, and so does another tab."""
    page = tab.page
    second = Tab(context, warm.client.url)
    tab.go("prepare")
    page.locator("[data-field=model_name_or_path] input").fill(str(warm.model))
    page.locator("[data-field=train_file] input").fill(str(warm.rows))
    for name, value in (("max_steps", "30"), ("save_steps", "10"), ("logging_steps", "1")):
        page.get_by_label("Find a parameter").fill(name)
        page.locator(f"[data-field={name}] input").first.fill(value)
    page.get_by_label("Task name").fill("once alone")
    lost: list[str] = []

    def lose(route: Route) -> None:
        if route.request.method != "POST":
            route.continue_()
            return
        lost.append(str(route.fetch().json()["id"]))  # the server has it, the page never hears of it
        route.abort()

    page.route(re.compile("/v1/tasks$"), lose, times=1)
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="does not answer")).to_be_visible()
    page.get_by_role("button", name="Start", exact=True).dblclick()
    page.wait_for_url(re.compile(f"#/monitor/{lost[0]}"))
    made = [task for task in warm.client.tasks(kind="train") if task.name == "once alone"]
    assert [task.id for task in made] == lost
    second.go(f"monitor/{lost[0]}")
    expect(second.page.get_by_role("heading", name="once alone")).to_be_visible()
    assert warm.client.wait(lost[0], timeout=120).state is State.COMPLETED
    assert second.errors == []


def test_an_open_page_lives_through_a_killed_server_and_a_lost_network(tab: Tab, warm: Platform) -> None:
    page = tab.page
    task = warm.submit(max_steps=ENDLESS, save_steps=1000)
    tab.go(f"monitor/{task.id}")
    figure = page.get_by_role("figure", name=re.compile(r"Training loss\. .*: \d"))
    expect(figure).to_be_visible()

    def goes_on() -> None:
        said = figure.get_attribute("aria-label")
        assert said is not None
        expect(figure).not_to_have_attribute("aria-label", said)

    goes_on()
    page.context.set_offline(True)
    page.wait_for_timeout(3000)
    expect(page.get_by_role("heading", name=task.name)).to_be_visible()
    page.context.set_offline(False)
    goes_on()
    supervisor = psutil.Process(read_record(warm.home).supervisor.pid)
    supervisor.suspend()  # the server stays away for a while
    try:
        api = read_record(warm.home).parts["api"].pid
        assert api is not None
        os.kill(api, signal.SIGKILL)
        page.wait_for_timeout(3000)
        expect(page.get_by_role("heading", name=task.name)).to_be_visible()
    finally:
        supervisor.resume()
    goes_on()
    stop_all(warm.client)
    expect(page.locator(".state-stopped").first).to_be_visible()


def test_a_model_on_its_way_outlives_its_page_and_is_cancelled(
    tab: Tab, warm: Platform, warm_hub: type[ModelHub]
) -> None:
    page = tab.page
    # Another test's: what is there already is not pulled.
    shutil.rmtree(warm.home.models / "small", ignore_errors=True)
    warm_hub.gate = threading.Event()
    try:
        tab.go("models")
        page.locator("[data-field=repo_id] input").fill(NAME)
        page.get_by_role("button", name="Pull", exact=True).click()
        cancel = page.get_by_role("button", name=f"Cancel: {NAME}")
        expect(cancel).to_be_visible()
        page.reload()
        expect(page.get_by_text(re.compile(r"^\d+ % of "))).to_be_visible()
        cancel.click()
        expect(cancel).to_have_count(0)
    finally:
        warm_hub.gate.set()
        warm_hub.gate = None
    newest = next(warm.client.tasks(kind="pull"))
    assert newest.state is State.STOPPED
    assert not (warm.home.models / "small").exists()
    tab.expect_clean()
