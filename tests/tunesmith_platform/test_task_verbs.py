"""Clone, continue, new stage, compare, rename: over HTTP, with fake jobs, one step at a time."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL, Plane
from ended_tasks import SPEC, end, ended, error_of, folder, look_at_little, saved
from fastapi.testclient import TestClient
from given import MODEL

from tunesmith.lifecycle import ENDS, Reason, State, may_move
from tunesmith.views import TaskView
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.scope import INSTALLATION
from tunesmith_platform.tasks import repository


@pytest.fixture(autouse=True)
def _look_at_little(plane: Plane) -> None:
    """What tasks are given has tests of its own."""
    look_at_little(plane)


# --- change


def test_a_priority_means_something_while_a_task_waits(plane: Plane, client: TestClient) -> None:
    task = plane.submit()
    path = f"/v1/tasks/{task.id}"
    assert client.patch(path, json={"priority": 5, "name": "urgent"}).json()["priority"] == 5
    said = [
        event.payload.message for event in plane.services.events.page(LOCAL, task.id, 0, 10, ["log"]).data
    ]
    assert any("`urgent`" in line for line in said)
    client.post(f"{path}:stop")
    refused = client.patch(path, json={"priority": 6})
    assert (refused.status_code, error_of(refused).code) == (409, "conflict")
    assert client.patch(path, json={"priority": 5, "tags": ["x"], "notes": "n"}).json()["tags"] == ["x"]


# --- clone


def test_a_clone_has_the_same_parameters_but_those_that_are_changed(plane: Plane, client: TestClient) -> None:
    source = plane.submit(name="n" * 118, tags=["a"], notes="why", project="p", spec={"use_lora": False})
    same = client.post(f"/v1/tasks/{source.id}:clone").json()
    assert same["spec"] == source.spec
    assert same["name"] == "n" * 113 + " (copy)"
    assert (same["tags"], same["notes"], same["project"]) == (["a"], "why", "p")
    assert (same["parent_id"], same["parent_step"], same["state"]) == (source.id, None, "pending")
    body = {"name": "other", "tags": [], "spec": {"lora_r": 4, "use_lora": True}}
    changed = client.post(f"/v1/tasks/{source.id}:clone", json=body).json()
    different = {key for key, value in changed["spec"].items() if value != source.spec[key]}
    assert {"r", "use_lora", "learning_rate"} >= different >= {"r", "use_lora"}, "defaults follow"
    assert (changed["name"], changed["tags"]) == ("other", [])
    assert client.post("/v1/tasks/task-0none:clone").status_code == 404
    unknown = client.post(f"/v1/tasks/{source.id}:clone", json={"spec": {"lora_rnk": 4}})
    assert error_of(unknown).problems[0].hint == "Did you mean `r`?"


def test_a_clone_is_made_once_for_a_key(plane: Plane, client: TestClient) -> None:
    source = plane.submit()
    headers = {"Idempotency-Key": "k"}
    first = client.post(f"/v1/tasks/{source.id}:clone", headers=headers)
    again = client.post(f"/v1/tasks/{source.id}:clone", headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    other = client.post(f"/v1/tasks/{source.id}:clone", json={"name": "x"}, headers=headers)
    assert error_of(other).code == "idempotency_conflict"


# --- output folders


def test_one_task_at_a_time_writes_into_a_folder(plane: Plane, client: TestClient) -> None:
    body = {"spec": SPEC | {"output_dir": "/out"}}
    first = client.post("/v1/tasks", json=body).json()["id"]
    refused = client.post("/v1/tasks", json=body)
    assert (refused.status_code, error_of(refused).code) == (409, "conflict")
    assert first in error_of(refused).message
    clone = client.post(f"/v1/tasks/{first}:clone").json()
    assert clone["spec"]["output_dir"] is None
    assert "output_dir" in [notice["field"] for notice in clone["notices"]]
    client.post(f"/v1/tasks/{first}:stop")
    second = client.post("/v1/tasks", json=body)
    assert second.status_code == 201
    assert client.post(f"/v1/tasks/{first}:continue").status_code == 409


# --- continue


@pytest.mark.parametrize("reason", [Reason.STOPPED_BY_USER, Reason.OUT_OF_MEMORY])
def test_an_ended_task_goes_on_as_the_same_task(plane: Plane, client: TestClient, reason: Reason) -> None:
    task = ended(plane, reason)
    plane.mirror.tick()
    run = plane.tracking.runs[f"run-{task.id}"]
    assert run.status != "RUNNING"
    reply = client.post(f"/v1/tasks/{task.id}:continue")
    assert reply.status_code == 202
    going = TaskView.model_validate(reply.json())
    assert (going.state, going.reason, going.ended_at) == (State.PENDING, None, None)
    assert "at step 5" in going.message
    assert going.spec == task.spec
    plane.tick()
    document = json.loads(Path(plane.jobs.documents[f"{task.id}-2"]).read_text())
    assert document["artifact_uri"] == task.artifact_uri, "where its checkpoints are"
    plane.job(task, JobStatus.RUNNING, 2)
    plane.tick()
    plane.report(task, {"kind": "training_started", "step": 5, "total_steps": 10}, attempt=2)
    plane.mirror.tick()
    assert run.status == "RUNNING"
    plane.report(task, {"kind": "metrics", "step": 6, "values": {"loss": 0.5}}, attempt=2)
    saved(plane, task, 10, attempt=2)
    end(plane, task, attempt=2)
    plane.mirror.tick()
    assert run.status == "FINISHED"
    assert sorted(point.step for point in run.points if point.name == "loss") == [5, 6]
    loss = plane.services.series.metrics(LOCAL, task.id, ["loss"]).series["loss"]
    assert [(point.step, point.attempt) for point in loss] == [(5, 1), (6, 2)]
    states = [e.payload.state for e in plane.services.events.page(LOCAL, task.id, 0, 100, ["state"]).data]
    assert states[-3:] == [State.PENDING, State.RUNNING, State.COMPLETED]
    assert plane.task(task.id).attempt == 2


@pytest.mark.parametrize(
    ("spec", "more", "status", "words"),
    [
        ({}, {}, 409, "new stage"),
        ({}, {"num_train_epochs": 2}, 422, "more than"),
        ({}, {"max_steps": 10}, 422, "more than"),
        ({}, {"max_steps": 20, "num_train_epochs": 4}, 422, "one of them"),
        ({"max_steps": 10}, {"num_train_epochs": 4}, 422, "max_steps"),
        ({}, {"learning_rate": 1e-3}, 422, ""),
        ({}, {"max_steps": 20}, 202, ""),
        ({}, {"num_train_epochs": 4}, 202, ""),
        ({"max_steps": 10}, {"max_steps": 11}, 202, ""),
    ],
)
def test_a_completed_task_needs_more_steps(
    plane: Plane, client: TestClient, spec: dict[str, Any], more: dict[str, Any], status: int, words: str
) -> None:
    task = ended(plane, spec=spec)
    reply = client.post(f"/v1/tasks/{task.id}:continue", json=more)
    assert reply.status_code == status, reply.text
    if status == 202:
        assert reply.json()["spec"] == task.spec | more
    else:
        assert words in reply.text
        assert plane.task(task.id) == task


def test_only_what_is_over_can_be_continued(plane: Plane, client: TestClient) -> None:
    task = plane.running()
    assert client.post(f"/v1/tasks/{task.id}:continue").status_code == 409
    waiting = plane.submit()
    assert client.post(f"/v1/tasks/{waiting.id}:continue").status_code == 409
    client.post(f"/v1/tasks/{waiting.id}:stop")
    going = client.post(f"/v1/tasks/{waiting.id}:continue").json()
    assert (going["state"], going["attempt"]) == ("pending", 0)


def test_a_continued_task_can_be_stopped_and_deleted_as_any_other(plane: Plane, client: TestClient) -> None:
    task = ended(plane, Reason.STOPPED_BY_USER)
    client.post(f"/v1/tasks/{task.id}:continue")
    assert client.delete(f"/v1/tasks/{task.id}").status_code == 409
    stopped = client.post(f"/v1/tasks/{task.id}:stop").json()
    assert (stopped["state"], stopped["reason"]) == ("stopped", "stopped_by_user")
    plane.tick()
    assert plane.task(task.id).state is State.STOPPED, "a stop holds until its user says otherwise"
    client.post(f"/v1/tasks/{task.id}:continue")
    client.post(f"/v1/tasks/{task.id}:stop")
    assert client.delete(f"/v1/tasks/{task.id}").status_code == 204


def test_attempts_before_do_not_count_as_restarts(plane: Plane, client: TestClient) -> None:
    task = ended(plane, Reason.STOPPED_BY_USER, spec={"max_restarts": 1})
    client.post(f"/v1/tasks/{task.id}:continue")
    plane.tick()
    plane.job(task, JobStatus.FAILED, 2)
    plane.tick()
    assert plane.task(task.id).state is State.PENDING, "its one restart"
    with plane.services.database.write() as session:
        repository.locked(session, INSTALLATION, task.id).retry_at = None
    plane.tick()
    plane.job(task, JobStatus.FAILED, 3)
    plane.tick()
    assert plane.task(task.id).state is State.FAILED


def test_what_a_stopped_task_may_do_next_is_so_without_a_checkpoint_too(
    plane: Plane, client: TestClient
) -> None:
    task = plane.running()
    end(plane, task, Reason.STOPPED_BY_USER)
    stopped = client.get(f"/v1/tasks/{task.id}").json()
    assert "from the start where it has none" in stopped["next_step"]
    goes_on = client.post(f"/v1/tasks/{task.id}:continue").json()
    assert "from the start: it has no checkpoint" in goes_on["message"]


def test_late_reports_of_the_attempt_before_are_refused(plane: Plane, client: TestClient) -> None:
    from tunesmith.errors import StaleAttempt

    task = ended(plane, Reason.STOPPED_BY_USER)
    client.post(f"/v1/tasks/{task.id}:continue")
    for _ in range(2):
        with pytest.raises(StaleAttempt):
            plane.report(task, {"kind": "metrics", "step": 9, "values": {"loss": 0.1}}, attempt=1)
        plane.tick()


def test_there_is_one_way_back() -> None:
    for state in State:
        for target in State:
            assert may_move(state, target, is_continued=True) == (state in ENDS and target is State.PENDING)
            assert not (state in ENDS and may_move(state, target))


# --- new stage


def test_a_stage_of_a_lora_attaches_the_checkpoint(plane: Plane, client: TestClient) -> None:
    parent = ended(plane, name="first", tags=["a"], spec={"r": 4, "output_dir": "/out"})
    body = {"name": "second", "spec": {"train_file": "/more", "learning_rate": 1e-5}}
    reply = client.post(f"/v1/tasks/{parent.id}:new-stage", json=body)
    assert reply.status_code == 201, reply.text
    stage = reply.json()
    place = f"{parent.artifact_uri}/checkpoints/checkpoint-10"
    assert (stage["spec"]["attach_lora_path"], stage["spec"]["attach_lora"]) == (place, True)
    assert stage["spec"]["model_name_or_path"] == MODEL, "the same base"
    assert (stage["spec"]["train_file"], stage["spec"]["learning_rate"]) == ("/more", 1e-5)
    assert stage["spec"]["output_dir"] is None
    assert (stage["parent_id"], stage["parent_step"], stage["name"]) == (parent.id, 10, "second")
    assert client.post(f"/v1/tasks/{parent.id}:new-stage", json={"step": 7}).status_code == 404
    clash = client.post(f"/v1/tasks/{parent.id}:new-stage", json={"spec": {"attach_lora_path": "/x"}})
    assert clash.status_code == 422
    nothing = client.post(f"/v1/tasks/{stage['id']}:new-stage")
    assert (nothing.status_code, "no checkpoint yet" in nothing.text) == (404, True)


def test_a_stage_of_a_stage_attaches_the_newer_checkpoint(plane: Plane, client: TestClient) -> None:
    first = ended(plane)
    second = client.post(f"/v1/tasks/{first.id}:new-stage").json()["id"]
    plane.tick()
    plane.job(plane.task(second), JobStatus.RUNNING)
    plane.tick()
    place = saved(plane, plane.task(second), 3)
    end(plane, plane.task(second))
    third = client.post(f"/v1/tasks/{second}:new-stage").json()
    assert third["spec"]["attach_lora_path"] == str(place)


def test_a_stage_of_all_weights_starts_from_them(plane: Plane, client: TestClient) -> None:
    parent = plane.running(spec={"use_lora": False})
    early, last = saved(plane, parent, 5), saved(plane, parent, 10)
    model = folder(plane, parent, "model")
    early_stage = client.post(f"/v1/tasks/{parent.id}:new-stage").json()["spec"]
    assert early_stage["model_name_or_path"] == str(last)
    end(plane, parent, model_uri=str(model))
    for step, place in ((None, model), (10, model), (5, early)):
        body = {} if step is None else {"step": step}
        spec = client.post(f"/v1/tasks/{parent.id}:new-stage", json=body).json()["spec"]
        assert spec["model_name_or_path"] == str(place)
        assert spec["use_lora"] is False


# --- compare


def test_a_diff_names_what_differs(plane: Plane, client: TestClient) -> None:
    a, b = plane.submit(spec={"r": 4}), plane.submit(spec={"r": 8, "max_steps": 5})
    found = client.get("/v1/tasks:diff", params={"a": a.id, "b": b.id}).json()
    assert {item["name"]: (item["a"], item["b"]) for item in found["differences"]} == {
        "r": (4, 8),
        "max_steps": (-1, 5),
    }
    assert all(item["label_en"] and item["label_zh"] for item in found["differences"])
    assert (found["a"]["id"], found["b"]["id"]) == (a.id, b.id)
    assert client.get("/v1/tasks:diff", params={"a": a.id, "b": a.id}).json()["differences"] == []
    assert client.get("/v1/tasks:diff", params={"a": a.id, "b": "task-0none"}).status_code == 404
    assert client.get("/v1/tasks:diff", params={"a": a.id}).status_code == 422
