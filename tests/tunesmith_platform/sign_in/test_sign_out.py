"""Browsers that came in by an identity provider sign out there too, where it has a place for that."""

import logging

import httpx
import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient
from oidc_issuer import Issuer
from signing_in import HERE, is_in, sign_in

from tunesmith_platform.access import provider, sign_in_endpoints

STUDIO = f"{HERE}/studio/"


def left(browser: TestClient) -> str:
    """Sign out as the studio does; where the browser is sent."""
    assert browser.delete("/v1/sessions/current").status_code == 204
    assert not is_in(browser)
    reply = browser.get("/v1/sign-in/oidc/sign-out")
    assert reply.status_code == 303
    assert reply.headers["Cache-Control"] == "no-store"
    return str(reply.headers["Location"])


def test_the_session_at_the_provider_ends_too(
    browser: TestClient, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    sign_in(browser)
    ended = httpx.get(left(browser), trust_env=False)
    assert ended.status_code == 302, "the provider knows its own token, for this client"
    (asked,) = issuer.left
    assert asked["post_logout_redirect_uri"] == f"{HERE}/v1/sign-in/oidc/signed-out"
    assert asked["id_token_hint"]
    with caplog.at_level(logging.WARNING):
        back = browser.get(ended.headers["Location"])
        assert (back.status_code, back.headers["Location"]) == (303, STUDIO)
        assert "sign-out" not in caplog.text
        assert browser.get("/v1/sign-in/oidc/signed-out?state=another").headers["Location"] == STUDIO
        assert "sign-out that was not begun here" in caplog.text
    assert browser.get("/v1/sign-in/oidc/sign-out").headers["Location"] == STUDIO, (
        "the token was kept for once"
    )


def test_the_token_is_kept_for_the_sign_out_alone(browser: TestClient) -> None:
    sign_in(browser)
    (kept,) = (cookie for cookie in browser.cookies.jar if cookie.name.endswith("_id_token"))
    assert kept.path == "/v1/sign-in/oidc/sign-out"
    assert kept.has_nonstandard_attr("HttpOnly")
    assert kept.get_nonstandard_attr("SameSite") == "strict"


def test_a_provider_without_such_a_place_leaves_it_at_the_session_here(
    browser: TestClient, issuer: Issuer
) -> None:
    issuer.ends_sessions = False
    sign_in(browser)
    assert left(browser) == STUDIO


@pytest.mark.parametrize("address", ["http://elsewhere.example/logout", "ftp://127.0.0.1/logout"])
def test_a_place_that_others_could_read_is_none(browser: TestClient, issuer: Issuer, address: str) -> None:
    issuer.document = {"end_session_endpoint": address}
    sign_in(browser)
    assert left(browser) == STUDIO


def test_a_provider_that_is_away_keeps_nobody(
    browser: TestClient, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(browser)
    issuer.is_away = True
    monkeypatch.setattr(provider, "_KEPT_SECONDS", -1.0)
    assert left(browser) == STUDIO


def test_a_token_that_no_browser_keeps_is_left_out(
    browser: TestClient, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in_endpoints, "_TOKEN_CHARACTERS", 10)
    sign_in(browser)
    httpx.get(left(browser), trust_env=False)
    assert "id_token_hint" not in issuer.left[0]


def test_who_came_in_by_a_key_stays_signed_in_at_the_provider(plane: Plane, browser: TestClient) -> None:
    shown = {"Authorization": f"Bearer {plane.api_key}"}
    assert browser.post("/v1/sessions", headers=shown).status_code == 201
    assert left(browser) == STUDIO
