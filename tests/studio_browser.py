"""A real Chromium on the studio, as the tests use it: what it says is heard, what it asks for is noted."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    expect,
    sync_playwright,
)

ROOT = Path(__file__).resolve().parents[1]
AXE = ROOT / "platform" / "tunesmith_ui" / "web" / "node_modules" / "axe-core" / "axe.min.js"
_INSTALL = ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]
WAIT_MS = 120_000
"""How long a page is waited for: as long as it takes where all processors are busy with other tests."""
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]


def chromium() -> str:
    """The browser's program; installed by apt where that may be done.

    A test that cannot be run is a failure, and says how it can.
    """
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-q"], check=False, capture_output=True)
        subprocess.run(_INSTALL, check=False, capture_output=True)
        found = shutil.which("chromium")
    if found is None:
        pytest.fail(f"The studio is tested in Chromium, which is not here: `sudo {' '.join(_INSTALL)}`.")
    return found


@contextlib.contextmanager
def real_browser() -> Iterator[Browser]:
    """A browser without anything of a user's."""
    with sync_playwright() as playwright:
        expect.set_options(timeout=WAIT_MS)
        browser = playwright.chromium.launch(executable_path=chromium(), args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A page that is listened to.

    Args:
        context: The browser's cookies and storage; two tabs may share it.
        url: The platform's address.
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.page: Page = context.new_page()
        self._host = urlsplit(url).netloc
        self.base = f"{url}/studio/"
        self.errors: list[str] = []
        self.outside: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._asked)
        self.page.on(
            "dialog", lambda dialog: (self.errors.append(f"dialog: {dialog.message}"), dialog.dismiss())
        )
        self.page.set_default_timeout(WAIT_MS)

    def _heard(self, message: ConsoleMessage) -> None:
        # Chromium itself says of each refused request that it was: the page says it in words of its own.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.errors.append(message.text)

    def _asked(self, request: Request) -> None:
        if (
            urlsplit(request.url).scheme in ("http", "https", "ws", "wss")
            and urlsplit(request.url).netloc != self._host
        ):
            self.outside.append(request.url)

    def go(self, path: str) -> None:
        """Open one of the studio's addresses."""
        self.page.goto(f"{self.base}#/{path}")
        self.page.get_by_role("navigation").wait_for()
        self.settle()

    def settle(self) -> None:
        """Wait until nothing is asked for and no wheel turns."""
        expect(self.page.locator(".mantine-Loader-root")).to_have_count(0)

    def findings(self, within: str = "html") -> list[str]:
        """What axe finds that is serious on the page, or within what a selector finds."""
        # By the debugger: the policy lets no script in that is not the page's own.
        tool = self.page.context.new_cdp_session(self.page)
        tool.send("Runtime.evaluate", {"expression": AXE.read_text("utf-8") + ";0"})
        asked = f"axe.run({json.dumps(within)}, {{resultTypes: ['violations']}}).then(JSON.stringify)"
        answer = tool.send(
            "Runtime.evaluate", {"expression": asked, "awaitPromise": True, "returnByValue": True}
        )
        tool.detach()
        found: dict[str, Any] = json.loads(answer["result"]["value"])
        return [
            f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes'][:3]]}"
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]

    def expect_clean(self) -> None:
        """Nothing was said to the console, and nothing asked for elsewhere."""
        # Named here: pytest words the asserts of tests' own modules only.
        assert self.errors == [], f"said to the console: {self.errors}"
        assert self.outside == [], f"asked for elsewhere: {self.outside}"
