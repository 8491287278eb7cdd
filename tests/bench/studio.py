"""The studio in Chromium: processor time of its main thread from Chromium's own trace, the heap, the server's bytes.

Run: `python tests/bench/studio.py [--points 1000000] [--seconds 60]`. A real API on SQLite, without Ray; what trains is
reported by this program. Times are the processor's, so that a busy machine changes little; each is also given as a
ratio to a fixed piece of JavaScript, timed in the same trace: machines differ, the ratio stays.
"""

import argparse
import contextlib
import itertools
import json
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from playwright.sync_api import Browser, Page

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from built_studio import build_studio
from series import fill
from serving import Api, make_api, make_task
from studio_browser import real_browser

from tunesmith_platform.db.engine import Database

TABS = ("prepare", "evaluate", "test", "package", "data", "pipelines", "models", "settings", "monitor")
RUNS = 20
SERIES = (
    *("loss", "perplexity", "eval_loss", "learning_rate", "grad_norm", "tokens_per_second", "memory_bytes"),
    *(
        "system/cpu_utilization_percentage",
        "system/process_memory_megabytes",
        "system/gpu_utilization_percentage",
    ),
    "system/gpu_memory_usage_megabytes",
    *"abcdefghi",
)
HOUR, STEP = 3600, 10
"""Seconds of a page's own clock."""
CATEGORIES = ["toplevel", "devtools.timeline", "blink.user_timing", "loading"]
_WORK = "let s = 0; for (let i = 0; i < 3e7; i++) s += i % 7; s"


class Traced:
    """What the page's main thread did between two marks.

    Args:
        browser: Chromium.
        page: The page.
    """

    def __init__(self, browser: Browser, page: Page) -> None:
        self._browser, self._page = browser, page
        self.unit = 0.0
        """Milliseconds that the fixed piece takes here."""

    def milliseconds(self, act: Callable[[], None], until: str = "") -> float:
        """Processor milliseconds of the main thread, from the beginning to the first paint or to the end."""
        self._browser.start_tracing(page=self._page, categories=CATEGORIES)
        self._page.evaluate("performance.mark('bench-begin')")
        act()
        if not until:
            self._page.evaluate("performance.mark('bench-end')")
        events = json.loads(self._browser.stop_tracing())["traceEvents"]
        mains = {(one["pid"], one["tid"]) for one in events if one.get("args") == {"name": "CrRendererMain"}}
        begin = min(one["ts"] for one in events if one["name"] == "bench-begin")
        ends = [one["ts"] for one in events if one["name"] == (until or "bench-end") and one["ts"] > begin]
        return (
            sum(
                one["tdur"]
                for one in events
                if one["name"] == "ThreadControllerImpl::RunTask"
                and (one["pid"], one["tid"]) in mains
                and begin <= one["ts"] <= max(ends)
                and "tdur" in one
            )
            / 1000
        )

    def calibrate(self) -> None:
        """Time the fixed piece."""
        self.unit = min(self.milliseconds(lambda: self._page.evaluate(_WORK)) for _ in range(3))

    def say(self, what: str, found: list[float], most: float) -> None:
        """Print a figure against what it may be."""
        middle, worst = statistics.median(found), max(found)
        mark = "" if middle < most else "   MISSED"
        print(
            f"  {what}: {middle:.0f} ms (worst of {len(found)} {worst:.0f}), {middle / self.unit:.2f} of the piece; "
            f"at most {most:.0f}{mark}",
            flush=True,
        )


class Reporting:
    """Reports points of a task that trains, as a job does."""

    def __init__(self, api: Api, task_id: str) -> None:
        self._api, self._task_id = api, task_id
        self._seqs = itertools.count(1)
        self._client = httpx.Client(base_url=api.url, headers=api.report_headers(task_id))

    def report(self, count: int) -> None:
        """So many steps of all series."""
        events = [
            {
                "seq": seq,
                "time": "2026-11-21T12:00:00.123456Z",
                "payload": {"kind": "metrics", "step": seq, "values": dict.fromkeys(SERIES, 1 + seq % 17)},
            }
            for seq in itertools.islice(self._seqs, count)
        ]
        body = {"attempt": 1, "events": events}
        self._client.post(f"/v1/tasks/{self._task_id}/reports", json=body).raise_for_status()

    @contextlib.contextmanager
    def live(self, each: int = 1) -> Iterator[None]:
        """Report twice a second, meanwhile."""
        over = threading.Event()

        def run() -> None:
            while not over.wait(0.5):
                self.report(each)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def settled(page: Page) -> None:
    """Wait until nothing is being loaded and two frames were drawn."""
    page.wait_for_function("!document.querySelector('.mantine-Loader-root')")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def tab_to(page: Page, name: str) -> None:
    """Click on a tab."""
    page.locator(f"a.tab[href^='#/{name}']").first.click()
    page.wait_for_function("name => location.hash.startsWith('#/' + name)", arg=name)
    settled(page)


def heap_megabytes(page: Page) -> float:
    """What lives on the page's heap."""
    tool = page.context.new_cdp_session(page)
    tool.send("HeapProfiler.collectGarbage")
    tool.send("Performance.enable")
    found = {one["name"]: one["value"] for one in tool.send("Performance.getMetrics")["metrics"]}
    tool.detach()
    return float(found["JSHeapUsedSize"]) / 1e6


def idle_kilobytes(page: Page) -> float:
    """What the server sends in an hour to a page that is looked at and not touched: heads, bodies, and open streams.

    The page's clock is moved on, ten seconds at a time, so that each of its timers is due as often as in an hour. What
    comes by itself on a stream does so by the server's clock: it is counted for as long as that took, and scaled.
    """
    tool = page.context.new_cdp_session(page)
    tool.send("Network.enable")
    whole: list[float] = []
    pieces: dict[str, float] = {}

    def finished(one: dict[str, Any]) -> None:
        whole.append(one["encodedDataLength"])
        pieces.pop(one["requestId"], None)

    def received(one: dict[str, Any]) -> None:
        pieces[one["requestId"]] = pieces.get(one["requestId"], 0.0) + one["encodedDataLength"]

    tool.on("Network.loadingFinished", finished)
    tool.on("Network.dataReceived", received)
    began = time.monotonic()
    for _ in range(HOUR // STEP):
        page.clock.run_for(STEP * 1000)
        page.wait_for_timeout(40)  # until what it asks for is there
    tool.detach()
    return (sum(whole) + sum(pieces.values()) * HOUR / (time.monotonic() - began)) / 1000


def idle(browser: Browser, api: Api, task_id: str) -> None:
    """Print what each page costs that nobody touches, in a workspace where nothing runs."""
    link: dict[str, Any] = httpx.post(f"{api.url}/v1/sessions:link", json={}, headers=api.headers).json()
    page = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB").new_page()
    page.clock.install()
    page.goto(link["url"])
    page.get_by_role("navigation").wait_for()
    found: dict[str, float] = {}
    for name in (*TABS[:-1], f"monitor/{task_id}"):
        page.goto(re.sub(r"#.*", f"#/{name}", page.url))
        page.wait_for_timeout(2000)
        found[name.partition("/")[0]] = idle_kilobytes(page)
    worst = max(found.values())
    each = ", ".join(f"{name} {kilobytes:.0f}" for name, kilobytes in found.items())
    print(
        f"  an idle page, kB an hour of the server: {each}; at most 100{'' if worst < 100 else '   MISSED'}"
    )


def compare(page: Page, traced: Traced, names: list[str]) -> None:
    """Many long runs over each other: one request, drawn, zoomed."""
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url) if "metrics:compare" in one.url else None)
    chooser = page.get_by_role("combobox", name="Compare with")
    chooser.click()
    options = page.get_by_role("option")
    for at in range(len(names) - 2):
        options.nth(at).click()
        settled(page)
    asked.clear()
    figure = page.locator("figure").last

    def last() -> None:
        options.nth(len(names) - 2).click()
        page.wait_for_function(
            "count => [...document.querySelectorAll('figure')].at(-1).querySelectorAll('.u-series').length > count",
            arg=len(names),
        )
        settled(page)

    traced.say(f"{len(names)} runs drawn", [traced.milliseconds(last)], 300)
    print(f"    in {len(asked)} request(s)", flush=True)
    page.keyboard.press("Escape")
    over = figure.locator(".u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box is not None
    found = []
    for _ in range(3):
        page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 40)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 40)
        found.append(traced.milliseconds(lambda: (page.mouse.up(), settled(page))[1]))
        over.dblclick()
        settled(page)
    traced.say("zoom", found, 50)


def measure(browser: Browser, api: Api, database: Database, points: int, seconds: float) -> None:
    """Print all figures."""
    user = httpx.Client(base_url=api.url, headers=api.headers, timeout=60)
    link: dict[str, Any] = user.post("/v1/sessions:link", json={}).json()
    page = browser.new_context(
        viewport={"width": 1440, "height": 900}, locale="en-GB", bypass_csp=True
    ).new_page()
    page.set_default_timeout(120_000)
    page.goto(link["url"])
    page.get_by_role("navigation").wait_for()
    settled(page)
    traced = Traced(browser, page)
    traced.calibrate()
    print(f"the fixed piece: {traced.unit:.0f} ms")

    def first() -> None:
        page.reload()
        page.get_by_role("navigation").wait_for()
        settled(page)

    traced.say("first paint", [traced.milliseconds(first, "firstContentfulPaint") for _ in range(3)], 1000)
    tabs = [traced.milliseconds(lambda name=name: tab_to(page, name)) for _ in range(2) for name in TABS]
    traced.say("tab, first time", tabs[: len(TABS)], 200)
    traced.say("tab, again", tabs[len(TABS) :], 200)

    task_id = make_task(database)
    reporting = Reporting(api, task_id)
    reporting.report(50)
    page.goto(re.sub(r"#.*", f"#/monitor/{task_id}", page.url))
    page.locator("figure canvas").first.wait_for()
    for fold in page.locator("button.mantine-Accordion-control").all():
        fold.click()
    settled(page)
    with reporting.live():
        time.sleep(2)
        button = page.get_by_label("Light or dark").first
        found = [traced.milliseconds(lambda: (button.click(), settled(page))[1]) for _ in range(8)]
        traced.say(f"a click beside {len(SERIES)} live series", found, 100)
    before = heap_megabytes(page)
    with reporting.live(each=max(1, round(3600 / seconds))):
        time.sleep(seconds)
    time.sleep(2)
    grown = heap_megabytes(page) - before
    mark = "" if grown < 5 else "   MISSED"
    print(f"  heap after 7200 points of {len(SERIES)} series: {grown:+.1f} MB; at most +5{mark}", flush=True)

    chance = np.random.default_rng(1)
    names = [fill(database, chance.standard_normal(points).cumsum()) for _ in range(RUNS)]
    page.goto(re.sub(r"#.*", f"#/monitor/{names[0]}", page.url))
    page.reload()
    page.locator("figure canvas").first.wait_for()
    compare(page, traced, names)

    with database.write() as session:
        from sqlalchemy import text

        session.execute(
            text("UPDATE tasks SET state = 'completed', ended_at = created_at, is_attempt_open = 0")
        )
    idle(browser, api, names[0])


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=60)
    wanted = parser.parse_args()
    build_studio()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        api = make_api(Path(folder))
        stack.enter_context(api.serve())
        database = Database(api.database_url)
        stack.callback(database.close)
        measure(stack.enter_context(real_browser()), api, database, wanted.points, wanted.seconds)


if __name__ == "__main__":
    main()
