"""`GET /tasks/{id}/rows`: a step leads to its rows, from what the job wrote beside its checkpoints."""

from pathlib import Path

import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient
from given import ROWS

from tunesmith.rows.order import ORDER_FILE, RowOrder

ORDER = RowOrder(42, False, 2, bounds=(0, 1, 3, 4), numbers=(1, 3, 4, 9))


def test_a_step_leads_to_its_rows(plane: Plane, client: TestClient) -> None:
    task = plane.running()
    at = f"/v1/tasks/{task.id}/rows"
    early = client.get(at, params={"step": 1})
    assert early.status_code == 404
    assert "before its first step" in early.json()["error"]["hint"]
    uri = plane.task(task.id).artifact_uri
    assert uri is not None
    Path(uri).mkdir(parents=True, exist_ok=True)
    (Path(uri) / ORDER_FILE).write_bytes(ORDER.encode())
    answers = [client.get(at, params={"step": step}).json() for step in (1, 2, 3, 4)]
    assert [answer["epoch"] for answer in answers] == [0, 0, 1, 1]
    assert sorted(answers[0]["rows"] + answers[1]["rows"]) == [1, 3, 4, 9]
    assert answers[2]["rows"] == answers[0]["rows"]
    assert answers[0]["steps_per_epoch"] == 2
    assert answers[0]["file"] == ROWS


@pytest.mark.parametrize("step", ["0", "-1", "x", ""])
def test_a_step_that_is_none_is_refused(plane: Plane, client: TestClient, step: str) -> None:
    task = plane.running()
    assert client.get(f"/v1/tasks/{task.id}/rows", params={"step": step}).status_code == 422


def test_a_damaged_order_is_none(plane: Plane, client: TestClient) -> None:
    task = plane.running()
    uri = plane.task(task.id).artifact_uri
    assert uri is not None
    Path(uri).mkdir(parents=True, exist_ok=True)
    (Path(uri) / ORDER_FILE).write_bytes(ORDER.encode()[:-1])
    assert client.get(f"/v1/tasks/{task.id}/rows", params={"step": 1}).status_code == 404
