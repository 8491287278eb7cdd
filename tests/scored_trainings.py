"""A training whose checkpoints are scored while it goes on."""

from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL, Plane
from ended_tasks import end, saved
from fastapi.testclient import TestClient

from tunesmith.artifacts import checkpoint_name
from tunesmith.events import ReportReceipt
from tunesmith.lifecycle import Reason
from tunesmith.views import TaskView
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.evaluations.loop import CheckpointScoring
from tunesmith_platform.tasks.inputs import TrainInputs

BASE = {"composite": 0.4, "rouge_l": 0.1}


class Scored:
    """A plane with a training whose checkpoints are scored, and the loop that has them scored."""

    def __init__(self, plane: Plane, client: TestClient, folder: Path, model: Path) -> None:
        self.plane, self.client, self.folder = plane, client, folder
        plane.settings.allowed_roots += [folder, model]
        rows = folder / "rows.jsonl"
        rows.write_text('{"prompt": "Name a colour.", "completion": "Blue."}\n')

        def look(_scope: Any, _spec: Any) -> TrainInputs:
            return TrainInputs(model_path=str(model), train_path=str(rows))

        plane.training.look_at = look
        self.loop = CheckpointScoring(plane.services)

    def training(self, **spec: Any) -> TaskView:
        given = {"model_name_or_path": "m", "train_file": "/t", "evaluate_checkpoints": True} | spec
        answer = self.client.post(
            "/v1/tasks", json={"name": "t", "project": "p", "priority": 5, "spec": given}
        )
        assert answer.status_code == 201, answer.text
        task = self.plane.task(answer.json()["id"])
        self.plane.tick()
        if not self.plane.task(task.id).attempt:
            return self.plane.task(task.id)  # another one trains
        self.plane.job(task, JobStatus.RUNNING)
        self.plane.tick()
        self.plane.report(task, {"kind": "training_started", "step": 0, "total_steps": 100})
        return self.plane.task(task.id)

    def save(self, task: TaskView, *steps: int) -> ReportReceipt:
        for step in steps:
            saved(self.plane, task, step)
        return self.plane.report(task)

    @property
    def evaluations(self) -> list[TaskView]:
        """All that were made, oldest first."""
        page = self.client.get("/v1/tasks", params={"kind": "evaluate"}).json()["data"]
        return [TaskView.model_validate(one) for one in reversed(page)]

    @property
    def newest(self) -> TaskView:
        return self.evaluations[-1]

    def answer(
        self, task: TaskView, score: float | None, *, reason: Reason = Reason.COMPLETED, **more: float
    ) -> None:
        """The newest evaluation ends: with a score, or because of a reason."""
        evaluation = self.newest
        self.plane.tick()
        self.plane.job(evaluation, JobStatus.RUNNING)
        self.plane.tick()
        if score is not None:
            key = f"{task.id}/{checkpoint_name(evaluation.parent_step or 0)}"
            means = {"base": BASE, key: {"composite": score} | more}
            made = {
                "uri": "/e",
                "sha256": "0" * 64,
                "comparable_by": "c",
                "recommended": key,
                "task_id": task.id,
            }
            made |= {"step": evaluation.parent_step, "means": means, "sentence": {"en": "s"}}
            self.plane.report(evaluation, {"kind": "evaluation_made"} | made)
        end(self.plane, evaluation, reason)
        self.loop.tick()

    def through(self, task: TaskView, *scores: tuple[int, float]) -> None:
        """Checkpoints that are saved and scored, one after the other."""
        for step, score in scores:
            self.save(task, step)
            self.loop.tick()
            self.answer(task, score)

    def curve(self, task: TaskView, name: str = "evaluation/composite") -> list[tuple[int, float]]:
        found = self.client.get(f"/v1/tasks/{task.id}/metrics", params={"name": name}).json()["series"]
        return [(point["step"], point["value"]) for point in found.get(name, [])]

    def best(self, task: TaskView) -> list[int]:
        listed = self.client.get(f"/v1/tasks/{task.id}/checkpoints").json()["data"]
        return [one["step"] for one in listed if one["is_best"]]

    def warnings(self, task: TaskView) -> list[str]:
        page = self.plane.services.events.page(LOCAL, task.id, 0, 1000, ["warning"])
        return [f"{one.payload.message} {one.payload.hint}" for one in page.data]  # type: ignore[union-attr]


@pytest.fixture
def scored(plane: Plane, client: TestClient, tmp_path: Path, tiny_model: Path) -> Scored:
    folder = tmp_path / "data"
    folder.mkdir()
    return Scored(plane, client, folder, tiny_model)
