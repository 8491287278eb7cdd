"""Calls by names that are not ours, and from pages of other origins: over every route, nothing is answered them."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from conftest_platform import Plane
from described_routes import Route, described_routes
from fastapi.testclient import TestClient
from pydantic import ValidationError

from tunesmith.home import Home
from tunesmith_platform.settings import Settings

PUBLIC = "https://tunesmith.example.org/t"
PAGE = "https://tools.example.org"
BESIDES = ["/", "/studio", "/studio/", "/studio/assets/index.js", "/docs", "/openapi.json", "/nothing"]
"""What no description names: the studio's files, the description and its pages, what is not there."""


def plane_of(home: Home, **more: Any) -> Plane:
    return Plane(
        home, **({"allowed_hosts": [], "public_url": PUBLIC, "api_url": "http://api.internal:8080"} | more)
    )


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> list[Route]:
    return described_routes(tmp_path_factory.mktemp("home"))


@pytest.fixture
def plane(home: Home) -> Iterator[Plane]:
    plane = plane_of(home)
    yield plane
    plane.services.database.close()


@pytest.fixture
def open_plane(home: Home) -> Iterator[Plane]:
    """One that pages of another origin may call."""
    plane = plane_of(home, allowed_hosts=["testserver"], allowed_origins=[PAGE])
    yield plane
    plane.services.database.close()


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8265"])
def test_no_route_answers_a_call_by_another_name(
    plane: Plane,
    client: TestClient,
    described: list[Route],
    host: str,
) -> None:
    """A page whose name was made to lead here is of our origin to its browser: only the name tells."""
    client.headers["Host"] = host
    for route in described:
        reply = route.ask(client, plane.api_key)
        assert reply.status_code == 403, f"{route.name}: {reply.text}"
        assert "not called" in reply.json()["error"]["message"], route.name
        assert ("fault" in reply.json()["error"]) != route.path.startswith("/openai"), "each in its own form"
    for path in BESIDES:
        assert client.get(path).status_code == 403, path


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8265",
        "LOCALHOST.",
        "127.0.0.1:1",
        "[::1]:8265",
        "10.1.2.3:8080",
        "tunesmith.example.org",
        "Tunesmith.Example.org:443",
        "api.internal:8080",
    ],
)
def test_our_own_names_and_plain_addresses_are_answered(client: TestClient, host: str) -> None:
    """Who looks whether a pod lives, and who scrapes it, calls it by its address."""
    for path in ("/healthz", "/v1/tasks", "/openai/v1/models", "/metrics"):
        assert client.get(path, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["", " ", "evil.example@localhost", "[::1", "localhost/evil", "*"])
def test_what_is_no_name_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/v1/tasks", headers={"Host": host}).status_code == 403


def test_further_names_are_set(home: Home) -> None:
    for hosts, asked, status in (
        (["GPU-box"], "gpu-box:8265", 200),
        (["gpu-box"], "other-box", 403),
        (["*"], "other-box", 200),
    ):
        plane = plane_of(home, allowed_hosts=hosts)
        with TestClient(plane.app) as client:
            assert client.get("/healthz", headers={"Host": asked}).status_code == status


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("allowed_hosts", "http://gpu-box"),
        ("allowed_hosts", "gpu-box:80"),
        ("allowed_hosts", "*.example.org"),
        ("allowed_origins", "*"),
        ("allowed_origins", "null"),
        ("allowed_origins", "https://tools.example.org/"),
        ("allowed_origins", "tools.example.org"),
    ],
)
def test_what_is_no_name_and_no_origin_is_not_set(home: Home, field: str, value: str) -> None:
    with pytest.raises(ValidationError, match=field):
        Settings(home=home.root, **{field: [value]})


def preflight(client: TestClient, path: str, origin: str, method: str = "POST") -> httpx.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    return client.options(path, headers=headers)  # type: ignore[return-value]


def cors(reply: Any) -> dict[str, str]:
    return {name: value for name, value in reply.headers.items() if name.startswith("access-control")}


def test_as_it_comes_no_page_of_another_origin_reads_anything(
    home: Home,
    described: list[Route],
) -> None:
    plane = plane_of(home, allowed_hosts=["testserver"])
    with TestClient(plane.app, raise_server_exceptions=False, headers={"Origin": PAGE}) as client:
        for route in described:
            assert cors(route.ask(client, "ts-wrong")) == {}, route.name
        for path in [*BESIDES, "/v1/tasks", "/openai/v1/chat/completions"]:
            assert cors(client.get(path)) == {}, path
            assert cors(preflight(client, path, PAGE)) == {}, path


def test_an_origin_that_is_named_calls_with_a_key_and_others_do_not(open_plane: Plane) -> None:
    key = {"Authorization": f"Bearer {open_plane.api_key}"}
    with TestClient(open_plane.app) as client:
        for path in ("/v1/tasks", "/openai/v1/models", "/openai/v1/chat/completions", "/v1/nothing"):
            allowed = preflight(client, path, PAGE)
            assert (allowed.status_code, cors(allowed)["access-control-allow-origin"]) == (200, PAGE)
            assert "authorization" in cors(allowed)["access-control-allow-headers"].lower()
            assert "access-control-allow-credentials" not in cors(allowed)
            for stranger in (
                "https://evil.example",
                "null",
                f"{PAGE}.evil.example",
                "http://tools.example.org",
            ):
                assert "access-control-allow-origin" not in cors(preflight(client, path, stranger))
        for path, status in (("/v1/tasks", 200), ("/v1/tasks/task-none", 404), ("/openai/v1/models", 200)):
            reply = client.get(path, headers={"Origin": PAGE} | key)
            assert (reply.status_code, cors(reply)["access-control-allow-origin"]) == (status, PAGE)
            assert "X-Request-Id" in cors(reply)["access-control-expose-headers"]
            stranger = client.get(path, headers={"Origin": "https://evil.example"} | key)
            assert "access-control-allow-origin" not in cors(stranger)


def test_a_session_counts_for_no_page_elsewhere_also_where_it_may_call(open_plane: Plane) -> None:
    with TestClient(open_plane.app, base_url="https://testserver") as browser:
        own = {"Authorization": f"Bearer {open_plane.api_key}", "X-Tunesmith-Studio": "1"}
        assert browser.post("/v1/sessions", headers=own).status_code == 201
        assert browser.get("/v1/tasks").status_code == 200
        for origin in (PAGE, "https://evil.example"):
            for path in ("/v1/tasks", "/v1/stream", "/openai/v1/models"):
                assert browser.get(path, headers={"Origin": origin}).status_code == 403
