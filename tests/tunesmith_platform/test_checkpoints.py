"""Checkpoints on request, pinned ones, and which is the best: as the event log and the job's receipts tell."""

from typing import Any

import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient


def saved(step: int, **more: Any) -> dict[str, Any]:
    return {
        "kind": "checkpoint",
        "step": step,
        "uri": f"/c/{step}",
        "bytes": 10,
        "files": 2,
        "manifest_sha256": "0" * 64,
    } | more


def test_a_running_task_is_asked_for_a_checkpoint_by_its_next_receipt(
    plane: Plane, client: TestClient
) -> None:
    task = plane.running()
    assert plane.report(task).save_now == 0
    reply = client.post(f"/v1/tasks/{task.id}/checkpoints:save")
    assert (reply.status_code, reply.json()) == (202, {"task_id": task.id, "requests": 1})
    assert plane.report(task).save_now == 1
    client.post(f"/v1/tasks/{task.id}/checkpoints:save")
    assert plane.report(task, saved(3)).save_now == 2


def test_a_task_that_does_not_run_saves_nothing(plane: Plane, client: TestClient) -> None:
    task = plane.submit()
    reply = client.post(f"/v1/tasks/{task.id}/checkpoints:save")
    assert reply.status_code == 409
    assert "pending" in reply.json()["error"]["message"]
    assert client.post("/v1/tasks/task-none/checkpoints:save").status_code == 404


def test_pins_reach_the_job_and_outlive_a_second_report_of_the_checkpoint(
    plane: Plane, client: TestClient
) -> None:
    task = plane.running()
    at = f"/v1/tasks/{task.id}/checkpoints"
    plane.report(task, saved(2), saved(4), saved(6))
    assert client.post(f"{at}/4:pin").json()["is_pinned"]
    assert client.post(f"{at}/2:pin").json()["is_pinned"]
    assert plane.report(task).pinned == [2, 4]
    plane.report(task, saved(4, bytes=11))
    assert {c["step"]: c["is_pinned"] for c in client.get(at).json()["data"]} == {2: True, 4: True, 6: False}
    assert not client.post(f"{at}/2:unpin").json()["is_pinned"]
    assert plane.report(task).pinned == [4]


@pytest.mark.parametrize("verb", ["pin", "unpin"])
def test_a_checkpoint_that_is_not_there_cannot_be_pinned(plane: Plane, client: TestClient, verb: str) -> None:
    task = plane.running()
    reply = client.post(f"/v1/tasks/{task.id}/checkpoints/7:{verb}")
    assert reply.status_code == 404
    assert "step 7" in reply.json()["error"]["message"]
    assert client.post(f"/v1/tasks/{task.id}/checkpoints/x:{verb}").status_code == 422


def test_the_newest_best_is_the_best(plane: Plane, client: TestClient) -> None:
    task = plane.running()
    plane.report(task, saved(2, best=True), saved(4), saved(6, best=True), saved(8))
    listed = client.get(f"/v1/tasks/{task.id}/checkpoints").json()["data"]
    assert {c["step"] for c in listed if c["is_best"]} == {6}
    assert client.get(f"/v1/tasks/{task.id}").json()["progress"]["best_step"] == 6


def test_who_goes_on_may_ask_which_are_listed(plane: Plane) -> None:
    task = plane.running()
    plane.report(task, saved(2), saved(4), saved(6), {"kind": "checkpoint_removed", "step": 2})
    events = plane.services.events
    assert events.received(task.id, 1, 1).listed == [4, 6]
    assert plane.report(task).listed is None, "no report pays for it"
