"""Providers that are odd, slow, away or not what the settings say, and the ways in which a client shows itself."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient
from oidc_issuer import CLIENT, FIRST, Issuer, Key
from signing_in import back_from, given, is_in, refused, sign_in
from waiting import wait_until

from tunesmith.home import Home
from tunesmith_platform.access import provider
from tunesmith_platform.clock import now


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://elsewhere.example"},
        {"token_endpoint": None},
        {"token_endpoint": "http://elsewhere.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
    ],
)
def test_a_provider_that_is_not_what_the_settings_say_is_not_used(
    browser: TestClient, issuer: Issuer, document: dict[str, Any]
) -> None:
    issuer.document = document
    assert browser.get("/v1/sign-in/oidc").headers["Location"] == refused("away")


def test_a_provider_that_is_away_is_told_and_asked_again(browser: TestClient, issuer: Issuer) -> None:
    issuer.is_away = True
    assert browser.get("/v1/sign-in/oidc").headers["Location"] == refused("away")
    issuer.is_away = False
    address = back_from(browser)
    issuer.is_away = True
    assert browser.get(address).headers["Location"] == refused("away")
    issuer.is_away = False
    assert "refused" not in sign_in(browser)


def _clocks(seconds: int) -> dict[str, int]:
    moment = int(now().timestamp()) + seconds
    return {"iat": moment, "nbf": moment, "exp": moment + 300}


@pytest.mark.parametrize(
    "says",
    [
        {"aud": [CLIENT]},
        {"aud": [CLIENT, "another"], "azp": CLIENT},
        {"azp": CLIENT},
        {"nbf": None, "auth_time": 1, "amr": ["pwd"], "unknown": {"deep": [1]}},
        {"at": "ahead"},
        {"at": "behind"},
        {"at": "behind", "exp": 30},
    ],
    ids=json.dumps,
)
def test_what_is_odd_and_valid_lets_people_in(
    browser: TestClient, issuer: Issuer, says: dict[str, Any]
) -> None:
    """A list of audiences, who asked for it, other claims, and a clock that is half a minute off."""
    ahead = {"ahead": 30, "behind": -30}.get(says.get("at", ""), 0)
    claims = {**_clocks(ahead), **{name: value for name, value in says.items() if name != "at"}}
    if "exp" in says:  # short-lived, and over by the provider's own clock's lateness
        claims["exp"] = claims["iat"] + says["exp"]
    issuer.says = claims
    assert "refused" not in sign_in(browser)
    assert is_in(browser)


@pytest.mark.parametrize("signs", ["without a key's name", "beside keys of other kinds"])
def test_keys_are_found_as_providers_list_them(browser: TestClient, issuer: Issuer, signs: str) -> None:
    if signs == "without a key's name":
        issuer.signs = lambda claims: jwt.encode(claims, FIRST.private, "RS256")
    else:
        sealing = Key("sealing")
        sealing.public |= {"use": "enc"}
        unknown = Key("later")
        unknown.public = {"kty": "AKP", "kid": "later", "alg": "ML-DSA-44", "pub": "x"}
        issuer.keys = [sealing, unknown, FIRST]
    assert "refused" not in sign_in(browser)


def test_what_is_told_at_the_userinfo_endpoint_alone_counts_too(
    browser: TestClient, issuer: Issuer, project: None
) -> None:
    told = issuer.person
    issuer.person, issuer.userinfo = {"sub": told["sub"]}, told
    assert "refused" not in sign_in(browser)
    who = browser.get("/v1/sessions/current").json()
    assert (who["name"], who["role"], who["projects"]) == ("ann@example.org", "member", ["search"])


def test_what_the_token_says_itself_counts_before_the_userinfo_endpoint(
    browser: TestClient, issuer: Issuer
) -> None:
    told = issuer.person
    issuer.person = {"sub": told["sub"], "groups": ["guests"]}
    issuer.userinfo = told | {"groups": ["leads"]}
    sign_in(browser)
    assert browser.get("/v1/sessions/current").json()["role"] == "viewer"
    asked = issuer.asked.count("/userinfo")
    issuer.person = told
    sign_in(browser)
    assert issuer.asked.count("/userinfo") == asked, "a token that says all is not asked about"


@pytest.mark.parametrize("more", [{"sub": "another"}, {"sub": None}, {"email_verified": False}])
def test_a_userinfo_endpoint_that_tells_of_somebody_else_lets_nobody_in(
    browser: TestClient, issuer: Issuer, more: dict[str, Any]
) -> None:
    told = issuer.person
    issuer.person, issuer.userinfo = {"sub": told["sub"]}, told | more
    assert "refused" in sign_in(browser)
    assert not is_in(browser)


def test_a_provider_that_takes_its_time_is_waited_for_and_one_that_never_ends_is_not(
    browser: TestClient, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then keeps a connection alive for ever: the whole answer has its time."""
    issuer.drips = 0.001
    assert "refused" not in browser.get("/v1/sign-in/oidc").headers["Location"]
    monkeypatch.setattr(provider, "_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(provider, "_KEPT_SECONDS", -1.0)
    issuer.drips = 0.2
    began = time.monotonic()
    assert browser.get("/v1/sign-in/oidc").headers["Location"] == refused("away")
    assert time.monotonic() - began < 10
    issuer.drips = 0.0
    assert "refused" not in browser.get("/v1/sign-in/oidc").headers["Location"]


def test_a_provider_that_hangs_holds_no_more_than_a_few_threads(
    browser: TestClient, issuer: Issuer, plane: Plane
) -> None:
    """All that wait for it are told so but eight; who asks for anything else is answered meanwhile."""
    issuer.held.clear()
    with ThreadPoolExecutor(30) as pool:
        asked = [pool.submit(browser.get, "/v1/sign-in/oidc") for _ in range(30)]
        wait_until(lambda: sum(one.done() for one in asked) == 22, 20, "those for whom there is no room")
        answer = browser.get("/v1/tasks", headers={"Authorization": f"Bearer {plane.api_key}"})
        assert answer.status_code == 200
        issuer.held.set()
        ways = [one.result().headers["Location"] for one in asked]
    assert sum(way == refused("away") for way in ways) == 22
    assert sum(way.startswith(issuer.url) for way in ways) == 8


@pytest.mark.parametrize("methods", [["client_secret_post"], ["client_secret_basic"], ["private_key_jwt"]])
def test_the_client_shows_its_secret_as_the_provider_takes_it(
    browser: TestClient, issuer: Issuer, methods: list[str]
) -> None:
    issuer.document = {"token_endpoint_auth_methods_supported": methods}
    assert "refused" not in sign_in(browser)


def test_a_public_client_has_no_secret(home: Home, issuer: Issuer) -> None:
    issuer.secret = ""
    plane = Plane(home, **given(issuer, oidc_client_secret=""))
    with TestClient(plane.app, follow_redirects=False) as browser:
        assert "refused" not in sign_in(browser)
