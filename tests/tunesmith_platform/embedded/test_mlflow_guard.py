"""The check before MLflow, without MLflow: who comes in, by what, how often, and what the application then sees."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from tunesmith_platform.embedded.mlflow_guard import Guard
from tunesmith_platform.mlflow_link import (
    COOKIE_SECONDS,
    ENTRANCE,
    LINK_SECONDS,
    Admissions,
    make_code,
)

TOKEN = "mlflows-token"
HOST = "127.0.0.1:5000"
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "PROPFIND"]
NAME = "tunesmith_mlflow_5000"


class Clock:
    def __init__(self) -> None:
        self.now = dt.datetime.now().timestamp()

    def __call__(self) -> float:
        return self.now


class Behind:
    """The application behind the check; it answers everything."""

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []
        self.clock = Clock()
        self.admissions = Admissions(TOKEN, self.clock)
        routes = [
            Route("/{path:path}", self._answer, methods=METHODS),
            WebSocketRoute("/{path:path}", self._talk),
        ]
        guard = Guard(
            Starlette(routes=routes), self.admissions, [HOST, "localhost:5000", "mlflow.example"], NAME
        )  # type: ignore[arg-type]
        self.client = TestClient(guard, base_url=f"http://{HOST}")  # type: ignore[arg-type]

    def _answer(self, request: Request) -> JSONResponse:
        self.seen.append(dict(request.headers))
        return JSONResponse({"weights": "secret"})

    async def _talk(self, socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("secret")
        await socket.close()

    def enter(self, to: str = "/") -> Any:
        """Come in by a link."""
        return self.client.get(ENTRANCE, params={"code": self.code(to)})

    def code(self, to: str = "/", token: str = TOKEN) -> str:
        return make_code(token, to, self.clock)


@pytest.fixture
def behind() -> Iterator[Behind]:
    behind = Behind()
    with behind.client:
        yield behind


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "path",
    ["/", "/version", "/get-artifact?path=model.safetensors", "/api/2.0/mlflow-artifacts/artifacts/x", "/graphql",
     "/static-files/static/js/main.js", "/ajax-api/3.0/mlflow/assistant/chat", "/gateway/x/mlflow/invocations",
     "/v1/traces", "//health", "/health/", "/health%2f..%2fversion", "/_tunesmith/enter/", "/_tunesmith/../version"],
)  # fmt: skip
def test_nobody_comes_in_with_nothing(behind: Behind, method: str, path: str) -> None:
    reply = behind.client.request(method, path)
    assert reply.status_code == 401
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert "secret" not in reply.text
    assert behind.seen == []


@pytest.mark.parametrize(
    "given",
    ["Bearer other", "Bearer ", "Bearer mlflows-toke", "Bearer mlflows-token2", "Basic mlflows-token", "mlflows-token",
     "Bearer mlflows-tokén"],
)  # fmt: skip
def test_a_wrong_token_is_none(behind: Behind, given: str) -> None:
    reply = behind.client.get("/", headers={"Authorization": given.encode("latin-1")})  # type: ignore[dict-item]
    assert (reply.status_code, behind.seen) == (401, [])


def test_a_token_comes_in_and_goes_no_further(behind: Behind) -> None:
    reply = behind.client.post(
        "/x", headers={"Authorization": f"Bearer {TOKEN}", "Cookie": "a=b", "X-Kept": "1"}
    )
    assert reply.json() == {"weights": "secret"}
    (seen,) = behind.seen
    assert "authorization" not in seen
    assert "cookie" not in seen
    assert seen["x-kept"] == "1"


def test_the_health_of_the_server_is_no_secret(behind: Behind) -> None:
    reply = behind.client.get("/health")
    assert (reply.status_code, reply.text, behind.seen) == (200, "OK", [])


def test_mlflows_clients_and_browsers_are_told_in_their_own_way(behind: Behind) -> None:
    error = behind.client.get("/api/2.0/mlflow/runs/get").json()
    assert error["error_code"] == "UNAUTHENTICATED"
    assert "MLFLOW_TRACKING_TOKEN" in error["message"]
    page = behind.client.get("/", headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "tunesmith mlflow" in page.text
    assert "请运行" in page.text


def test_a_link_lets_one_browser_in_once(behind: Behind) -> None:
    code = behind.code("/#/experiments/1/runs/abc")
    first = behind.client.get(ENTRANCE, params={"code": code})
    assert first.status_code == 200
    assert 'content="0; url=/#/experiments/1/runs/abc"' in first.text
    cookie = first.headers["Set-Cookie"]
    assert cookie.startswith(f"{NAME}=")
    for word in ("HttpOnly", "SameSite=Strict", "Path=/", f"Max-Age={COOKIE_SECONDS}"):
        assert word in cookie
    assert first.headers["Cache-Control"] == "no-store"
    assert first.headers["Referrer-Policy"] == "no-referrer"
    assert behind.client.get("/").json() == {"weights": "secret"}, "the cookie is sent back"
    assert behind.client.post("/x", headers={"Origin": f"http://{HOST}"}).status_code == 200
    behind.client.cookies.clear()
    assert behind.client.get(ENTRANCE, params={"code": code}).status_code == 401, "a second time"
    assert behind.client.get("/").status_code == 401


def test_a_link_counts_for_a_minute(behind: Behind) -> None:
    code = behind.code()
    behind.clock.now += LINK_SECONDS + 1
    assert behind.client.get(ENTRANCE, params={"code": code}).status_code == 401


def test_a_link_from_before_a_restart_counts_no_more(behind: Behind) -> None:
    """The process before may have taken it."""
    code = behind.code()
    behind.clock.now += 5
    again = Admissions(TOKEN, behind.clock)
    assert again.take(code) is None
    assert behind.admissions.take(code) == "/"


@pytest.mark.parametrize(
    "spoil", ["other token", "another page", "cookie as code", "nothing", "twice", "rubbish", "post"]
)
def test_a_link_cannot_be_made_up(behind: Behind, spoil: str) -> None:
    code = behind.code()
    body, signature = code.split(".")
    codes = {
        "other token": [behind.code(token="another")],
        "another page": [f"{behind.code('https://evil.example').split('.')[0]}.{signature}"],
        "cookie as code": [behind.admissions.cookie()],
        "nothing": [],
        "twice": [code, code],
        "rubbish": ["é.é"],
        "post": [code],
    }[spoil]
    method = "POST" if spoil == "post" else "GET"
    reply = behind.client.request(method, ENTRANCE, params={"code": codes})
    assert reply.status_code == 401
    assert "Set-Cookie" not in reply.headers
    assert body


def test_a_link_is_for_this_hosts_name_alone(behind: Behind) -> None:
    """A page that has its own name lead to this machine must not get a cookie."""
    reply = behind.client.get(ENTRANCE, params={"code": behind.code()}, headers={"Host": "evil.example:5000"})
    assert (reply.status_code, "Set-Cookie" in reply.headers) == (401, False)


def test_a_page_in_a_link_writes_no_html(behind: Behind) -> None:
    page = behind.enter('/"><script>x</script>').text
    assert "<script>" not in page


def test_a_cookie_ends(behind: Behind) -> None:
    behind.enter()
    assert behind.client.get("/").status_code == 200
    behind.clock.now += COOKIE_SECONDS + 1
    assert behind.client.get("/").status_code == 401


@pytest.mark.parametrize("value", ["", "1.2", "9999999999.", "x.y", "9999999999." + "0" * 64])
def test_a_cookie_cannot_be_made_up(behind: Behind, value: str) -> None:
    assert behind.client.get("/", headers={"Cookie": f"{NAME}={value}"}).status_code == 401


def test_a_code_is_no_cookie_and_other_cookies_do_not_hide_ours(behind: Behind) -> None:
    cookie = behind.admissions.cookie()
    assert behind.client.get("/", headers={"Cookie": f"{NAME}={behind.code()}"}).status_code == 401
    odd = f'a={{"b": 1}}; =; {NAME}={cookie}; c'
    assert behind.client.get("/", headers={"Cookie": odd}).status_code == 200


@pytest.mark.parametrize(
    ("method", "headers", "comes_in"),
    [
        ("GET", {}, True),
        ("GET", {"Sec-Fetch-Site": "none"}, True),
        ("GET", {"Sec-Fetch-Site": "same-origin"}, True),
        ("GET", {"Sec-Fetch-Site": "same-site"}, False),
        ("GET", {"Sec-Fetch-Site": "cross-site"}, False),
        ("POST", {}, False),
        ("POST", {"Sec-Fetch-Site": "none"}, False),
        ("POST", {"Sec-Fetch-Site": "same-origin"}, True),
        ("POST", {"Origin": f"http://{HOST}"}, True),
        ("POST", {"Origin": "http://localhost:5000"}, True),
        ("POST", {"Origin": "https://mlflow.example", "Sec-Fetch-Site": "same-origin"}, True),
        ("POST", {"Origin": "https://mlflow.example.evil"}, False),
        ("POST", {"Origin": "http://127.0.0.1:9999"}, False),
        ("POST", {"Origin": "null"}, False),
        ("POST", {"Origin": "http://127.0.0.1:9999", "Sec-Fetch-Site": "same-origin"}, False),
        ("DELETE", {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, False),
    ],
)
def test_another_page_cannot_use_the_cookie(
    behind: Behind, method: str, headers: dict[str, str], comes_in: bool
) -> None:
    """A page on another port of this host is of the same site: its browser sends the cookie along."""
    behind.enter()
    assert behind.client.request(method, "/x", headers=headers).is_success is comes_in


def test_a_websocket_needs_the_same(behind: Behind) -> None:
    with pytest.raises(WebSocketDisconnect), behind.client.websocket_connect(f"ws://{HOST}/ws"):
        pass
    with behind.client.websocket_connect(
        f"ws://{HOST}/ws", headers={"Authorization": f"Bearer {TOKEN}"}
    ) as socket:
        assert socket.receive_text() == "secret"
    behind.enter()
    with behind.client.websocket_connect(f"ws://{HOST}/ws", headers={"Origin": f"http://{HOST}"}) as socket:
        assert socket.receive_text() == "secret"
    with (
        pytest.raises(WebSocketDisconnect),
        behind.client.websocket_connect(f"ws://{HOST}/ws", headers={"Origin": "http://127.0.0.1:9999"}),
    ):
        pass


def test_used_codes_are_forgotten_when_they_no_longer_count(behind: Behind) -> None:
    for _ in range(3):
        assert behind.admissions.take(behind.code()) == "/"
    behind.clock.now += LINK_SECONDS + 1
    assert behind.admissions.take("x.y") is None
    assert behind.admissions.take(behind.code()) == "/"
    assert len(behind.admissions._used) == 1
