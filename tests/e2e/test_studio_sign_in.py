"""A real browser signs in by a provider of another site: the cookie of the way back, the session's, where it leads."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest_platform import Plane
from oidc_issuer import CLIENT, SECRET, Issuer, serving_issuer
from playwright.sync_api import BrowserContext, expect
from studio_browser import Tab
from waiting import free_port, wait_until

from tunesmith.home import Home
from tunesmith_platform.serving import ApiServer

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serving_issuer(host="localhost") as found:
        yield found


@pytest.fixture
def url(tmp_path: Path, issuer: Issuer) -> Iterator[str]:
    """A control plane that the provider signs browsers in to."""
    port = free_port()
    home = Home(tmp_path)
    home.create()
    plane = Plane(
        home,
        port=port,
        oidc_issuer=issuer.url,
        oidc_client_id=CLIENT,
        oidc_client_secret=SECRET,
        oidc_name="Example",
        oidc_roles={"ml": "member"},
        oidc_projects={"*": ["default"]},
    )
    server = ApiServer(plane.app, "127.0.0.1", port)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(30)


def test_a_browser_comes_in_by_a_provider_and_hears_why_it_does_not(
    context: BrowserContext, url: str, issuer: Issuer
) -> None:
    tab = Tab(context, url)
    page = tab.page
    page.goto(f"{tab.base}#/data")
    page.get_by_role("link", name="Sign in with Example").click()
    page.get_by_role("navigation").wait_for()
    page.wait_for_url(f"{tab.base}#/data")
    cookies = context.cookies()
    assert len(cookies) == 2, "the session's, and the token's for the sign-out"
    assert all((one.get("httpOnly"), one.get("sameSite")) == (True, "Strict") for one in cookies)
    page.reload()
    page.get_by_role("navigation").wait_for()
    page.get_by_role("button", name="Account").click()
    expect(page.get_by_text("ann@example.org (member)")).to_be_visible()

    issuer.person["groups"] = ["sales"]
    page.get_by_role("menuitem", name="Sign out").click()
    page.get_by_role("link", name="Sign in with Example").wait_for()
    assert [bool(asked.get("id_token_hint")) for asked in issuer.left] == [True], "it left the provider too"
    assert context.cookies() == []
    page.get_by_role("link", name="Sign in with Example").click()
    told = page.get_by_role("alert").filter(has_text="none of your groups may work here")
    expect(told).to_be_visible()
    assert page.url == f"{tab.base}#/refused/no-role"
    assert tab.findings() == []
    issuer.person["groups"] = ["ml"]
    page.get_by_role("link", name="Sign in with Example").click()
    page.get_by_role("navigation").wait_for()
    assert tab.errors == []
