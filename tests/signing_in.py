"""Browsers on their way through an identity provider: settings, steps, where they end."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient
from oidc_issuer import CLIENT, SECRET, Issuer, serving_issuer

from tunesmith.home import Home

HERE = "http://testserver"
OWN = {"X-Tunesmith-Studio": "1", "Sec-Fetch-Site": "same-origin", "Origin": HERE}
ROLES = {"ml": "member", "leads": "admin", "guests": "viewer"}
PROJECTS = {"ml": ["search", "unknown"], "guests": ["default"]}


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serving_issuer() as found:
        yield found


def given(issuer: Issuer, **more: Any) -> dict[str, Any]:
    """Settings by which it signs browsers in."""
    return {
        "public_url": HERE,
        "oidc_issuer": issuer.url,
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SECRET,
        "oidc_roles": ROLES,
        "oidc_projects": PROJECTS,
    } | more


@pytest.fixture
def plane(home: Home, issuer: Issuer) -> Iterator[Plane]:
    plane = Plane(home, **given(issuer))
    yield plane
    plane.services.database.close()


@pytest.fixture
def project(client: TestClient) -> None:
    assert client.post("/v1/projects", json={"name": "search"}).status_code == 201


@pytest.fixture
def browser(plane: Plane) -> Iterator[TestClient]:
    """One that nobody has signed in yet; it shows each step of its way."""
    with TestClient(plane.app, raise_server_exceptions=False, follow_redirects=False) as found:
        found.headers.update(OWN)
        yield found


def back_from(browser: TestClient, onward: str = "", root: str = "") -> str:
    """Where the issuer sends a browser that began here."""
    begun = browser.get(f"{root}/v1/sign-in/oidc", params={"next": onward} if onward else {})
    assert begun.status_code == 303, begun.text
    reply = httpx.get(begun.headers["Location"], trust_env=False)
    assert reply.status_code == 302
    return str(reply.headers["Location"])


def edited(address: str, **changes: str | None) -> str:
    """An address with other values in its query; None takes one away."""
    found = urlsplit(address)
    query = {name: values[0] for name, values in parse_qs(found.query).items()} | changes
    return found._replace(
        query=urlencode({name: value for name, value in query.items() if value is not None})
    ).geturl()


def sign_in(browser: TestClient, onward: str = "", **changes: str | None) -> str:
    """Go the whole way; where the browser ends up."""
    reply = browser.get(edited(back_from(browser, onward), **changes))
    assert reply.status_code == 303, reply.text
    assert reply.headers["Cache-Control"] == "no-store"
    return str(reply.headers["Location"])


def is_in(browser: TestClient) -> bool:
    return browser.get("/v1/sessions/current").status_code == 200


def refused(why: str) -> str:
    return f"{HERE}/studio/#/refused/{why}"
