"""What is told of tasks afterwards, and of the platform: gauges, autopsy, the log in full, its retention."""

import json
import re
from pathlib import Path
from typing import Any

from conftest_platform import LOCAL, TIME, Plane
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from tunesmith.autopsy import Autopsy
from tunesmith.errors import Fault
from tunesmith.lifecycle import REASONS, Reason, State
from tunesmith.views import TaskView
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.monitoring.gauges import BY_STATE, BY_WORKER, GAUGES

DASHBOARD = Path(__file__).resolve().parents[2] / "infra" / "dashboards" / "tunesmith.json"


def gauges(text: str) -> dict[tuple[str, str], float]:
    """The samples by name and state."""
    return {
        (sample.name, sample.labels.get("state", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def log(message: str, source: str = "worker-0", level: str = "info") -> dict[str, Any]:
    return {"kind": "log", "level": level, "source": source, "message": message}


def saved(step: int) -> dict[str, Any]:
    sums = {"bytes": 7, "files": 1, "manifest_sha256": "0" * 64}
    return {"kind": "checkpoint", "step": step, "uri": f"/c/{step}"} | sums


def failed(plane: Plane, reason: str = "out_of_memory") -> TaskView:
    """A task whose two workers fell at step 7, with a checkpoint at 5."""
    task = plane.running()
    for step in range(1, 8):
        plane.report(
            task,
            {"kind": "metrics", "step": step, "values": {"loss": 2.0, "memory_bytes": 1e9 * step}},
            {"kind": "progress", "step": step, "total_steps": 10},
        )
    plane.report(task, saved(5), log("the end", "worker-1", "error"), log("oh", level="error"))
    plane.report(task, {"kind": "finished", "outcome": "failed", "reason": reason, "message": "2 GiB short."})
    plane.job(task, JobStatus.FAILED)
    plane.tick()
    assert plane.task(task.id).state is State.FAILED
    return plane.task(task.id)


def test_the_gauges_say_what_there_is(plane: Plane, client: TestClient) -> None:
    task = failed(plane)
    plane.submit()
    found = gauges(client.get("/metrics").text)
    assert found["tunesmith_tasks", "failed"] == 1
    assert found["tunesmith_tasks", "pending"] == 1
    assert found["tunesmith_tasks", "running"] == 0, "a state without tasks is there too"
    assert found["tunesmith_queue_length", ""] == 1
    assert 0 < found["tunesmith_queue_age_seconds", ""] < 60
    assert found["tunesmith_checkpoints", ""] == 1
    assert found["tunesmith_checkpoint_bytes", ""] == 7
    assert found["tunesmith_events", ""] == plane.task(task.id).events + 1
    assert found["tunesmith_ingest_lag_seconds", ""] >= 0
    assert ("tunesmith_reconcile_seconds", "") not in found, "this process runs no reconciler"


def test_the_gauges_need_a_key_or_a_setting(plane: Plane) -> None:
    with TestClient(plane.app, client=("127.0.0.1", 1)) as near:
        far = TestClient(plane.app, client=("10.1.2.3", 1))  # an app begins once
        assert near.get("/metrics").status_code == 401
        assert near.get("/metrics", headers={"Authorization": f"Bearer {plane.api_key}"}).status_code == 200
        plane.settings.metrics_open_to_loopback = True
        assert near.get("/metrics").status_code == 200
        assert near.get("/metrics", headers={"X-Forwarded-For": "8.8.8.8"}).status_code == 401
        assert far.get("/metrics").status_code == 401


def test_the_dashboard_shows_gauges_that_exist() -> None:
    board = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    names = {name for expr in asked for name in re.findall(r"tunesmith_\w+", expr)}
    assert names == {*GAUGES, *BY_STATE, *BY_WORKER}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_an_autopsy_names_cause_fault_last_words_and_the_next_step(plane: Plane, client: TestClient) -> None:
    task = failed(plane)
    found = Autopsy.model_validate(client.get(f"/v1/tasks/{task.id}/autopsy").json())
    facts = REASONS[Reason.OUT_OF_MEMORY]
    assert (found.cause, found.fault, found.next_step) == (facts.words, Fault.USER, facts.next_step)
    assert "2 GiB short." in found.message
    assert {worker.source: [line.message for line in worker.lines] for worker in found.workers} == {
        "worker-0": ["oh"],
        "worker-1": ["the end"],
    }
    assert found.last_checkpoint is not None
    assert (found.last_step, found.last_checkpoint.step, found.steps_lost) == (7, 5, 2)
    assert [point.value for point in found.memory] == [1e9 * step for step in range(1, 8)]
    assert found.peak_memory_bytes == 7e9
    assert [(attempt.number, attempt.reason) for attempt in found.attempts] == [(1, Reason.OUT_OF_MEMORY)]
    assert found.restarts == 0
    assert client.get("/v1/tasks/task-0/autopsy").status_code == 404


def test_an_autopsy_counts_restarts_and_waits_for_no_end(plane: Plane) -> None:
    task = plane.running(spec={"max_restarts": 2})
    del plane.jobs.jobs[f"{task.id}-1"]
    plane.tick()
    found = plane.services.monitoring.autopsy(LOCAL, task.id)
    assert (found.restarts, found.reason, found.fault) == (1, None, None)
    assert [warning.code for warning in found.warnings] == ["restart"]
    assert found.attempts[0].outcome is None, "it fell silent"


def test_a_log_is_searched_page_by_page(plane: Plane, client: TestClient) -> None:
    task = plane.running()
    plane.report(
        task,
        *(log(f"Line {i} 100%", f"worker-{i % 2}", "error" if i % 5 == 0 else "info") for i in range(20)),
    )
    plane.report(task, log("Übung 名字"))

    def search(**query: Any) -> list[str]:
        found, after = [], 0
        while True:
            reply = client.get(
                f"/v1/tasks/{task.id}/logs:search", params={"limit": 3, "after": after, **query}
            )
            assert reply.status_code == 200, reply.text
            page = reply.json()
            found += [line["message"] for line in page["data"]]
            if not page["has_more"]:
                return found
            after = int(page["next"])

    assert len(search()) == 21
    assert search(q="LINE 1") == ["Line 1 100%", *(f"Line {i} 100%" for i in range(10, 20))]
    assert len(search(q="0%")) == 20
    assert search(q="_") == []
    assert search(q="übung") == ["Übung 名字"]
    assert search(level="error", source="worker-0") == ["Line 0 100%", "Line 10 100%"]
    assert search(until=TIME.isoformat()) == []
    assert len(search(since=TIME.isoformat())) == 21
    assert client.get(f"/v1/tasks/{task.id}/logs:search", params={"since": "2026-01-01"}).status_code == 422


def test_a_log_is_downloaded_as_text(plane: Plane, client: TestClient) -> None:
    task = plane.running()
    for start in range(0, 5000, 1000):  # more than one part
        plane.report(task, *(log(f"line {start + i}") for i in range(1000)))
    reply = client.get(f"/v1/tasks/{task.id}/logs:download")
    assert reply.headers["Content-Disposition"] == f'attachment; filename="{task.id}.log"'
    lines = reply.text.splitlines()
    assert [line.split("  ")[-1] for line in lines] == [f"line {i}" for i in range(5000)]
    assert lines[0] == "2026-11-21T00:00:00.000+00:00 info    worker-0  line 0"
    only = client.get(f"/v1/tasks/{task.id}/logs:download", params={"q": "line 4999"})
    assert len(only.text.splitlines()) == 1
    assert client.get("/v1/tasks/task-0/logs:download").status_code == 404
