"""The fake MLflow and the real one behave alike: repeated calls change nothing, curves are exact."""

import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from mlflow_server import MlflowServer, Proxy

from tunesmith.errors import Unavailable
from tunesmith_platform.backends.mlflow import MlflowTracking
from tunesmith_platform.backends.protocols import LoggedModel, Point, RowsUsed, Run, RunGone, Tracking
from tunesmith_platform.testing.fakes import FakeTracking

Read = Callable[[Run], dict[str, Any]]
STARTED = 1_700_000_000_000
ROWS = [
    RowsUsed("talks@3", "/data/talks.jsonl", "0123456789abcdef", "training", 120),
    RowsUsed("held-out.jsonl", "s3://bucket/held-out.jsonl", "fedcba9876543210", "evaluation"),
]


def read_real(server: MlflowServer) -> Read:
    def read(run: Run) -> dict[str, Any]:
        api = httpx.Client(base_url=f"{server.url}/api/2.0/mlflow", headers=server.headers)
        data = api.get("/runs/get", params={"run_id": run.run_id}).json()["run"]
        history = api.get("/metrics/get-history", params={"run_id": run.run_id, "metric_key": "loss"}).json()
        models = api.post(
            "/logged-models/search",
            json={"experiment_ids": [run.experiment_id], "filter": f"source_run_id = '{run.run_id}'"},
        ).json()
        return {
            "points": sorted((int(m["step"]), m["value"]) for m in history.get("metrics", [])),
            "params": {p["key"]: p["value"] for p in data["data"].get("params", [])},
            "status": data["info"]["status"],
            "rows": {
                (one["dataset"]["name"], one["dataset"]["digest"], one["tags"][0]["value"])
                for one in data.get("inputs", {}).get("dataset_inputs", [])
            },
            "models": {
                m["info"]["name"]: {t["key"]: t["value"] for t in m["info"]["tags"]}["tunesmith.uri"]
                for m in models.get("models", [])
                if m["info"]["status"] == "LOGGED_MODEL_READY"
            },
        }

    return read


@pytest.fixture(params=["fake", "real"])
def tracking(request: pytest.FixtureRequest) -> tuple[Tracking, Read]:
    if request.param == "real":
        server = request.getfixturevalue("mlflow")[0]
        return MlflowTracking(server.url, server.token_file), read_real(server)
    fake = FakeTracking()

    def read(run: Run) -> dict[str, Any]:
        kept = fake.runs[run.run_id]
        points = sorted((point.step, point.value) for point in kept.points if point.name == "loss")
        return {
            "points": points,
            "params": kept.params,
            "status": kept.status,
            "models": kept.models,
            "rows": kept.rows,
        }

    return fake, read


@pytest.mark.slow
def test_everything_said_twice_is_there_once(tracking: tuple[Tracking, Read]) -> None:
    server, read = tracking
    task_id = f"task-{uuid.uuid4().hex[:12]}"
    for _ in range(2):
        run = server.ensure_run("contract tests", task_id, "a name", STARTED)
        points = [Point("loss", 1 / step, step, 1_700_000_000_000 + step) for step in range(1, 1500)]
        server.log_points(run.run_id, points)
        server.describe(run.run_id, {f"p{i}": "x" * 7000 for i in range(120)}, {"t": "1"})
        server.log_rows(run.run_id, ROWS)
        server.log_model(run, LoggedModel("a name-checkpoint-5", "/c5", 5, tags={"k": "v"}), [points[4]])
        server.log_model(run, LoggedModel("a name-model", "/m", 5, model_type="model"), [])
        server.finish(run.run_id, "FINISHED", 1_700_000_100_000)
    assert server.version().startswith("3.")
    found = read(run)
    assert found["points"] == [(point.step, point.value) for point in points]
    assert len(found["params"]) == 120
    assert found["status"] == "FINISHED"
    assert found["models"] == {"a name-checkpoint-5": "/c5", "a name-model": "/m"}
    assert found["rows"] == {(one.name, one.digest, one.context) for one in ROWS}
    other = server.ensure_run("contract tests", f"{task_id}b", "another", STARTED)
    assert other.run_id != run.run_id
    assert server.knows(run.run_id)
    assert not server.knows("0" * 32)


@pytest.mark.slow
def test_a_run_that_is_not_there_is_gone_and_nothing_else(tracking: tuple[Tracking, Read]) -> None:
    server, _ = tracking
    gone = Run("0", "0" * 32, "/nowhere")
    for tell in (
        lambda: server.log_points(gone.run_id, [Point("loss", 1.0, 1, STARTED)]),
        lambda: server.describe(gone.run_id, {"a": "b"}, {}),
        lambda: server.log_rows(gone.run_id, ROWS),
        lambda: server.finish(gone.run_id, "FINISHED", STARTED),
    ):
        with pytest.raises(RunGone):
            tell()


@pytest.mark.slow
def test_of_two_runs_of_a_task_the_other_is_put_away(mlflow: tuple[MlflowServer, Proxy]) -> None:
    """A call that timed out may have been carried out after all."""
    server = mlflow[0]
    tracking, task_id = MlflowTracking(server.url, server.token_file), f"task-{uuid.uuid4().hex[:12]}"
    first = tracking.ensure_run("doubles", task_id, "n", STARTED)
    body = {"experiment_id": first.experiment_id, "start_time": STARTED + 1}
    server.call("runs/create", body | {"tags": [{"key": "tunesmith.task_id", "value": task_id}]})
    assert len(server.runs(task_id)) == 2
    assert tracking.ensure_run("doubles", task_id, "n", STARTED) == first
    assert [run["info"]["run_id"] for run in server.runs(task_id)] == [first.run_id]


def test_a_server_that_is_away_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        MlflowTracking("http://127.0.0.1:9").ensure_run("p", "task-1", "n", STARTED)
    with pytest.raises(Unavailable):
        MlflowTracking("http://127.0.0.1:9").version()
