"""The API over HTTP: shapes, statuses, limits, and that bad input is refused with its place and cure."""

import concurrent.futures
from typing import Any

import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient
from given import MODEL, ROWS, SPEC

from tunesmith.errors import ErrorResponse, IdempotencyConflict, NotFound
from tunesmith.spec.task import NewTrainTask
from tunesmith_platform.scope import Scope


def error_of(reply: Any) -> Any:
    return ErrorResponse.model_validate(reply.json()).error


def test_no_key_no_entry(client: TestClient) -> None:
    assert client.get("/healthz", headers={"Authorization": ""}).status_code == 200
    for headers in (
        {"Authorization": ""},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic eDp5"},
    ):
        reply = client.get("/v1/tasks", headers=headers)
        assert reply.status_code == 401
        assert error_of(reply).hint
        assert reply.headers["WWW-Authenticate"] == "Bearer"


def test_keys_are_stored_hashed(plane: Plane, client: TestClient) -> None:
    assert client.get("/v1/tasks").status_code == 200
    assert plane.api_key.encode() not in plane.home.database.read_bytes()


def test_an_unknown_key_is_refused_with_a_did_you_mean(client: TestClient) -> None:
    reply = client.post("/v1/tasks", json={"spec": SPEC | {"lora_rnk": 8}})
    error = error_of(reply)
    assert (reply.status_code, error.code) == (422, "unknown_field")
    assert error.problems[0].field == "spec.lora_rnk"
    assert error.problems[0].hint == "Did you mean `r`?"
    reply = client.post("/v1/tasks", json={"spec": SPEC, "priorty": 1})
    assert error_of(reply).problems[0].hint == "Did you mean `priority`?"


def test_every_problem_is_named_at_once(client: TestClient) -> None:
    reply = client.post("/v1/tasks", json={"spec": SPEC | {"r": 0, "learning_rate": "fast"}})
    assert {problem.field for problem in error_of(reply).problems} == {"spec.r", "spec.learning_rate"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"spec": 3}', b"\xff\xfe", b'{"spec":' + b"[" * 5000])
def test_a_broken_body_is_a_clear_refusal(client: TestClient, body: bytes) -> None:
    reply = client.post("/v1/tasks", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 422
    assert error_of(reply).message


def test_a_body_over_the_limit_is_refused(client: TestClient, plane: Plane) -> None:
    huge = b"x" * (plane.settings.max_body_bytes + 1)
    assert client.post("/v1/tasks", content=huge).status_code == 413

    def chunks() -> Any:
        for _ in range(40):
            yield huge[: 2**20]

    reply = client.post("/v1/tasks", content=chunks())
    assert reply.status_code == 413
    assert error_of(reply).code == "too_large"


def test_the_same_idempotency_key_makes_one_task(client: TestClient) -> None:
    def post(spec: dict[str, Any] = SPEC) -> Any:
        return client.post("/v1/tasks", json={"spec": spec}, headers={"Idempotency-Key": "k1"})

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: post(), range(16)))
    assert len({reply.json()["id"] for reply in replies}) == 1
    assert sorted(reply.status_code for reply in replies) == [200] * 15 + [201]
    assert error_of(post(SPEC | {"r": 8})).code == "idempotency_conflict"
    assert len(client.get("/v1/tasks").json()["data"]) == 1


def test_pages_are_stable_while_tasks_are_added(client: TestClient) -> None:
    made = [client.post("/v1/tasks", json={"spec": SPEC, "name": f"n{i}"}).json()["id"] for i in range(7)]
    page = client.get("/v1/tasks", params={"limit": 3}).json()
    seen = [task["id"] for task in page["data"]]
    client.post("/v1/tasks", json={"spec": SPEC})
    while page["has_more"]:
        page = client.get("/v1/tasks", params={"limit": 3, "after": page["next"]}).json()
        seen += [task["id"] for task in page["data"]]
    assert seen == list(reversed(made))


def test_lists_are_filtered(client: TestClient) -> None:
    a = client.post(
        "/v1/tasks", json={"spec": SPEC, "name": "Alpha 100%", "tags": ["x"], "project": "p"}
    ).json()["id"]
    b = client.post("/v1/tasks", json={"spec": SPEC, "name": "beta", "tags": ["xy"]}).json()["id"]
    client.post(f"/v1/tasks/{b}:stop")

    def ids(**params: Any) -> list[str]:
        return [task["id"] for task in client.get("/v1/tasks", params=params).json()["data"]]

    assert ids(state="stopped") == [b]
    assert ids(state=["stopped", "pending"]) == [b, a]
    assert ids(name="alpha") == [a]
    assert ids(name="0%") == [a]
    assert ids(name="_") == []
    assert ids(tag="x") == [a]
    assert ids(project="p") == [a]
    assert client.get("/v1/tasks", params={"state": "dead"}).status_code == 422


def test_stop_delete_and_change(client: TestClient) -> None:
    task = client.post("/v1/tasks", json={"spec": SPEC}).json()["id"]
    assert client.delete(f"/v1/tasks/{task}").status_code == 409
    changed = client.patch(f"/v1/tasks/{task}", json={"name": "other", "notes": "n"}).json()
    assert (changed["name"], changed["notes"]) == ("other", "n")
    assert client.patch(f"/v1/tasks/{task}", json={"spec": {}}).status_code == 422, "parameters are frozen"
    assert client.post(f"/v1/tasks/{task}:stop").json()["state"] == "stopped"
    assert client.delete(f"/v1/tasks/{task}").status_code == 204
    assert client.get(f"/v1/tasks/{task}").status_code == 404


def test_notices_say_what_was_mapped_and_what_has_no_effect(client: TestClient) -> None:
    task = client.post(
        "/v1/tasks", json={"spec": {"model": MODEL, "dataset": ROWS, "use_lora": False, "lora_r": 4}}
    )
    notices = " ".join(notice["message"] for notice in task.json()["notices"])
    assert "`model` was read as `model_name_or_path`" in notices
    assert "`r` has no effect" in notices


def test_reports_need_the_attempts_own_token(plane: Plane, client: TestClient) -> None:
    task = plane.running()
    path = f"/v1/tasks/{task.id}/reports"

    def post(token: str, attempt: int = 1) -> Any:
        return client.post(path, json={"attempt": attempt}, headers={"Authorization": f"Bearer {token}"})

    assert post(plane.api_key).status_code == 401
    assert post(plane.token(task, attempt=2)).status_code == 401
    assert post(plane.token(task, attempt=2), attempt=2).status_code == 404
    assert post(plane.token(task)).json() == {
        "last_seq": 1,
        "desired": "run",
        "save_now": 0,
        "early_stop": None,
        "pinned": [],
        "listed": None,
    }
    reader = {"Authorization": f"Bearer {plane.token(task)}"}
    assert client.get(f"{path}/1", headers=reader).json()["last_seq"] == 1


def test_events_logs_metrics_and_checkpoints_are_read_back(plane: Plane, client: TestClient) -> None:
    task = plane.running()
    plane.report(
        task,
        {"kind": "metrics", "step": 1, "values": {"loss": 2.0, "learning_rate": 1e-4}},
        {"kind": "log", "level": "warning", "message": "careful"},
        {"kind": "log", "level": "info", "message": "fine"},
        {"kind": "checkpoint", "step": 1, "uri": "/c", "bytes": 10, "files": 2, "manifest_sha256": "0" * 64},
    )
    at = f"/v1/tasks/{task.id}"
    events = client.get(f"{at}/events", params={"limit": 2}).json()
    assert [event["n"] for event in events["data"]] == [1, 2]
    assert events["next"] == "2"
    assert list(client.get(f"{at}/metrics", params={"name": "loss"}).json()["series"]) == ["loss"]
    assert [line["message"] for line in client.get(f"{at}/logs").json()["data"]] == ["careful", "fine"]
    levels = client.get(f"{at}/logs", params={"level": "warning"}).json()["data"]
    assert [line["message"] for line in levels] == ["careful"]
    (checkpoint,) = client.get(f"{at}/checkpoints").json()["data"]
    assert (checkpoint["name"], checkpoint["bytes"]) == ("checkpoint-1", 10)
    plane.report(task, {"kind": "checkpoint_removed", "step": 1})
    assert client.get(f"{at}/checkpoints").json()["data"] == []


def test_unexpected_errors_have_the_same_shape(
    client: TestClient, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(plane.services.tasks, "get", broken)
    reply = client.get("/v1/tasks/task-1")
    assert reply.status_code == 500
    assert "secret detail" not in reply.text
    assert error_of(reply).fault == "platform"


def test_nonsense_paths_have_the_same_shape(client: TestClient) -> None:
    assert error_of(client.get("/v1/nothing")).code == "not_found"
    assert error_of(client.put("/v1/tasks")).code == "method_not_allowed"
    assert client.get("/v1/tasks/..%2f..%2fetc").status_code in (404, 422)


def test_the_description_is_complete(client: TestClient) -> None:
    """Every endpoint has words, its success and its errors have an example each, and examples fit their schema."""
    schema = client.get("/openapi.json").json()
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            place = f"{method} {path}"
            assert operation.get("description"), place
            codes = set(operation["responses"])
            assert "500" in codes, place
            if path.startswith("/v1"):
                assert ("401" in codes) != path.startswith("/v1/sign-in"), place
            if "{task_id}" in path:
                assert "404" in codes, place
            is_openai = path.startswith("/openai")  # there what cannot be read is a 400
            if operation.get("parameters") or "requestBody" in operation:
                assert is_openai == ("400" in codes), place
            if not is_openai and (operation.get("parameters") or "requestBody" in operation):
                assert "422" in codes, place
            for code, answer in operation["responses"].items():
                if code in {"204", "303"}:
                    continue
                for media in answer["content"].values():
                    assert "example" in media, f"{place} {code}"
            for media in operation.get("requestBody", {}).get("content", {}).values():
                assert "examples" in media or method == "post", place


def test_the_docs_page_needs_no_other_server(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "cdn" not in page
    for source in ("/swagger/swagger-ui-bundle.js", "/swagger/swagger-ui.css"):
        assert source in page
        assert client.get(source).status_code == 200


def test_a_key_is_its_callers_wherever_it_was_used(plane: Plane) -> None:
    """Under other bounds than before, too: what it made then may lie out of sight, and is not made twice."""
    before = Scope(owner="ann", project="a", projects=frozenset("a"))
    after = Scope(owner="ann", project="b", projects=frozenset("b"))
    new = NewTrainTask.model_validate({"spec": SPEC, "project": "a"})
    other = NewTrainTask.model_validate({"spec": SPEC, "project": "a", "name": "other"})
    made, _ = plane.services.tasks.create(before, new, "k")
    with pytest.raises(NotFound):
        plane.services.tasks.create(after, new, "k")
    with pytest.raises(IdempotencyConflict):
        plane.services.tasks.create(after, other, "k")
    again, is_new = plane.services.tasks.create(before, new, "k")
    assert (again.id, is_new) == (made.id, False)
