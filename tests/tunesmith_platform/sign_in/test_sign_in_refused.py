"""Who is not let in by an identity provider: tokens, states, codes and persons that do not hold."""

import datetime as dt
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient
from oidc_issuer import CLIENT, FIRST, SECRET, Issuer, Key
from signing_in import back_from, given, is_in, refused, sign_in

from tunesmith.home import Home
from tunesmith_platform.access import sign_in_service
from tunesmith_platform.clock import now


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
