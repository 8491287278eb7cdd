"""Browsers come in by an identity provider: a real one on loopback, that signs with real keys and can do all wrong."""

import datetime as dt
import json
import logging
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient
from oidc_issuer import CLIENT, SECRET, Issuer, Key
from pydantic import ValidationError
from signing_in import HERE, ROLES, back_from, given, is_in, refused, sign_in
from sqlalchemy import text

from tunesmith.home import Home
from tunesmith_platform import auth
from tunesmith_platform.access import provider
from tunesmith_platform.clock import now
from tunesmith_platform.db.tables import ApiKeyRow
from tunesmith_platform.settings import Settings


def test_a_person_comes_in_with_the_role_and_projects_of_its_groups(
    browser: TestClient, project: None, plane: Plane
) -> None:
    options = browser.get("/v1/sign-in").json()["providers"]
    begins = "/v1/sign-in/oidc"
    assert options == [{"name": "127.0.0.1", "path": begins, "sign_out": f"{begins}/sign-out"}]
    assert sign_in(browser, "monitor/train-1") == f"{HERE}/studio/#/monitor/train-1"
    who = browser.get("/v1/sessions/current").json()
    assert (who["name"], who["role"], who["projects"]) == ("ann@example.org", "member", ["search"])
    hours = (dt.datetime.fromisoformat(who["expires_at"]) - now()).total_seconds() / 3600
    assert hours == pytest.approx(plane.settings.oidc_session_hours, abs=0.1)
    cookies = {cookie.name: cookie for cookie in browser.cookies.jar}
    assert not any(name.endswith("_sign_in") for name in cookies), "what was kept for the way is gone"
    assert browser.post("/v1/templates", json={"name": "own", "parameters": {"r": 8}}).status_code == 201


def test_the_sessions_cookie_is_the_one_of_links(browser: TestClient) -> None:
    reply = browser.get(back_from(browser))
    session = next(
        one
        for one in reply.headers.get_list("set-cookie")
        if "_sign_in" not in one and "_id_token" not in one
    )
    assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(session.split("; "))
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://elsewhere.example"}):
        assert browser.get("/v1/tasks", headers=headers).status_code == 403
    assert browser.delete("/v1/sessions/current").status_code == 204
    assert not is_in(browser)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_keys_that_the_provider_changes_are_fetched_anew(
    browser: TestClient, issuer: Issuer, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "refused" not in sign_in(browser)
    issuer.rotate(Key("second", algorithm))
    assert sign_in(browser) == refused("refused"), "not at every unknown key: each asks the provider"
    assert issuer.asked.count("/keys") == 1
    monkeypatch.setattr(provider, "_AGAIN_SECONDS", 0.0)
    assert "refused" not in sign_in(browser)
    assert issuer.asked.count("/keys") == 2
    assert issuer.asked.count("/.well-known/openid-configuration") == 1


def test_any_server_takes_back_whom_another_has_sent(home: Home, issuer: Issuer) -> None:
    first = Plane(home, **given(issuer))
    second = Plane(home, first, **given(issuer))
    with (
        TestClient(first.app, follow_redirects=False) as begins,
        TestClient(second.app, follow_redirects=False) as ends,
    ):
        back = back_from(begins)
        (kept,) = begins.cookies.jar
        cookie = {"Cookie": f"{kept.name}={kept.value}"}
        assert ends.get(back, headers=cookie).headers["Location"] == f"{HERE}/studio/#/"
        assert begins.get(back).headers["Location"] == refused("lost"), "it counts once, on whichever"
        begins.cookies.jar = ends.cookies.jar
        assert begins.get("/v1/sessions/current").json()["name"] == "ann@example.org"


def test_below_a_path_that_a_proxy_serves_it_at(home: Home, issuer: Issuer) -> None:
    plane = Plane(home, **given(issuer, public_url=f"{HERE}/t", base_path="/t"))
    with TestClient(plane.app, follow_redirects=False) as browser:
        back = back_from(browser, root="/t")
        assert back.startswith(f"{HERE}/t/v1/sign-in/oidc/callback?")
        assert browser.get(back).headers["Location"] == f"{HERE}/t/studio/#/"
        assert browser.get("/t/v1/sessions/current").status_code == 200


def test_by_tls_the_cookies_are_for_tls_alone(home: Home, issuer: Issuer) -> None:
    plane = Plane(home, **given(issuer, public_url="https://testserver"))
    with TestClient(plane.app, base_url="https://testserver", follow_redirects=False) as browser:
        begun = browser.get("/v1/sign-in/oidc")
        (kept,) = begun.headers.get_list("set-cookie")
        assert kept.startswith("__Host-")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(kept.split("; "))
        back = httpx.get(begun.headers["Location"], trust_env=False).headers["Location"]
        cookies = browser.get(back).headers.get_list("set-cookie")
        assert all("Secure" in one.split("; ") for one in cookies)
        assert len(cookies) == 3, (
            "the session, the token for the sign-out, and the end of what was kept for the way"
        )


@pytest.mark.parametrize(
    "onward",
    [
        "//elsewhere.example",
        "https://elsewhere.example/",
        "\\\\elsewhere.example",
        "/@elsewhere.example",
        "enter/tsc-code-of-somebody-else",
        "enter",
        "%65nter/tsc-code-of-somebody-else",
        "/enter/tsc-code-of-somebody-else",
        "a/../enter",
        "refused/away",
        "a\r\nSet-Cookie: x=y",
        "?next=x",
        "javascript:alert(1)",
    ],
)
def test_a_sign_in_leads_nowhere_but_to_the_studio(browser: TestClient, onward: str) -> None:
    found = sign_in(browser, onward)
    assert found.startswith(f"{HERE}/studio/#/")
    assert found.removeprefix(f"{HERE}/studio/#/") in ("", "//elsewhere.example", "a/../enter", "?next=x")
    assert is_in(browser)


def test_the_highest_role_counts_and_groups_may_lie_deeper(home: Home, issuer: Issuer) -> None:
    more = {
        "oidc_groups_claim": "realm_access.roles",
        "oidc_name_claim": "preferred_username",
        "oidc_roles": {"*": "viewer", "leads": "admin"},
        "oidc_projects": {"*": ["default"], "auditors": ["*"]},
    }
    plane = Plane(home, **given(issuer, **more))
    issuer.person = {"sub": "subject-canary", "preferred_username": "ann"}
    with TestClient(plane.app, follow_redirects=False) as browser:
        for groups, expected in (
            ([], ("ann", "viewer", ["default"])),
            ("leads", ("ann", "admin", None)),
            (["auditors"], ("ann", "viewer", None)),
        ):
            issuer.says = {"realm_access": {"roles": groups}}
            sign_in(browser)
            who = browser.get("/v1/sessions/current").json()
            assert (who["name"], who["role"], who["projects"]) == expected
    with plane.services.database.read() as session:
        assert session.query(ApiKeyRow).filter_by(created_by="127.0.0.1").count() == 1, "one a person"


def test_a_session_ends_with_its_persons_key_and_by_itself(
    browser: TestClient, client: TestClient, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(browser)
    with monkeypatch.context() as patch:
        late = now() + dt.timedelta(hours=plane.settings.oidc_session_hours, seconds=1)
        patch.setattr(auth, "now", lambda: late)
        assert not is_in(browser)
    assert is_in(browser)
    (key,) = (one for one in client.get("/v1/keys").json()["data"] if one["name"] == "ann@example.org")
    assert key["created_by"] == "127.0.0.1"
    assert client.delete(f"/v1/keys/{key['id']}").status_code == 200
    assert not is_in(browser)
    sign_in(browser)
    assert is_in(browser), "who may come in is told by the provider"
    assert len([one for one in client.get("/v1/keys").json()["data"] if one["name"] == key["name"]]) == 2


def test_a_key_that_such_a_session_makes_lasts_no_longer(browser: TestClient, project: None) -> None:
    sign_in(browser)
    until = browser.get("/v1/sessions/current").json()["expires_at"]
    made = browser.post("/v1/keys", json={}).json()["key"]
    assert (made["name"], made["role"], made["expires_at"]) == ("ann@example.org", "member", until)


def test_sign_ins_are_in_the_audit_log(browser: TestClient, client: TestClient) -> None:
    sign_in(browser)
    entry = client.get("/v1/audit").json()["data"][0]
    assert (entry["who"], entry["action"], entry["role"]) == ("ann@example.org", "sign_in", "member")
    assert entry["request_id"]


def test_no_secret_is_stored_logged_or_told(
    browser: TestClient, plane: Plane, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    issuer.says = {"nonce": "another"}
    sign_in(browser)
    issuer.says = {}
    code = parse_qs(urlsplit(back_from(browser)).query)["code"][0]
    sign_in(browser, code="nonsense")
    sign_in(browser)
    with plane.services.database.read() as session:
        stored = [
            str(session.execute(text(f"SELECT * FROM {table}")).all())
            for table in ("api_keys", "browsers", "audit")
        ]
    logged = [one.getMessage() for one in caplog.records if one.name.startswith("tunesmith")]
    assert logged, "what was refused is in the log"
    seen = "".join((*logged, *stored, repr(plane.settings), json.dumps(browser.get("/v1/sign-in").json())))
    assert "ann@example.org" in seen
    for secret in (SECRET, "client%2Fsecret", code, "subject-canary"):
        assert secret not in seen, secret


def test_without_a_provider_there_is_no_way_to_one(tmp_path: Any) -> None:
    home = Home(tmp_path)
    home.create()
    plane = Plane(home)
    with TestClient(plane.app, follow_redirects=False) as browser:
        assert browser.get("/v1/sign-in").json() == {"providers": []}
        assert browser.get("/v1/sign-in/oidc").status_code == 404
        assert browser.get("/v1/sign-in/oidc/callback?state=a&code=b").status_code == 404


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"oidc_issuer": "http://login.example.org"}, "https"),
        ({"oidc_issuer": "https://user@login.example.org"}, "https"),
        ({"oidc_client_id": ""}, "oidc_client_id"),
        ({"oidc_roles": {}}, "oidc_roles"),
        ({"oidc_roles": {"ml": "owner"}}, "oidc_roles"),
        ({"oidc_scopes": ["email"]}, "openid"),
    ],
)
def test_settings_that_let_nobody_in_safely_are_refused(
    tmp_path: Any, changes: dict[str, Any], says: str
) -> None:
    whole = {
        "oidc_issuer": "https://login.example.org",
        "oidc_client_id": CLIENT,
        "oidc_roles": ROLES,
    }
    Settings(home=tmp_path, **whole)
    with pytest.raises(ValidationError, match=says):
        Settings(home=tmp_path, **(whole | changes))
