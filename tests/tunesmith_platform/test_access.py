"""Browsers come in by a one-time code or a key, and no other page speaks in their name."""

import datetime as dt
from collections.abc import Iterator

import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient
from sqlalchemy import text

from tunesmith.access import CODE_SECONDS
from tunesmith_platform import auth
from tunesmith_platform.access import service
from tunesmith_platform.clock import now
from tunesmith_platform.db.tables import ApiKeyRow

OWN = {"X-Tunesmith-Studio": "1"}
HERE = {"Sec-Fetch-Site": "same-origin", "Origin": "http://testserver"}


@pytest.fixture
def browser(plane: Plane) -> Iterator[TestClient]:
    """A browser that nobody has signed in yet."""
    with TestClient(plane.app, raise_server_exceptions=False) as found:
        found.headers.update(HERE)
        yield found


@pytest.fixture
def code(client: TestClient) -> str:
    """A link's code, made with the key."""
    return str(client.post("/v1/sessions:link").json()["url"].rpartition("#/enter/")[2])


def sign_in(browser: TestClient, credential: str, **headers: str) -> int:
    given = {"Authorization": f"Bearer {credential}"} | OWN | headers
    return browser.post("/v1/sessions", headers=given).status_code


def test_a_code_becomes_a_cookie_that_only_the_server_reads(browser: TestClient, code: str) -> None:
    assert browser.get("/v1/tasks").status_code == 401
    reply = browser.post("/v1/sessions", headers={"Authorization": f"Bearer {code}"} | OWN)
    assert reply.status_code == 201
    assert (reply.json()["name"], reply.json()["role"]) == ("local", "admin")
    (cookie,) = reply.headers.get_list("set-cookie")
    assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
    assert browser.get("/v1/tasks").status_code == 200
    assert browser.get("/v1/sessions/current").json()["expires_at"]
    assert browser.get("/openai/v1/models").status_code == 200, "chats take it too"


def test_a_code_counts_once(browser: TestClient, plane: Plane, code: str) -> None:
    assert sign_in(browser, code) == 201
    with TestClient(plane.app) as other:
        assert sign_in(other, code) == 401


def test_a_code_gets_old(browser: TestClient, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    late = now() + dt.timedelta(seconds=CODE_SECONDS + 1)
    monkeypatch.setattr(service, "now", lambda: late)
    assert sign_in(browser, code) == 401


def test_a_key_signs_a_browser_in_and_a_wrong_one_does_not(browser: TestClient, plane: Plane) -> None:
    assert sign_in(browser, "ts-wrong") == 401
    assert browser.get("/v1/tasks").status_code == 401
    assert sign_in(browser, plane.api_key) == 201
    assert browser.get("/v1/tasks").status_code == 200


def test_a_cookie_is_no_code_and_a_code_is_no_cookie_and_neither_is_a_key(
    browser: TestClient, code: str
) -> None:
    assert browser.get("/v1/tasks", headers={"Authorization": f"Bearer {code}"}).status_code == 401
    name = "tunesmith_whatever"
    assert browser.get("/v1/tasks", headers={"Cookie": f"{name}={code}"}).status_code == 401
    assert sign_in(browser, code) == 201
    (cookie,) = browser.cookies.jar
    assert cookie.value
    assert sign_in(browser, cookie.value) == 401
    assert browser.get("/v1/tasks", headers={"Authorization": f"Bearer {cookie.value}"}).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://testserver:9"},
        {"Origin": "null"},
        {"Origin": "http://elsewhere.example"},
    ],
)
def test_other_origins_neither_read_nor_write(
    browser: TestClient, code: str, headers: dict[str, str]
) -> None:
    assert sign_in(browser, code, **headers) == 403, "nor sign a browser in as somebody"
    assert sign_in(browser, code) == 201, "what was refused did not use the code up"
    assert browser.get("/v1/tasks", headers=headers).status_code == 403
    assert browser.post("/v1/tasks:check", json={}, headers=OWN | headers).status_code == 403
    assert browser.get("/v1/stream", headers=headers).status_code == 403


def test_what_changes_something_carries_the_pages_header(browser: TestClient, code: str) -> None:
    assert sign_in(browser, code) == 201
    body = {"name": "own", "parameters": {"r": 8}}
    refused = browser.post("/v1/templates", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    assert browser.delete("/v1/sessions/current").status_code == 403
    assert browser.post("/v1/templates", json=body, headers=OWN).status_code == 201


def test_who_signs_out_is_out_in_both_tabs_and_other_browsers_stay(
    browser: TestClient, plane: Plane, code: str, client: TestClient
) -> None:
    assert sign_in(browser, code) == 201
    (cookie,) = browser.cookies.jar
    second_tab = {"Cookie": f"{cookie.name}={cookie.value}"}
    with TestClient(plane.app) as other:
        assert sign_in(other, plane.api_key) == 201
        assert browser.delete("/v1/sessions/current", headers=OWN).status_code == 204
        assert browser.get("/v1/tasks").status_code == 401
        assert browser.get("/v1/tasks", headers=second_tab).status_code == 401
        assert other.get("/v1/tasks").status_code == 200
    assert client.get("/v1/tasks").status_code == 200, "the key itself still counts"


def test_a_session_ends_by_itself_and_with_its_key(
    browser: TestClient, plane: Plane, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sign_in(browser, code) == 201
    late = now() + dt.timedelta(hours=plane.settings.session_hours, seconds=1)
    with monkeypatch.context() as patch:
        patch.setattr(auth, "now", lambda: late)
        assert browser.get("/v1/tasks").status_code == 401
    assert browser.get("/v1/tasks").status_code == 200
    with plane.services.database.write() as session:
        for row in session.query(ApiKeyRow):
            session.delete(row)
    plane.services.keys._sessions.clear()  # as ten seconds later
    assert browser.get("/v1/tasks").status_code == 401


def test_no_session_makes_a_link(browser: TestClient, code: str) -> None:
    """Who finds an open browser cannot take a session along."""
    assert sign_in(browser, code) == 201
    assert browser.post("/v1/sessions:link", headers=OWN).status_code == 401


def test_only_hashes_are_stored(browser: TestClient, plane: Plane, code: str) -> None:
    assert sign_in(browser, code) == 201
    (cookie,) = browser.cookies.jar
    with plane.services.database.read() as session:
        stored = str(session.execute(text("SELECT * FROM browsers")).all())
    assert stored
    assert code not in stored
    assert str(cookie.value) not in stored


def test_a_proxys_address_is_one_of_ours(home: object, plane: Plane, browser: TestClient, code: str) -> None:
    plane.settings.public_url = "https://studio.example/team"
    given = {"Origin": "https://studio.example"}
    reply = browser.post("/v1/sessions", headers={"Authorization": f"Bearer {code}"} | OWN | given)
    assert reply.status_code == 201
    assert "Secure" in reply.headers["set-cookie"]


def test_an_error_is_worded_in_the_language_that_a_page_asks_for(client: TestClient) -> None:
    said = {
        language: client.get("/v1/tasks/task-none", headers={"Accept-Language": language}).json()["error"]
        for language in ("zh-CN", "en", "")
    }
    assert said["en"] == said[""], "who says nothing gets English"
    assert "task-none" in said["zh-CN"]["message"]
    assert any("\u4e00" <= character <= "\u9fff" for character in said["zh-CN"]["message"])
    assert {error["code"] for error in said.values()} == {"not_found"}


def test_what_a_task_says_is_in_the_language_that_a_page_asks_for(plane: Plane, client: TestClient) -> None:
    """Sentences alone: what the user wrote, as a name that is a sentence of ours too, stays as it is."""
    task = plane.submit(name="Waiting to be started.", notes="Waiting to be started.")
    for path in (f"/v1/tasks/{task.id}", "/v1/tasks"):
        said = {
            language: client.get(path, headers={"Accept-Language": language}).json()
            for language in ("zh-CN", "en", "")
        }
        assert said["en"] == said[""], "who says nothing gets English"
        zh, en = (body["data"][0] if "data" in body else body for body in (said["zh-CN"], said["en"]))
        assert en["message"]
        assert any("\u4e00" <= character <= "\u9fff" for character in zh["message"]), zh["message"]
        assert {name for name in en if en[name] != zh[name]} <= {"message", "next_step", "notices"}
