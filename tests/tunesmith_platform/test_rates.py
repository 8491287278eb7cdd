"""How many calls are taken in a minute: changes by a key, wrong keys by an address; and how large they may be."""

from typing import Any

import pytest
from conftest_platform import Plane
from described_routes import described_routes
from fastapi.testclient import TestClient

from tunesmith.access import Role
from tunesmith.errors import TooManyRequests
from tunesmith.home import Home
from tunesmith_platform import rates
from tunesmith_platform.rates import Rate

CHANGE = {"json": {"spec": {}}}
BODIES = ("POST", "PUT", "PATCH")


class Clock:
    """Seconds that a test says."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def asked(client: TestClient, method: str, path: str, key: str, **more: Any) -> int:
    return client.request(method, path, headers={"Authorization": f"Bearer {key}"}, **more).status_code


def test_a_bucket_holds_a_minutes_worth_and_fills_evenly() -> None:
    clock = Clock()
    rate = Rate(60, "things", "max_things", clock)
    for _ in range(60):
        rate.require("ann")
        rate.add("ann")
    with pytest.raises(TooManyRequests) as error:
        rate.require("ann")
    assert error.value.details["retry_after"] == 1
    rate.require("bob")
    clock.now += 1
    rate.require("ann")
    rate.add("ann")
    with pytest.raises(TooManyRequests):
        rate.require("ann")
    clock.now += 3600
    for _ in range(60):
        rate.require("ann")
        rate.add("ann")
    with pytest.raises(TooManyRequests):
        rate.require("ann")


def test_buckets_do_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "_MOST", 10)
    clock = Clock()
    rate = Rate(1, "things", "max_things", clock)
    for number in range(100):
        clock.now += number % 7
        rate.add(str(number))
        assert len(rate._left) <= 10


def test_a_key_that_changes_too_much_is_told_to_wait_and_others_go_on(home: Home) -> None:
    plane = Plane(home, max_changes_per_minute=3)
    ann, bob = plane.key("ann"), plane.key("bob")
    with TestClient(plane.app, raise_server_exceptions=False) as client:
        codes = [asked(client, "POST", "/v1/templates", ann, json={"name": f"t{n}"}) for n in range(4)]
        assert codes == [201, 201, 201, 429], "each counts once"
        reply = client.delete("/v1/templates/t1", headers={"Authorization": f"Bearer {ann}"})
        assert (reply.status_code, reply.headers["Retry-After"]) == (429, "20")
        assert reply.json()["error"]["retryable"] is True
        assert "max_changes_per_minute" in reply.json()["error"]["hint"]
        said = client.post(
            "/openai/v1/chat/completions", headers={"Authorization": f"Bearer {ann}"}, json={"model": "m"}
        )
        assert (said.status_code, said.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert said.headers["Retry-After"] == "20"
        assert asked(client, "GET", "/v1/tasks", ann) == 200, "reading changes nothing"
        assert asked(client, "POST", "/v1/templates", bob, json={"name": "t9"}) == 201


def test_an_address_that_shows_wrong_keys_is_told_to_wait(home: Home) -> None:
    plane = Plane(home, max_wrong_keys_per_minute=5)
    right = plane.key("ann", Role.VIEWER)
    with TestClient(plane.app, raise_server_exceptions=False) as client:
        assert asked(client, "GET", "/v1/tasks", right) == 200
        paths = ["/v1/tasks", "/v1/stream", "/openai/v1/models", "/metrics", "/v1/keys"]
        assert [asked(client, "GET", path, "ts-wrong") for path in paths] == [401] * 5
        for path in paths:
            reply = client.get(path, headers={"Authorization": "Bearer ts-other"})
            assert (reply.status_code, reply.headers.get("Retry-After")) == (429, "12"), path
        own = {"X-Tunesmith-Studio": "1"}
        for code in ("tsc-wrong", "ts-wrong"):
            headers = own | {"Authorization": f"Bearer {code}"}
            assert client.post("/v1/sessions", headers=headers).status_code == 429
        assert client.get("/v1/tasks").status_code == 401, "who shows nothing is told what is needed"
        # Nobody is kept out for what others behind the same proxy show, also who was never here before.
        assert asked(client, "GET", "/v1/tasks", right) == 200
        assert asked(client, "GET", "/v1/tasks", plane.key("bob", Role.VIEWER)) == 200
        signed_in = client.post("/v1/sessions", headers=own | {"Authorization": f"Bearer {right}"})
        assert signed_in.status_code == 201


def test_a_key_that_was_right_and_is_revoked_is_a_wrong_one(home: Home) -> None:
    plane = Plane(home, max_wrong_keys_per_minute=2)
    key = plane.key("ann", Role.VIEWER)
    with TestClient(plane.app, raise_server_exceptions=False) as client:
        assert asked(client, "GET", "/v1/tasks", key) == 200
        (made,) = (one for one in _keys(client, plane) if one["name"] == "ann")
        assert asked(client, "DELETE", f"/v1/keys/{made['id']}", plane.api_key) == 200
        assert [asked(client, "GET", "/v1/tasks", key) for _ in range(3)] == [401, 401, 429]


def _keys(client: TestClient, plane: Plane) -> list[dict[str, Any]]:
    reply = client.get("/v1/keys", headers={"Authorization": f"Bearer {plane.api_key}"})
    return list(reply.json()["data"])


def test_wrong_links_are_counted_apart_from_keys(home: Home) -> None:
    plane = Plane(home, max_wrong_keys_per_minute=2)
    with TestClient(plane.app, raise_server_exceptions=False) as client:
        codes = [client.get(f"/v1/package-links/a.{n}/model.gguf").status_code for n in range(3)]
        assert codes == [401, 401, 429]
        assert asked(client, "GET", "/v1/tasks", "ts-wrong") == 401


def test_no_route_reads_a_body_over_its_limit(home: Home, tmp_path: Any) -> None:
    """Neither one that says its length nor one that does not; with a right key, and for what asks for none too."""
    plane = Plane(home, max_body_bytes=2**20)
    (tmp_path / "other").mkdir()
    routes = [
        one for one in described_routes(tmp_path / "other") if one.method in BODIES and one.body is not None
    ]
    assert len(routes) > 30
    headers = {"Authorization": f"Bearer {plane.api_key}", "Content-Type": "application/json"}
    with TestClient(plane.app, raise_server_exceptions=False) as client:
        for route in routes:
            for content in (b"x" * (2**20 + 1), iter([b"x" * 2**19] * 3)):
                reply = client.request(
                    route.method, route.asked_path, params=route.query, headers=headers, content=content
                )
                # Jobs and runners show a token of their own, before whose lack nothing is read either.
                assert reply.status_code in (401, 413), (
                    f"{route.name}: {reply.status_code} {reply.text[:200]}"
                )
