"""A control plane with its runner of pipelines, and a folder of data that they may read.

The rows are worked on for real: what Ray would start is called here.
"""

import json
from pathlib import Path
from typing import Any

from conftest_platform import Plane
from data_jobs import carry_out, waiting
from fastapi.testclient import TestClient
from given import MODEL

from tunesmith.pipelines import PipelineView
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.pipelines.runner import PipelineRunner

FLOW = """
components:
  - {id: a, type: datasets, provider: local, data_files: a.jsonl}
  - {id: b, type: datasets, provider: local, data_files: b.jsonl}
  - {id: ops, type: datasets}
  - {id: trainer, type: model-trainer, task: sft, dataset: "${input.dataset}", eval_dataset: "${input.eval}"}
workflows:
  - id: flow
    jobs:
      - {id: load-a, component: a}
      - {id: load-b, component: b}
      - id: both
        component: ops
        method: concat
        input: {datasets: ["${jobs.load-a.output}", "${jobs.load-b.output}"]}
      - id: good
        component: ops
        method: filter
        input: {dataset: "${jobs.both.output}", condition: "${input.condition | n >= 0}"}
      - id: parts
        component: ops
        method: split
        input: {dataset: "${jobs.good.output}", train: 0.75, eval: 0.25}
      - id: train
        component: trainer
        input: {dataset: "${jobs.parts.output.train}", eval: "${jobs.parts.output.eval}"}
"""


class Bench:
    """A plane, its runner, and the folder of data that pipelines may read."""

    def __init__(self, plane: Plane, client: TestClient, folder: Path) -> None:
        self.plane = plane
        self.client = client
        self.folder = folder
        self.runner = PipelineRunner(plane.services)

    def write(self, name: str, numbers: range) -> None:
        lines = [json.dumps({"n": n, "prompt": f"p{n}", "response": f"r{n}"}) for n in numbers]
        (self.folder / name).write_text("\n".join(lines))

    def post(self, text: str = FLOW, **body: Any) -> Any:
        sent = {"yaml": text, "model": MODEL, "folder": str(self.folder)} | body
        return self.client.post("/v1/pipelines", json=sent)

    def made(self, text: str = FLOW, **body: Any) -> PipelineView:
        reply = self.post(text, **body)
        assert reply.status_code == 201, reply.text
        return PipelineView.model_validate(reply.json())

    def view(self, pipeline: PipelineView) -> PipelineView:
        return PipelineView.model_validate(self.client.get(f"/v1/pipelines/{pipeline.id}").json())

    def started(self) -> list[str]:
        """The jobs on data that wait to be worked on, once the runner and the reconciler have looked."""
        self.runner.tick()
        self.plane.tick()
        return waiting(self.plane)

    def work(self) -> list[str]:
        """A round: what was handed to Ray is carried out, and the runner looks."""
        done = self.started()
        for job in done:
            carry_out(self.plane, job)
        self.plane.tick()
        self.runner.tick()
        return done

    def worked(self, pipeline: PipelineView, rounds: int = 12) -> PipelineView:
        for _ in range(rounds):
            self.work()
        return self.view(pipeline)

    def end_task(self, task_id: str, outcome: str = "completed") -> None:
        task = self.plane.task(task_id)
        self.plane.tick()
        number = self.plane.task(task_id).attempt
        self.plane.job(task, JobStatus.RUNNING, number)
        self.plane.tick()
        (self.folder / "out").mkdir(exist_ok=True)
        finished = {
            "kind": "finished",
            "outcome": outcome,
            "reason": outcome,
            "model_uri": str(self.folder / "out"),
        }
        if outcome == "failed":
            finished |= {"reason": "out_of_memory"}
        self.plane.report(task, finished, attempt=number)
        self.plane.job(task, JobStatus.SUCCEEDED, number)
        self.plane.tick()


def bench_of(plane: Plane, client: TestClient, tmp_path: Path) -> Bench:
    """A bench with two files of eight rows each."""
    folder = tmp_path / "data"
    folder.mkdir()
    plane.settings.allowed_roots.append(folder)
    plane.settings.pipeline_environment.append("DATA")
    bench = Bench(plane, client, folder)
    bench.write("a.jsonl", range(8))
    bench.write("b.jsonl", range(8, 16))
    return bench


def states(view: PipelineView) -> dict[str, str]:
    return {step.id: step.state.value for step in view.steps}
