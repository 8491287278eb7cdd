"""A NUL in an address: SQLite takes it for a character, PostgreSQL for an error; whoever sends one is told."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest_platform import TIME, Plane
from fastapi.testclient import TestClient

from tunesmith.home import Home
from tunesmith.lifecycle import State
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.backends.ray_jobs import RayJobs
from tunesmith_platform.db.engine import storable

LIVE = {"/v1/stream", "/v1/tasks/{task_id}/stream"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Iterator[tuple[Plane, TestClient]]:
    home = Home(tmp_path_factory.mktemp("nul") / "home")
    home.create()
    plane = Plane(home, database_url=postgres_url)
    with TestClient(plane.app, raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {plane.api_key}"
        yield plane, client


def places(description: dict[str, Any], task_id: str) -> Iterator[tuple[str, str]]:
    """A call for every text in the address of every call, which holds a NUL; twice there, the first one."""
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            good = {}
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path":
                    is_number = parameter["schema"].get("type") == "integer"
                    of_task = task_id if parameter["name"] == "task_id" else "task-1"
                    good[parameter["name"]] = "1" if is_number else of_task
            for name in good:
                yield method, path.format(**good | {name: "task-%00"})
            whole = path.format(**good)
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "query" and path not in LIVE:
                    yield method, f"{whole}?{parameter['name']}=a%00b"
                    yield method, f"{whole}?{parameter['name']}=a%00b&{parameter['name']}=a"


def test_a_nul_in_an_address_is_no_fault_of_ours(api: tuple[Plane, TestClient]) -> None:
    plane, client = api
    task = plane.submit()
    calls = list(places(plane.app.openapi(), task.id))
    assert len(calls) > 100
    answers = {call: client.request(call[0], call[1]).status_code for call in calls}
    client.post(f"/v1/tasks/{task.id}:stop")  # the next tests' have its place
    assert {call: status for call, status in answers.items() if status >= 500} == {}


def test_a_job_that_prints_a_nul_is_heard_all_the_same(api: tuple[Plane, TestClient]) -> None:
    plane, client = api
    task = plane.running()
    said = ["a\x00b", "\x00\x00", "\\\x00", "a\\u0000b"]
    payloads = [{"kind": "log", "level": "info", "source": "driver", "message": text} for text in said]
    end = {"kind": "finished", "outcome": "failed", "reason": "user_code", "message": "a\x00b"}
    report = {
        "attempt": 1,
        "events": [
            {"seq": seq, "time": TIME.isoformat(), "payload": payload}
            for seq, payload in enumerate([*payloads, end], start=2)
        ],
    }
    headers = {"Authorization": f"Bearer {plane.token(task)}"}
    answer = client.post(f"/v1/tasks/{task.id}/reports", json=report, headers=headers)
    assert (answer.status_code, answer.json().get("last_seq")) == (200, 6), answer.text
    heard = [line["message"] for line in client.get(f"/v1/tasks/{task.id}/logs").json()["data"]]
    assert heard == ["a\ufffdb", "\ufffd\ufffd", "\\\ufffd", "a\\u0000b"], "what only looks like one stays"
    plane.job(task, JobStatus.FAILED)
    plane.tick()
    assert plane.task(task.id).message == "a\ufffdb"


def test_a_job_whose_log_ends_in_a_nul_comes_to_an_end(
    api: tuple[Plane, TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray hands on what the job printed; a task that cannot be closed would be tried for ever."""
    plane, client = api
    task = plane.running(spec={"max_restarts": 0})
    monkeypatch.setattr(plane.jobs, "log_tail", lambda *_: "last\x00words")
    plane.job(task, JobStatus.FAILED)
    plane.tick()
    assert plane.task(task.id).state is State.FAILED
    lines = client.get(f"/v1/tasks/{task.id}/logs").json()["data"]
    assert lines[-1]["message"] == "last\ufffdwords"


def test_ray_says_nothing_that_cannot_be_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"status": "RUNNING", "message": "a\x00b"}
    ray = RayJobs("http://127.0.0.1:1", tmp_path / "token")
    monkeypatch.setattr(ray, "_call", lambda *_, **__: httpx.Response(200, json=facts))
    assert ray.observe("task-1-1").message == "a\ufffdb"
    facts = {"status": "RUNNING", "message": "a\ud800b", "logs": "a\x00\udc80b"}
    monkeypatch.setattr(
        ray, "_call", lambda *_, **__: httpx.Response(200, content=json.dumps(facts).encode())
    )
    assert ray.observe("task-1-1").message == "a?b"
    assert ray.log_tail("task-1-1", 9) == "a\ufffd?b"


def test_json_loses_its_nuls_and_nothing_that_looks_like_one() -> None:
    value = {"a\x00": ["\x00\x00", "\\\x00", "a\\u0000b", "文\\\\"]}
    found = json.loads(storable(json.dumps(value, ensure_ascii=False)))
    assert found == {"a\ufffd": ["\ufffd\ufffd", "\\\ufffd", "a\\u0000b", "文\\\\"]}
