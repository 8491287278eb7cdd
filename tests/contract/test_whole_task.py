"""A whole task on PostgreSQL with its files on S3: trained, measured, packaged. S3 goes away in the middle of each.

The jobs' work is done in this process, from their documents in the bucket; Ray is a stand-in.
"""

import datetime as dt
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest_platform import Plane
from data_jobs import Ear
from fastapi.testclient import TestClient
from real_s3 import S3Server, real_s3
from short_tasks import write_dialogues

from tunesmith.artifacts import MANIFEST, Manifest
from tunesmith.events import JobPayload
from tunesmith.home import Home
from tunesmith.job import ray_job_id
from tunesmith.lifecycle import State
from tunesmith.storage import open_storage
from tunesmith.views import TaskView
from tunesmith_jobs.program import Attempt
from tunesmith_jobs.worker import do
from tunesmith_platform.backends.protocols import JobStatus

pytestmark = [pytest.mark.slow, pytest.mark.long]

SECONDS = 4.0
STEPS = 8


class AwayAt(Ear):
    """Hears a job; S3 answers nobody for some seconds from a word of it on, or from its start."""

    def __init__(self, s3: S3Server, kind: str | None) -> None:
        super().__init__()
        self._pid, self._kind = s3.process.pid, kind
        self._timer: threading.Timer | None = None
        if kind is None:
            self._go_away()

    def emit(self, payload: JobPayload, time: dt.datetime | None = None) -> None:
        super().emit(payload, time)
        if self._timer is None and payload.kind == self._kind:
            self._go_away()

    def _go_away(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)
        self._timer = threading.Timer(SECONDS, os.kill, (self._pid, signal.SIGCONT))
        self._timer.start()

    def was_away(self) -> bool:
        if self._timer is None:
            return False
        self._timer.join()
        return True


class Bench(NamedTuple):
    plane: Plane
    client: TestClient
    s3: S3Server
    uri: str
    rows: Path

    def made(self, kind: str, **spec: Any) -> TaskView:
        reply = self.client.post("/v1/tasks", json={"kind": kind, "spec": spec})
        assert reply.status_code == 201, reply.text
        return TaskView.model_validate(reply.json())

    def through(self, task: TaskView, away_at: str | None = None) -> TaskView:
        """Have a task's job done, S3 away from a word of it on, or while it reads its model; the task at its end."""
        plane, job = self.plane, ray_job_id(task.id, 1)
        plane.tick()
        uri = plane.jobs.documents[job]
        assert uri.startswith(f"{self.uri}/"), "the document lies in the bucket"
        plane.job(task, JobStatus.RUNNING)
        plane.tick()
        attempt = Attempt.read(uri)
        ear = AwayAt(self.s3, away_at)
        outcome = do(attempt, ear)
        assert ear.was_away(), {payload.kind for payload in ear.heard}
        said = [payload.model_dump(mode="json") for payload in (*ear.heard, outcome.finished())]
        for begin in range(0, len(said), 100):
            plane.report(task, *said[begin : begin + 100])
        plane.job(task, JobStatus.SUCCEEDED)
        plane.tick()
        done = plane.task(task.id)
        assert done.state is State.COMPLETED, done.message
        return done


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, postgres_url: str, tiny_model: Path) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("whole")
    home = Home(folder / "home")
    home.create()
    with real_s3(tmp_path_factory.mktemp("s3")) as s3:
        uri = f"{s3.uri}/whole"
        plane = Plane(
            home, database_url=postgres_url, storage_uri=uri, allowed_roots=[folder, tiny_model.parent]
        )
        plane.tracking.artifact_root = f"{uri}/mlflow"  # as the chart's MLflow has it: checkpoints go there
        with TestClient(plane.app, raise_server_exceptions=False) as client:
            client.headers["Authorization"] = f"Bearer {plane.api_key}"
            yield Bench(plane, client, s3, uri, write_dialogues(folder / "rows.jsonl"))
        plane.services.database.close()


@pytest.fixture(scope="module")
def trained(bench: Bench, tiny_model: Path) -> TaskView:
    spec = {
        "model_name_or_path": str(tiny_model), "train_file": str(bench.rows), "max_steps": STEPS, "save_steps": 4,
        "logging_steps": 1, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1,
        "learning_rate": 1e-3, "gradient_checkpointing": False, "precision": "fp32",
    }  # fmt: skip
    return bench.through(bench.made("train", **spec), "checkpoint")


def is_whole(uri: str) -> bool:
    """Whether all files of a result are in the bucket in their sizes."""
    storage = open_storage(uri)
    manifest = Manifest.decode(storage.read(MANIFEST) or b"")
    assert manifest is not None, uri
    sizes = storage.sizes()
    return all(sizes[one.path] == one.bytes for one in manifest.files)


def test_a_training(bench: Bench, trained: TaskView) -> None:
    series = bench.client.get(f"/v1/tasks/{trained.id}/metrics").json()["series"]["loss"]
    assert [point["step"] for point in series] == list(range(1, STEPS + 1)), "each step once"
    found = bench.client.get(f"/v1/tasks/{trained.id}/checkpoints").json()["data"]
    assert [one["step"] for one in found] == [8, 4]
    assert all(one["uri"].startswith(f"{bench.uri}/") and is_whole(one["uri"]) for one in found)


def test_a_measurement(bench: Bench, trained: TaskView) -> None:
    done = bench.through(bench.made("evaluate", task_id=trained.id, eval_file=str(bench.rows)))
    assert "loss" in json.dumps(bench.client.get(f"/v1/tasks/{done.id}").json())


def test_a_package(bench: Bench, trained: TaskView) -> None:
    done = bench.through(bench.made("package", task_id=trained.id, preset="lora_only"))
    assert done.model_uri
    assert done.model_uri.startswith(f"{bench.uri}/")
    assert is_whole(done.model_uri)
    (file,) = bench.client.get(f"/v1/tasks/{done.id}/package").json()["files"]
    got = bench.client.get(f"/v1/tasks/{done.id}/package/files/{file['name']}")
    assert (got.status_code, len(got.content)) == (200, file["bytes"])


def test_a_task_waits_for_a_bucket_that_takes_no_connection(
    bench: Bench, trained: TaskView, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = bench.made("package", task_id=trained.id, preset="lora_only")
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        bench.plane.tick()
        waiting = bench.plane.task(task.id)
        assert (waiting.state, waiting.message.split(":")[0]) == (State.PENDING, "Waiting")
        refused = bench.client.post("/v1/tasks", json={"kind": "package", "spec": {"task_id": trained.id}})
        assert refused.status_code in (201, 503), refused.text
    bench.plane.reconciler._submit_after.clear()
    assert bench.through(task).attempt == 1
