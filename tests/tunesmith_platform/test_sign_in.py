"""Browsers come in by an identity provider: a real one on loopback, that signs with real keys and can do all wrong."""

import datetime as dt
import json
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import jwt
import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient
from oidc_issuer import CLIENT, FIRST, SECRET, Issuer, Key, serving_issuer
from pydantic import ValidationError
from sqlalchemy import text
from waiting import wait_until

from tunesmith.home import Home
from tunesmith_platform import auth
from tunesmith_platform.access import provider, sign_in_service
from tunesmith_platform.clock import now
from tunesmith_platform.db.tables import ApiKeyRow
from tunesmith_platform.settings import Settings

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


def test_a_person_comes_in_with_the_role_and_projects_of_its_groups(
    browser: TestClient, project: None, plane: Plane
) -> None:
    options = browser.get("/v1/sign-in").json()["providers"]
    assert options == [{"name": "127.0.0.1", "path": "/v1/sign-in/oidc"}]
    assert sign_in(browser, "monitor/train-1") == f"{HERE}/studio/#/monitor/train-1"
    who = browser.get("/v1/sessions/current").json()
    assert (who["name"], who["role"], who["projects"]) == ("ann@example.org", "member", ["search"])
    hours = (dt.datetime.fromisoformat(who["expires_at"]) - now()).total_seconds() / 3600
    assert hours == pytest.approx(plane.settings.oidc_session_hours, abs=0.1)
    cookies = {cookie.name: cookie for cookie in browser.cookies.jar}
    assert len(cookies) == 1, "what was kept for the way is gone"
    assert browser.post("/v1/templates", json={"name": "own", "parameters": {"r": 8}}).status_code == 201


def test_the_sessions_cookie_is_the_one_of_links(browser: TestClient) -> None:
    reply = browser.get(back_from(browser))
    session = next(one for one in reply.headers.get_list("set-cookie") if "_sign_in" not in one)
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
        assert len(cookies) == 2


def unsigned(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, None, "none")


def by_secret(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, SECRET * 2, "HS256", headers={"kid": "first"})


def by_another(claims: dict[str, Any]) -> str:
    return Key("first").sign(claims)


LONG_AGO = int(now().timestamp()) - 3600
WRONG: dict[str, dict[str, Any]] = {
    "another nonce": {"says": {"nonce": "another"}},
    "no nonce": {"says": {"nonce": None}},
    "another audience": {"says": {"aud": "another"}},
    "another client's, ours beside": {"says": {"aud": [CLIENT, "another"], "azp": "another"}},
    "others beside, and whose is not said": {"says": {"aud": [CLIENT, "another"]}},
    "another issuer": {"says": {"iss": "https://elsewhere.example"}},
    "expired": {"says": {"iat": LONG_AGO - 300, "exp": LONG_AGO}},
    "no end": {"says": {"exp": None}},
    "of tomorrow": {"says": {"iat": LONG_AGO + 90_000, "exp": LONG_AGO + 99_000}},
    "nobody": {"says": {"sub": None}},
    "unsigned": {"signs": unsigned},
    "signed with a shared secret": {"signs": by_secret},
    "signed by somebody else under the key's name": {"signs": by_another},
    "unknown key": {"signs": lambda claims: Key("unknown").sign(claims)},
    "cut off": {"signs": lambda claims: FIRST.sign(claims)[:-5]},
    "no token": {"signs": lambda claims: ""},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_token_that_does_not_hold_lets_nobody_in(browser: TestClient, issuer: Issuer, wrong: str) -> None:
    for name, value in WRONG[wrong].items():
        setattr(issuer, name, value)
    assert sign_in(browser) == refused("refused")
    assert not is_in(browser)


def test_a_public_key_is_no_shared_secret(browser: TestClient, issuer: Issuer) -> None:
    """The one that a provider lists must not sign as HMAC, even where it lists that as its algorithm."""
    secret = b"0" * 32
    listed = jwt.get_algorithm_by_name("HS256").to_jwk(secret, as_dict=True)
    issuer.keys[0:] = [Key("first")]
    issuer.keys[0].public = {**listed, "kid": "first", "alg": "HS256"}
    issuer.signs = lambda claims: jwt.encode(claims, secret, "HS256", headers={"kid": "first"})
    assert sign_in(browser) == refused("refused")
    assert not is_in(browser)


@pytest.mark.parametrize("changes", [{"state": "another"}, {"state": None}, {"state": ""}])
def test_a_state_of_another_sign_in_is_refused(
    browser: TestClient, issuer: Issuer, changes: dict[str, Any]
) -> None:
    assert sign_in(browser, **changes) == refused("lost")
    assert "/token" not in issuer.asked
    assert not is_in(browser)


def test_who_is_refused_too_often_waits(home: Home, issuer: Issuer) -> None:
    plane = Plane(home, **given(issuer, max_wrong_keys_per_minute=2))
    with TestClient(plane.app, follow_redirects=False) as browser:
        for _ in range(2):
            assert sign_in(browser, code="wrong") == refused("refused")
        reply = browser.get(back_from(browser))
        assert (reply.status_code, reply.headers["Retry-After"]) == (429, "30")


def test_what_another_browser_began_is_not_finished_here(browser: TestClient, plane: Plane) -> None:
    """Else somebody could sign another's browser in as themselves."""
    with TestClient(plane.app, follow_redirects=False) as other:
        address = back_from(other)
        assert browser.get(address).headers["Location"] == refused("lost")
        back_from(browser)
        assert browser.get(address).headers["Location"] == refused("lost")
    assert not is_in(browser)


def test_what_a_browser_kept_counts_some_minutes_and_only_as_it_was_signed(
    browser: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        early = now() - dt.timedelta(seconds=sign_in_service.ATTEMPT_SECONDS + 1)
        patch.setattr(sign_in_service, "now", lambda: early)
        address = back_from(browser)
    assert browser.get(address).headers["Location"] == refused("lost")
    address = back_from(browser)
    (kept,) = browser.cookies.jar
    assert kept.value is not None
    attempt = jwt.decode(kept.value, options={"verify_signature": False})
    for forged in (jwt.encode(attempt, b"0" * 32, "HS256"), jwt.encode(attempt, None, "none"), "", "x"):
        cookie = {"Cookie": f"{kept.name}={forged}"}
        browser.cookies.clear()
        assert browser.get(address, headers=cookie).headers["Location"] == refused("lost")


def test_a_code_and_a_state_count_once(browser: TestClient, issuer: Issuer) -> None:
    address = back_from(browser)
    (kept,) = browser.cookies.jar
    cookie = {"Cookie": f"{kept.name}={kept.value}"}
    assert "refused" not in browser.get(address).headers["Location"]
    browser.cookies.clear()
    assert browser.get(address, headers=cookie).headers["Location"] == refused("lost")
    assert issuer.asked.count("/token") == 1
    code = parse_qs(urlsplit(address).query)["code"][0]
    assert sign_in(browser, code=code) == refused("refused"), "nor with a new state"
    assert not is_in(browser)


def test_an_answer_that_names_another_issuer_is_refused(browser: TestClient, issuer: Issuer) -> None:
    assert sign_in(browser, iss="https://elsewhere.example") == refused("refused")
    assert "refused" not in sign_in(browser, iss=None)


def test_a_provider_that_names_itself_always_does(browser: TestClient, issuer: Issuer) -> None:
    issuer.document = {"authorization_response_iss_parameter_supported": True}
    assert sign_in(browser, iss=None) == refused("refused")
    assert "refused" not in sign_in(browser)


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


@pytest.mark.parametrize(
    ("error", "why"), [("access_denied", "cancelled"), ("server_error", "refused"), ("", "refused")]
)
def test_who_breaks_it_off_is_told_so(browser: TestClient, error: str, why: str) -> None:
    assert sign_in(browser, code=None, error=error or None) == refused(why)
    assert not is_in(browser)


@pytest.mark.parametrize(
    ("person", "why"),
    [
        ({"groups": ["sales"]}, "no-role"),
        ({"groups": None}, "no-role"),
        ({"groups": ["*"]}, "no-role"),
        ({"groups": {"ml": True}}, "no-role"),
        ({"email": None}, "no-name"),
        ({"email_verified": False}, "no-name"),
        ({"email_verified": "true"}, "no-name"),
        ({"email": "a/b@example.org"}, "no-name"),
        ({"email": ["ann@example.org"]}, "no-name"),
        ({"email": "platform"}, "no-name"),
    ],
)
def test_who_has_no_role_or_no_name_stays_out(
    browser: TestClient, issuer: Issuer, person: dict[str, Any], why: str
) -> None:
    issuer.person |= person
    assert sign_in(browser) == refused(why)
    assert not is_in(browser)


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
