"""Trainings whose checkpoints are evaluated, and evaluations of them that ended, on a plane."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import Plane
from ended_tasks import end, saved
from fastapi.testclient import TestClient

from tunesmith.evaluation.document import EvaluationDocument
from tunesmith.evaluation.results import EvaluationResult
from tunesmith.views import TaskView
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.examples import EVALUATION_RESULT
from tunesmith_platform.tasks.inputs import TrainInputs


class Trainings:
    """A plane with trainings whose checkpoints are there."""

    def __init__(self, plane: Plane, client: TestClient, folder: Path, model: Path) -> None:
        self.plane, self.client, self.folder, self.model = plane, client, folder, model
        plane.settings.allowed_roots += [folder, model]
        self.rows = folder / "rows.jsonl"
        self.rows.write_text(json.dumps({"prompt": "Name a colour.", "completion": "Blue."}) + "\n")
        self.look_at(model)

    def look_at(self, model: Path, eval_path: str | None = None) -> None:
        def look(_scope: Any, spec: Any) -> TrainInputs:
            return TrainInputs(model_path=str(model), train_path=str(self.rows), eval_path=eval_path)

        self.plane.training.look_at = look

    def trained(self, name: str, *steps: int, **spec: Any) -> TaskView:
        """A completed training with checkpoints."""
        given = {"model_name_or_path": "m", "train_file": "/t"} | spec
        answer = self.client.post("/v1/tasks", json={"name": name, "spec": given})
        assert answer.status_code == 201, answer.text
        task = self.plane.task(answer.json()["id"])
        self.plane.tick()
        self.plane.job(task, JobStatus.RUNNING)
        for step in steps:
            saved(self.plane, task, step)
        end(self.plane, task)
        return self.plane.task(task.id)

    def evaluate(self, **spec: Any) -> Any:
        return self.client.post("/v1/tasks", json={"kind": "evaluate", "spec": spec})

    def made(self, **spec: Any) -> TaskView:
        answer = self.evaluate(**spec)
        assert answer.status_code == 201, answer.text
        return self.plane.task(answer.json()["id"])

    def document(self, task: TaskView) -> EvaluationDocument:
        """What its attempt is handed."""
        self.plane.tick()
        (path,) = [uri for job, uri in self.plane.jobs.documents.items() if job.startswith(task.id)]
        return EvaluationDocument.model_validate_json(Path(path).read_bytes())

    def samples(self, *pairs: tuple[str, str]) -> str:
        file = self.folder / "samples.json"
        file.write_text(json.dumps({"validation": [{"prompt": p, "completion": c} for p, c in pairs]}))
        return str(file)


@pytest.fixture
def trainings(plane: Plane, client: TestClient, tmp_path: Path, tiny_model: Path) -> Trainings:
    folder = tmp_path / "data"
    folder.mkdir()
    return Trainings(plane, client, folder, tiny_model)


def result_of(task: TaskView, train: TaskView) -> EvaluationResult:
    """A result as a job leaves it, of one checkpoint."""
    text = EVALUATION_RESULT.model_dump_json().replace(EVALUATION_RESULT.task_id, train.id)
    return EvaluationResult.model_validate_json(text).model_copy(update={"task_id": task.id})


def finished(trainings: Trainings, train: TaskView, **more: Any) -> TaskView:
    """An evaluation that recommends checkpoint 50."""
    task = trainings.made(task_id=train.id, checkpoints=["all"])
    trainings.plane.tick()
    folder = trainings.folder / task.id
    folder.mkdir()
    data = result_of(task, train).model_dump_json().encode()
    (folder / "result.json").write_bytes(data)
    key = f"{train.id}/checkpoint-50"
    scored = {"kind": "scored", "candidate": key, "label": "t checkpoint-50", "step": 50, "total": 2}
    made = {
        "kind": "evaluation_made", "uri": str(folder), "sha256": hashlib.sha256(data).hexdigest(),
        "comparable_by": "c" * 64, "recommended": key, "task_id": train.id, "step": 50,
        "means": {key: {"composite": 0.5}}, "sentence": {"en": "It is better.", "zh": "更好。"},
    } | more  # fmt: skip
    trainings.plane.report(
        task, scored | {"answered": 1}, scored | {"answered": 2, "means": {"composite": 0.5}}, made
    )
    end(trainings.plane, task)
    return task


def under_way(trainings: Trainings, *steps: int, **spec: Any) -> TaskView:
    """A training that goes on, with checkpoints."""
    given = {"model_name_or_path": "m", "train_file": "/t"} | spec
    answer = trainings.client.post("/v1/tasks", json={"name": "t", "spec": given})
    assert answer.status_code == 201, answer.text
    task = trainings.plane.task(answer.json()["id"])
    trainings.plane.tick()
    trainings.plane.job(task, JobStatus.RUNNING)
    trainings.plane.tick()
    trainings.plane.report(task, {"kind": "training_started", "step": 0, "total_steps": 100})
    for step in steps:
        saved(trainings.plane, task, step)
    return trainings.plane.task(task.id)
