"""What a bad request costs is bounded: who asks is known before the body is read, and few problems get words."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient
from given import SPEC
from starlette.types import Message

from tunesmith.errors import MAX_PROBLEMS, ErrorBody, ErrorResponse, TunesmithError
from tunesmith.home import Home
from tunesmith.spec import problems
from tunesmith_platform.middleware import MAX_ADDRESS_BYTES
from tunesmith_platform.routing import MAX_JSON_BYTES, MAX_NAMES, ApiRoute, admissions_of, read_json

MANY = {f"learning_rat{number}": number for number in range(20_000)}
LINES = "".join(f"  learning_rat{number}: 1\n" for number in range(5_000))
LINKED = "/v1/package-links/{token}/{name}"
SIGN_IN = {"/v1/sign-in"} | {
    f"/v1/sign-in/oidc{end}" for end in ("", "/callback", "/sign-out", "/signed-out")
}
NEEDS_NO_KEY = {"/healthz", "/livez", "/readyz", "/metrics", LINKED} | SIGN_IN
"""What needs no key: a link because its address is signed by who has one, a sign-in because it leads to one."""


def error_of(reply: Any) -> ErrorBody:
    return ErrorResponse.model_validate(reply.json()).error


def api_routes(plane: Plane) -> list[ApiRoute]:
    """Every endpoint."""
    return [route for route in plane.app.routes if isinstance(route, ApiRoute)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One API for calls of which none changes anything."""
    home = Home(tmp_path_factory.mktemp("bounds") / "home")
    home.create()
    plane = Plane(home)
    with TestClient(plane.app, raise_server_exceptions=False) as api:
        api.headers["Authorization"] = f"Bearer {plane.api_key}"
        yield api


def test_every_call_is_described_with_what_every_call_may_answer(plane: Plane, shared: TestClient) -> None:
    """An address may be too long, and the database away, wherever one asks."""
    calls = {
        f"{method} {path}": operation["responses"]
        for path, methods in plane.app.openapi()["paths"].items()
        for method, operation in methods.items()
    }
    assert len(calls) > 70
    schemas = {
        True: {"$ref": "#/components/schemas/OpenAIErrorResponse"},
        False: {"$ref": "#/components/schemas/ErrorResponse"},
    }
    for status in ("413", "500", "503"):
        told = {
            call
            for call, answers in calls.items()
            if answers.get(status, {}).get("content", {}).get("application/json", {}).get("schema")
            == schemas["/openai/" in call]
        }
        assert calls.keys() - told == set(), status
    for place in ("/healthz", "/metrics", "/v1/tasks"):
        reply = shared.get(place, params={"q": "x" * MAX_ADDRESS_BYTES})
        assert (reply.status_code, error_of(reply).code) == (413, "too_large")


# --- problems


@pytest.fixture
def comparisons(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words that were held against others: what took minutes."""
    seen: list[str] = []
    slips = problems._slips

    def counted(given: list[str], known: list[str]) -> int | None:
        if (word := "_".join(given)) not in seen:
            seen.append(word)
        return slips(given, known)

    monkeypatch.setattr(problems, "_slips", counted)
    return seen


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/tasks", {"spec": SPEC} | MANY),
        ("/v1/tasks", {"spec": SPEC | MANY}),
        ("/v1/tasks", {"spec": SPEC | {"lora": MANY}}),
        ("/v1/tasks", {"spec": SPEC | {"target_modules": [*range(20_000)]}}),
        ("/v1/tasks", {"spec": SPEC, "tags": [*range(20_000)]}),
        ("/v1/templates", {"name": "t", "parameters": MANY}),
        ("/v1/datasets:run", {"operation": "filter", "parameters": MANY}),
        ("/v1/datasets:validate", {"file": "/t", "parameters": MANY}),
        ("/v1/quota/p/grants", {"amount": 1} | MANY),
        ("/v1/webhooks", {"url": "http://127.0.0.1:1/x", "events": [*map(str, range(20_000))]}),
        (
            "/v1/pipelines",
            {"yaml": "component:\n  type: datasets\n  path: /t\n", "overrides": {name: {} for name in MANY}},
        ),
        ("/v1/pipelines", {"yaml": f"component:\n  type: model-trainer\n  lora:\n    a: 1\n{LINES}"}),
        ("/v1/pipelines", {"yaml": f"{LINES.replace('  l', 'l')}component:\n  type: model-trainer\n"}),
    ],
)
def test_twenty_problems_have_words_and_the_rest_a_count(
    shared: TestClient, comparisons: list[str], path: str, body: dict[str, Any]
) -> None:
    reply = shared.post(path, json=body)
    error = error_of(reply)
    assert reply.status_code == 422, error
    assert 1 <= len(error.problems) <= MAX_PROBLEMS
    assert len(error.problems) == 1 or error.more_problems > 1000
    assert len(comparisons) <= 2 * MAX_PROBLEMS
    assert len(reply.content) < 50_000


def test_a_long_name_is_not_repeated_whole(shared: TestClient) -> None:
    word = "x" * 500_000
    for body in (
        {"spec": SPEC | {word: 1}},
        {"spec": SPEC | {"bias": word}},
        {"spec": SPEC | {"output_dir": word}},
        {"spec": SPEC, "name": word},
        {"spec": SPEC, "template": word},
        {"spec": SPEC, "tags": [word]},
    ):
        reply = shared.post("/v1/tasks", json=body)
        assert reply.status_code == 422
        assert len(reply.content) < 10_000


def test_an_error_keeps_its_count_on_the_way_to_the_client(shared: TestClient) -> None:
    error = error_of(shared.post("/v1/tasks", json={"spec": SPEC | MANY}))
    assert (error.code, error.more_problems) == ("unknown_field", 20_000 - MAX_PROBLEMS)
    assert f"(and {20_000 - 1} more)" in error.message


# --- who asks


def test_every_route_knows_who_asks_before_it_reads(plane: Plane) -> None:
    routes = api_routes(plane)
    assert len(routes) == sum(map(len, plane.app.openapi()["paths"].values()))
    for route in routes:
        assert isinstance(route, ApiRoute), route.path
        if route.path not in NEEDS_NO_KEY:
            assert admissions_of(route), route.path


async def _answered(plane: Plane, method: str, path: str, headers: dict[str, str]) -> int:
    """The status of a call whose body never comes."""
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body was read")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "root_path": "",
    }
    await plane.app(scope, receive, send)
    return int(sent[0]["status"])


def test_without_a_token_no_body_is_read(plane: Plane, client: TestClient) -> None:
    assert client.portal is not None
    asked = 0
    for template, methods in plane.app.openapi()["paths"].items():
        if template in NEEDS_NO_KEY or template == "/v1/sessions":  # that one takes no body
            continue
        path = re.sub(r"\{(\w+?)(_id)?\}", r"\1-1", template).replace("attempt-1", "1")
        for method in map(str.upper, methods):
            for token in ("", "Bearer wrong", f"Bearer {'x' * 64}"):
                length = {"Content-Type": "application/json", "Content-Length": str(30 * 2**20)}
                status = client.portal.call(_answered, plane, method, path, {"Authorization": token} | length)
                assert status == 401, path
                asked += 1
    assert asked > 150


def test_an_address_that_nobody_signed_is_refused(client: TestClient) -> None:
    """It stands in place of a key."""
    for token in ("token-1", "a.b.c", f"{'A' * 40}.{'B' * 43}"):
        assert client.get(LINKED.format(token=token, name="m.gguf")).status_code in (401, 403), token


def test_who_is_no_administrator_is_told_before_the_body_is_read(plane: Plane, client: TestClient) -> None:
    assert client.portal is not None
    key = plane.key("ann")
    for method, path in (("POST", "/v1/webhooks"), ("POST", "/v1/quota/p/grants"), ("PUT", "/v1/quota/p")):
        headers = {"Authorization": f"Bearer {key}", "Content-Length": "31457280"}
        assert client.portal.call(_answered, plane, method, path, headers) == 403


def test_a_report_comes_with_the_token_of_the_attempt_that_it_names(plane: Plane, client: TestClient) -> None:
    task = plane.running()
    other = plane.submit()
    path = f"/v1/tasks/{task.id}/reports"

    def post(token: str, attempt: int) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return client.post(path, json={"attempt": attempt}, headers=headers).status_code

    for _ in range(2):  # the second time, it is remembered
        assert post(plane.token(task), 1) == 200
        assert post(plane.token(task), 2) == 401
        assert post(plane.token(other), 1) == 401
    client.post(f"/v1/tasks/{other.id}:stop")
    client.delete(f"/v1/tasks/{other.id}")
    gone = {"Authorization": f"Bearer {plane.token(other)}"}
    assert client.post(f"/v1/tasks/{other.id}/reports", json={"attempt": 1}, headers=gone).status_code == 404
    # Whoever has the secret changed has all tokens changed.
    plane.home.report_secret_file.chmod(0o600)
    before = plane.token(task)
    plane.home.report_secret_file.write_text("another secret")
    assert post(before, 1) == 401


# --- how much, and what


def test_only_files_and_reports_are_large(shared: TestClient) -> None:
    huge = json.dumps({"spec": SPEC, "notes": "x" * MAX_JSON_BYTES})

    def pieces() -> Any:
        yield from (huge[at : at + 2**16].encode() for at in range(0, len(huge), 2**16))

    for content in (huge, pieces()):
        reply = shared.post("/v1/tasks", content=content, headers={"Content-Type": "application/json"})
        assert (reply.status_code, error_of(reply).code) == (413, "too_large")


def test_a_long_address_is_refused(shared: TestClient) -> None:
    for path in (f"/v1/tasks/{'x' * MAX_ADDRESS_BYTES}", f"/v1/tasks?name={'x' * MAX_ADDRESS_BYTES}"):
        assert error_of(shared.get(path)).code == "too_large"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"a": NaN}', "no number"),
        (b'{"a": [-Infinity]}', "no number"),
        (b'{"a": 1e999}', "no number"),
        (b'{"a": 9223372036854775808}', "no number"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "no number"),
        (b'{"a": 1, "b": 2, "a": 3}', "twice"),
        (b'{"a": {"b": 1, "b": 1}}', "twice"),
        (b'{"a": "\\u0000"}', "u0000"),
        (b'{"\\u0000": 1}', "u0000"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'"\\ud800"', "surrogate"),
        (b"[" * 100_000, "nested"),
        (b'{"a":' * 100_000, "nested"),
        (b"\xff\xfe{}", "UTF-8"),
        (b"{", "column 2 of line 1"),
        (b"", "column 1"),
        (b"{} {}", "Extra data"),
        (b"\xef\xbb\xbf{}", "cannot be read"),
        (json.dumps({str(number): 1 for number in range(MAX_NAMES + 1)}).encode(), "names"),
    ],
)
def test_what_readers_of_json_disagree_on_is_refused(shared: TestClient, body: bytes, said: str) -> None:
    with pytest.raises(TunesmithError, match=said) as raised:
        read_json(body)
    assert raised.value.status in (413, 422)
    if body:
        reply = shared.post("/v1/templates", content=body, headers={"Content-Type": "application/json"})
        assert reply.status_code == raised.value.status
        assert said in error_of(reply).message


@pytest.mark.parametrize(
    "value", [0, -1, 2**63 - 1, -(2**63), 1.5, 5e-324, "\U0001f600", "\\u0000", "é", [], {}, None, True]
)
def test_what_json_holds_is_read(value: Any) -> None:
    for ascii_only in (True, False):
        assert read_json(json.dumps({"a": value}, ensure_ascii=ascii_only).encode()) == {"a": value}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/plain", b'{"spec": {}}'),
        ("application/x-www-form-urlencoded", b"spec=1"),
        ("application/octet-stream", b"\x00\xff"),
        ("application/json; charset=utf-16", b"\xff\xfe{}"),
        ("multipart/form-data; boundary=x", b"--x"),
        ("nonsense", b"{}"),
        ("", b"{}"),
    ],
)
def test_a_body_of_another_kind_is_a_clear_refusal(shared: TestClient, kind: str, body: bytes) -> None:
    for path in ("/v1/tasks", "/v1/templates", "/v1/templates:import", "/v1/datasets"):
        reply = shared.post(path, content=body, headers={"Content-Type": kind})
        assert reply.status_code == 422, (path, reply.text)
        assert error_of(reply).message


def test_a_length_that_is_no_number_is_refused(shared: TestClient) -> None:
    for length in ("-1", "1e3", "9" * 5000, "+1"):
        reply = shared.post("/v1/tasks", content=b"{}", headers={"Content-Length": length})
        assert reply.status_code == 413


@pytest.mark.parametrize(
    "name", [" ", "%20%20", "%08x", "a%00b", "%C2%98", "%ff", "..%2F..", "%5C", "x" * 121]
)
def test_a_path_that_names_nothing_is_a_clear_refusal(shared: TestClient, name: str) -> None:
    """Of each kind of thing; with a body that is right."""
    for method, path, body in (
        ("PATCH", "/v1/templates/{}", {"parameters": {}}),
        ("GET", "/v1/templates/{}", None),
        ("DELETE", "/v1/templates/{}", None),
        ("PATCH", "/v1/models/{}", {"name": "n"}),
        ("GET", "/v1/models/{}", None),
        ("GET", "/v1/datasets/{}", None),
        ("DELETE", "/v1/datasets/{}", None),
        ("GET", "/v1/pipelines/{}", None),
        ("POST", "/v1/pipelines/{}:stop", None),
        ("GET", "/v1/tasks/{}", None),
        ("PATCH", "/v1/tasks/{}", {"notes": ""}),
        ("GET", "/v1/uploads/{}", None),
        ("GET", "/v1/estimates/{}", None),
        ("DELETE", "/v1/webhooks/{}", None),
    ):
        reply = shared.request(method, path.format(name), json=body)
        assert reply.status_code in (404, 405, 422), (method, path, reply.text)
        assert error_of(reply).message
