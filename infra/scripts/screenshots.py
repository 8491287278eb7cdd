"""`make screenshots`: every page of the studio, in both languages, light and dark, wide; Monitor and Test narrow too.

Looks at the platform of the state folder, which it starts where it does not run; with what is there: run `make demo` or
`make tour` before, or the pages show their empty states. Writes `.screenshots/PAGE-LANGUAGE-THEME-WIDTH.png`.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tunesmith import Client
from tunesmith.errors import TunesmithError

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".screenshots"
PAGES = ("prepare", "monitor", "evaluate", "test", "package", "data", "pipelines", "models", "settings")
NARROW = ("monitor", "test")
LOOKS = (("en", "light"), ("en", "dark"), ("zh", "light"), ("zh", "dark"))
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
_SETTLED_MS = 1500


def shown(client: Client) -> dict[str, str]:
    """The addresses: of what has tasks, the newest one."""
    found = {page: page for page in PAGES}
    for page, kind in (("evaluate", "evaluate"), ("package", "package"), ("monitor", "train")):
        newest = next((task.id for task in client.tasks(kind=kind)), None)
        if newest is not None:
            found[page] = f"{page}/{newest}"
    return found


def take(browser: Browser, client: Client, language: str, theme: str, width: int) -> None:
    """One look at the pages."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        locale="zh-CN" if language == "zh" else "en-GB",
        color_scheme="dark" if theme == "dark" else "light",
    )
    page = context.new_page()
    link = client.sign_in_link()
    page.goto(link.url)
    page.get_by_role("button").first.wait_for()
    for name, address in shown(client).items():
        if width > 1000 or name in NARROW:
            page.goto(f"{link.studio_url}#/{address}")
            page.wait_for_timeout(_SETTLED_MS)
            page.screenshot(path=FOLDER / f"{name}-{language}-{theme}-{width}.png", full_page=True)
    context.close()


def main() -> int:
    """Take them all."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print("There is no Chromium: `sudo apt-get install -y chromium fonts-noto-cjk`.", file=sys.stderr)
        return 1
    subprocess.run([Path(sys.executable).parent / "tunesmith", "up"], check=True)
    client = Client()
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_FLAGS)
        for language, theme in LOOKS:
            for width in (1440, 390):
                take(browser, client, language, theme, width)
        browser.close()
    print(f"{len(list(FOLDER.glob('*.png')))} pictures are in `{FOLDER}`.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TunesmithError as error:
        print(f"{error.message} {error.hint or ''}", file=sys.stderr)
        sys.exit(1)
