"""Operations on data sets as tasks: listed, reported, stopped and done again like any, and their rows become versions.

The rows are worked on for real: what Ray would start is called here.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL, Plane
from data_jobs import carry_out, waiting
from fastapi.testclient import TestClient
from model_files import make_model_folder
from served import served
from sqlalchemy import update

from tunesmith.lifecycle import State
from tunesmith.spec.task import NewDataTask
from tunesmith_platform.backends.protocols import ATTEMPT, JobStatus
from tunesmith_platform.db.tables import DatasetRow, TaskRow


@pytest.fixture
def rows(plane: Plane) -> Path:
    """A file in a folder that may be read."""
    folder = plane.home.models / "data"
    folder.mkdir()
    file = folder / "support.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"p{n}", "response": "r" * n}) + "\n" for n in range(1, 9)))
    return file


def run(client: TestClient, operation: str, status: int = 201, **body: Any) -> Any:
    headers = {"Idempotency-Key": body.pop("key")} if "key" in body else {}
    parameters = body.pop("parameters")
    reply = client.post(
        "/v1/datasets:run", json={"operation": operation, "parameters": parameters} | body, headers=headers
    )
    assert reply.status_code == status, reply.text
    return reply.json()


def done(plane: Plane, client: TestClient, task: dict[str, Any]) -> Any:
    plane.tick()
    for job in waiting(plane):
        carry_out(plane, job)
    plane.tick()
    return client.get(f"/v1/tasks/{task['id']}").json()


def test_a_filter_is_a_task_whose_rows_become_a_version(plane: Plane, client: TestClient, rows: Path) -> None:
    client.post("/v1/datasets", json={"source": str(rows)})
    made = run(client, "filter", parameters={"dataset": "support", "condition": "len(response) > 5"})
    assert (made["kind"], made["state"], made["spec"]["dataset"]) == ("dataset", "pending", "support@1")
    assert client.delete("/v1/datasets/support").status_code == 409, "it reads it"
    plane.tick()
    job = f"{made['id']}-1"
    assert plane.jobs.programs[job] == ATTEMPT
    assert plane.tracking.runs == {}, "no run of MLflow"
    ended = done(plane, client, made)
    assert (ended["state"], ended["datasets"]) == ("completed", ["support-filter@1"])
    assert (ended["progress"]["step"], ended["progress"]["percent"]) == (3, 100)
    version = client.get("/v1/datasets/support-filter").json()["versions"][0]
    assert (version["rows"], version["kind"], version["is_copied"]) == (3, "pair", True)
    assert version["lineage"] == {
        "task_id": made["id"],
        "operation": "filter",
        "parameters": {"dataset": "support@1", "condition": "len(response) > 5"},
        "sources": ["support@1"],
        "parts": [],
    }
    file = plane.services.datasets.find(LOCAL, "support-filter").path
    assert len(file.read_text().splitlines()) == 3
    kinds = [
        event["payload"]["kind"] for event in client.get(f"/v1/tasks/{made['id']}/events").json()["data"]
    ]
    assert kinds == ["state", "log", "dataset_made", "progress", "finished", "state", "state"]
    assert [task["id"] for task in client.get("/v1/tasks?kind=dataset").json()["data"]] == [made["id"]]
    same = run(client, "filter", parameters={"dataset": "support", "condition": "len(response) > 5"})
    again = done(plane, client, same)
    assert again["datasets"] == ["support-filter@1"], "the same rows make no second version"
    assert client.delete("/v1/datasets/support-filter").status_code == 204
    assert not file.exists()


def test_parts_of_a_split_and_a_folder_of_files(plane: Plane, client: TestClient, rows: Path) -> None:
    (rows.parent / "more.jsonl").write_text(rows.read_text().replace("p", "q"))
    assert (
        client.post("/v1/datasets", json={"source": str(rows.parent)})
        .json()["error"]["hint"]
        .endswith(f"`tunesmith data run load {rows.parent}`.")
    )
    loaded = done(plane, client, run(client, "load", parameters={"path": str(rows.parent)}, into="all"))
    assert loaded["datasets"] == ["all@1"], loaded
    parts = done(
        plane, client, run(client, "split", parameters={"dataset": "all", "train": 0.75, "eval": 0.25})
    )
    assert parts["datasets"] == ["all-split-train@1", "all-split-eval@1"]
    shown = client.get("/v1/datasets/all-split-eval").json()["versions"][0]
    assert (shown["rows"], shown["lineage"]["sources"]) == (4, ["all@1"])


def test_a_key_makes_one_task(client: TestClient, rows: Path) -> None:
    given = {"dataset": str(rows), "seed": 3}
    first = run(client, "shuffle", parameters=given, key="k")
    assert run(client, "shuffle", 200, parameters=given, key="k")["id"] == first["id"]
    other = run(client, "shuffle", 409, parameters=given | {"seed": 4}, key="k")
    assert other["error"]["code"] == "idempotency_conflict"


def test_what_fails_is_done_again(plane: Plane, client: TestClient, rows: Path) -> None:
    good = rows.read_text()
    rows.write_text(good + "{broken\n")
    task = run(client, "dedup", parameters={"dataset": str(rows)})
    failed = done(plane, client, task)
    assert (failed["state"], failed["reason"], failed["datasets"]) == ("failed", "bad_data", [])
    assert failed["message"].startswith("support.jsonl:9: Broken JSON")
    rows.write_text(good)
    assert client.post(f"/v1/tasks/{task['id']}:continue").status_code == 202
    again = done(plane, client, task)
    assert (again["state"], again["attempt"], again["datasets"]) == ("completed", 2, ["support-dedup@1"])
    assert client.post(f"/v1/tasks/{task['id']}:continue").status_code == 409
    for verb in ("clone", "new-stage"):
        assert client.post(f"/v1/tasks/{task['id']}:{verb}", json={}).status_code == 409


def test_a_stop_and_a_lost_job(plane: Plane, client: TestClient, rows: Path) -> None:
    waits = run(client, "dedup", parameters={"dataset": str(rows)})
    client.post(f"/v1/tasks/{waits['id']}:stop")
    assert plane.task(waits["id"]).state is State.STOPPED
    task = run(client, "dedup", parameters={"dataset": str(rows)})
    plane.tick()
    plane.jobs.jobs[f"{task['id']}-1"] = JobStatus.RUNNING
    plane.tick()
    client.post(f"/v1/tasks/{task['id']}:stop")
    plane.tick()
    assert plane.jobs.kills == [], "it is given time to leave"
    view = plane.task(task["id"])
    plane.report(view, {"kind": "finished", "outcome": "stopped", "reason": "stopped_by_user"})
    plane.jobs.jobs[f"{task['id']}-1"] = JobStatus.SUCCEEDED
    plane.tick()
    assert plane.task(task["id"]).state is State.STOPPED
    lost = run(client, "dedup", parameters={"dataset": str(rows)})
    plane.tick()
    plane.jobs.jobs[f"{lost['id']}-1"] = JobStatus.FAILED
    plane.tick()
    assert plane.task(lost["id"]).reason == "job_lost"


def test_the_jobs_own_process_reports_over_http(
    plane: Plane, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(plane.app, plane.api_key, monkeypatch) as url:
        plane.settings.api_url = url
        new = NewDataTask(operation="shuffle", parameters={"dataset": str(rows)}, into="mixed")
        task, _ = plane.services.tasks.create(LOCAL, new.as_task(), None)
        plane.tick()
        job = f"{task.id}-1"
        command = [sys.executable, "-m", plane.jobs.programs[job], plane.jobs.documents[job]]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 0, ran.stderr
        plane.job(task, JobStatus.SUCCEEDED)
        plane.tick()
        ended = plane.task(task.id)
        assert (ended.state, ended.datasets) == (State.COMPLETED, ["mixed@1"])
        assert len(plane.services.datasets.find(LOCAL, "mixed").path.read_text().splitlines()) == 8
        assert not (plane.settings.work_dir / task.id).exists(), "nothing is left of its scratch"


def _belongs(plane: Plane, name: str, project: str) -> None:
    with plane.services.database.write() as session:
        session.execute(update(DatasetRow).where(DatasetRow.name == name).values(project=project))


def test_rows_go_into_no_data_set_of_another_project(plane: Plane, client: TestClient, rows: Path) -> None:
    """Whoever asks sees every project; what is made is entered later, in the task's own."""
    client.post("/v1/datasets", json={"source": str(rows), "name": "taken"})
    _belongs(plane, "taken", "other")
    refused = run(client, "dedup", 422, parameters={"dataset": str(rows)}, into="taken")["error"]
    assert [one["field"] for one in refused["problems"]] == ["into"]
    assert "taken" in refused["message"]
    assert client.get("/v1/tasks").json()["data"] == []


def test_rows_whose_name_was_taken_meanwhile_are_kept_under_another(
    plane: Plane, client: TestClient, rows: Path
) -> None:
    made = run(client, "dedup", parameters={"dataset": str(rows)}, into="taken")
    client.post("/v1/datasets", json={"source": str(rows), "name": "taken"})
    _belongs(plane, "taken", "other")
    ended = done(plane, client, made)
    other = f"taken-{made['id'][-6:]}"
    assert (ended["state"], ended["datasets"]) == ("completed", [f"{other}@1"])
    assert other in ended["notices"][-1]["message"]
    assert len(plane.services.datasets.find(LOCAL, other).path.read_text().splitlines()) == 8


def test_rows_are_worked_on_while_a_model_trains(plane: Plane, client: TestClient, rows: Path) -> None:
    plane.running()
    for _ in range(3):
        run(client, "dedup", parameters={"dataset": str(rows)})
    plane.tick()
    assert len(waiting(plane)) == plane.settings.max_data_jobs


@pytest.mark.parametrize(
    ("operation", "parameters", "words"),
    [
        ("fliter", {"dataset": "x"}, "Did you mean `filter`?"),
        ("filter", {"dataset": "nobody", "condition": "n > 1"}, "no data set `nobody`"),
        ("filter", {"dataset": "/etc/passwd", "condition": "n > 1"}, "outside the folders"),
        ("filter", {"dataset": "/m/../../etc/passwd", "condition": "n > 1"}, "outside the folders"),
        ("filter", {"dataset": "x", "condition": "__import__('os')"}, "condition"),
        ("filter", {"dataset": "x", "conditon": "n > 1"}, "Did you mean `condition`?"),
        ("load", {"path": "o/n", "token": "hf_secret"}, "never written out"),
        ("load", {"path": "o/n", "token": "${env.AWS_SECRET_ACCESS_KEY}"}, "may not be read"),
        ("load", {"path": "o/n", "name": "${env.HF_TOKEN}"}, "is a secret"),
        ("load", json.loads('{"path": ' + "[" * 900 + "]" * 900 + "}"), "nested too deeply"),
        ("load", {"path": "o/n", "trust_remote_code": True}, "never run here"),
        ("load", {"path": "o/n", "data_files": "../x"}, "outside the data set"),
        ("load", {"path": "s3://elsewhere/x.jsonl"}, "does not lie where"),
        ("load", {"path": "http://169.254.169.254/x"}, "does not lie where"),
    ],
)
def test_what_may_not_be_is_refused(
    client: TestClient, plane: Plane, operation: str, parameters: dict[str, Any], words: str
) -> None:
    refused = run(client, operation, 422, parameters=parameters)["error"]
    assert words in json.dumps(refused, ensure_ascii=False)
    assert "hf_secret" not in json.dumps(refused)
    assert client.get("/v1/tasks").json()["data"] == []


def test_the_form_of_each_operation(client: TestClient) -> None:
    drawn = client.get("/v1/schema/datasets").json()
    assert set(drawn) == {"load", "concat", "select", "filter", "map", "split", "shuffle", "dedup", "mix"}
    for schema in drawn.values():
        for one in schema["properties"].values():
            assert all(one["tunesmith"][name] for name in ("label_zh", "label_en", "help_en", "kind"))


def test_a_mix_says_what_each_gave_and_so_does_a_training_on_it(
    plane: Plane, client: TestClient, rows: Path
) -> None:
    other = rows.with_name("other.jsonl")
    talk = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    other.write_text((json.dumps(talk) + "\n") * 4)
    client.post("/v1/datasets", json={"source": str(rows)})
    parameters = {"datasets": ["support", str(other)], "limits": [5, 0], "stop": "all_exhausted"}
    mixed = done(plane, client, run(client, "mix", parameters=parameters, into="both"))
    assert mixed["datasets"] == ["both@1"], mixed
    parts = [{"source": "support@1", "rows": 5}, {"source": str(other), "rows": 4}]
    (version,) = client.get("/v1/datasets/both").json()["versions"]
    assert (version["lineage"]["parts"], version["rows"]) == (parts, 9)
    again = done(plane, client, run(client, "mix", parameters=parameters, into="both"))
    assert again["datasets"] == ["both@1"], "the same rows, the same order, the same version"
    model = make_model_folder(plane.home.models / "m")
    spec = {"model_name_or_path": str(model), "train_file": "both", "target_modules": ["all-linear"]}
    task = client.post("/v1/tasks", json={"spec": spec}).json()
    told = f"`both@1` holds 5 rows of support@1, 4 rows of {other}."
    assert told in [notice["message"] for notice in task["notices"]]
    estimate = client.post("/v1/tasks:estimate", json={"spec": spec}).json()
    assert told in [notice["message"] for notice in estimate["notices"]]
    with plane.services.database.read() as session:
        row = session.get(TaskRow, task["id"])
        assert row is not None
        handed = plane.services.kinds.of("train").document(row, 1)
    assert [part.model_dump() for part in handed.train_parts] == parts  # type: ignore[attr-defined]


@pytest.mark.parametrize("given", ["org/name", "org/name:validation", "hf://org/name"])
def test_a_name_of_the_hub_says_how_it_is_loaded(plane: Plane, client: TestClient, given: str) -> None:
    model = make_model_folder(plane.home.models / "m")
    spec = {"model_name_or_path": str(model), "train_file": given, "target_modules": ["all-linear"]}
    reply = client.post("/v1/tasks", json={"spec": spec})
    assert reply.status_code == 422
    (problem,) = reply.json()["error"]["problems"]
    assert problem["field"] == "spec.train_file"
    assert "loaded first" in problem["hint"]
