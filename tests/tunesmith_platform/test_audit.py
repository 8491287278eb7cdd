"""Who did what to what is noted with what is done: all of it, once, and nothing that was not done."""

import datetime as dt
from typing import Any

import pytest
from conftest_platform import LOCAL, Plane
from fastapi.testclient import TestClient
from given import SPEC

from tunesmith.errors import DatabaseBusy
from tunesmith_platform.clock import now
from tunesmith_platform.settings import Settings


def entries(client: TestClient, **wanted: Any) -> list[dict[str, Any]]:
    return list(client.get("/v1/audit", params=wanted).json()["data"])


def short(client: TestClient, **wanted: Any) -> list[tuple[str, str, str]]:
    return [(one["who"], one["action"], one["subject"]) for one in entries(client, **wanted)]


def test_each_change_is_noted_with_who_made_it_and_to_what(client: TestClient) -> None:
    made = client.post("/v1/keys", json={"name": "ann"}).json()
    ann = {"Authorization": f"Bearer {made['secret']}"}
    reply = client.post("/v1/tasks", json={"spec": SPEC}, headers=ann)
    task = reply.json()["id"]
    assert client.post(f"/v1/tasks/{task}:stop").status_code == 202
    assert client.post("/v1/projects", json={"name": "search"}).status_code == 201
    assert short(client) == [
        ("local", "make_project", "search"),
        ("local", "stop_task", task),
        ("ann", "create_task", task),
        ("local", "make_key", made["key"]["id"]),
    ]
    (entry,) = entries(client, who="ann")
    assert entry["request_id"] == reply.headers["x-request-id"]
    assert (entry["role"], entry["key_id"], entry["address"]) == ("member", made["key"]["id"], "testclient")
    assert short(client, subject=task, action="stop_task") == [("local", "stop_task", task)]
    assert entries(client, until=(now() - dt.timedelta(hours=1)).isoformat()) == []
    assert client.get("/v1/audit", headers=ann).status_code == 403


def test_what_was_not_done_is_not_noted(client: TestClient) -> None:
    assert client.get("/v1/tasks").status_code == 200
    assert client.post("/v1/tasks:check", json={"spec": SPEC}).status_code == 200
    assert client.post("/v1/tasks", json={"spec": {}}).status_code == 422
    assert client.post("/v1/tasks/task-01k9x:stop").status_code == 404
    assert client.post("/v1/tasks", json={"spec": SPEC}, headers={"Idempotency-Key": "k"}).status_code == 201
    assert client.post("/v1/tasks", json={"spec": SPEC}, headers={"Idempotency-Key": "k"}).status_code == 200
    assert [action for _, action, _ in short(client)] == ["create_task"]


def test_what_was_rolled_back_is_noted_when_it_is_done_again(
    plane: Plane, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, seen = plane.services.tasks, []
    real = tasks.moves.reserve

    def fails_once(*given: Any, **more: Any) -> None:
        seen.append(1)
        if len(seen) == 1:
            raise DatabaseBusy("raced")
        real(*given, **more)

    monkeypatch.setattr(tasks.moves, "reserve", fails_once)
    assert client.post("/v1/tasks", json={"spec": SPEC}).status_code == 503
    assert short(client) == []
    assert client.post("/v1/tasks", json={"spec": SPEC}).status_code == 201
    assert len(short(client)) == 1


def test_what_loops_and_jobs_do_is_nobodys(plane: Plane, client: TestClient) -> None:
    task = plane.running()
    headers = {"Authorization": f"Bearer {plane.token(task)}"}
    report = {"attempt": 1, "events": []}
    assert client.post(f"/v1/tasks/{task.id}/reports", json=report, headers=headers).status_code == 200
    plane.services.tasks.stop(LOCAL, task.id)
    plane.tick()
    assert short(client) == []


def test_old_entries_go(plane: Plane, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.post("/v1/projects", json={"name": "search"}).status_code == 201
    assert plane.services.audit.sweep() == 0
    plane.settings.audit_retention_days = 1e-9
    assert plane.services.audit.sweep() == 1
    assert short(client) == []
    assert Settings(home=plane.home.root).audit_retention_days == 365
