"""Ready is told from alive: what is sent no calls for a while is not ended for it."""

import argparse
import threading
import time
from typing import Any

import httpx
import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

from tunesmith_platform.controller import probes
from tunesmith_platform.embedded.mlflow_server import arguments, hosts_of


def _away(*_given: Any) -> Any:
    raise OperationalError("SELECT 1", {}, Exception("no route to host"))


def test_a_server_whose_database_is_away_is_alive_and_not_ready(
    plane: Plane, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = {"headers": {"Authorization": ""}}
    assert [client.get(path, **ask).status_code for path in ("/livez", "/readyz", "/healthz")] == [200] * 3
    with monkeypatch.context() as patched:
        patched.setattr(plane.services.database.engine, "connect", _away)
        assert client.get("/livez", **ask).json() == {"status": "ok"}
        reply = client.get("/readyz", **ask)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "database_busy")
    assert client.get("/readyz", **ask).status_code == 200


def test_a_database_that_hangs_holds_up_neither_answer(
    plane: Plane, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks every few seconds must not gather threads that wait."""
    freed = threading.Event()
    waiting = []

    def hang() -> Any:
        waiting.append(1)
        freed.wait(30)
        _away()

    monkeypatch.setattr(plane.services.database.engine, "connect", hang)
    try:
        began = time.monotonic()
        assert [client.get("/readyz").status_code for _ in range(2)] == [503, 503]
        assert client.get("/livez").status_code == 200
        assert time.monotonic() - began < 10
        assert len(waiting) == 1
    finally:
        freed.set()


def test_the_loops_say_whether_they_live_and_whether_they_work() -> None:
    lives, unwell = True, {}
    with (
        probes("127.0.0.1", 0, lambda: lives, lambda: unwell) as port,
        httpx.Client(trust_env=False) as client,
    ):

        def answers() -> list[int]:
            return [
                client.get(f"http://127.0.0.1:{port}{path}").status_code
                for path in ("/livez", "/readyz", "/metrics")
            ]

        assert answers() == [200, 200, 404]
        unwell = {"Reconciler": "stands still for 301 s"}
        assert answers() == [200, 503, 404]
        assert client.get(f"http://127.0.0.1:{port}/readyz").json() == {"loops": unwell}
        lives, unwell = False, {}
        assert answers() == [503, 200, 404]


@pytest.mark.parametrize(
    ("given", "hosts"),
    [
        ([], {"127.0.0.1:5000", "localhost:5000"}),
        (
            ["--allowed-host=mlflow", "--allowed-host=mlflow.ml.svc", "--public-url=https://m.example"],
            {
                "127.0.0.1:5000",
                "localhost:5000",
                "mlflow",
                "mlflow:5000",
                "mlflow.ml.svc",
                "mlflow.ml.svc:5000",
                "m.example",
            },
        ),
    ],
)
def test_mlflow_answers_each_name_with_its_port_and_without(given: list[str], hosts: set[str]) -> None:
    words = ["--port=5000", "--database=d", "--artifacts=a", "--token-file=t", *given]
    read: argparse.Namespace = arguments().parse_args(words)
    assert set(hosts_of(read)) == hosts
