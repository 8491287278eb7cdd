"""Steps that use a model, from their pipeline through the reconciler: looked at before they run, and done for real.

The work is done here by the functions that Ray would start; the training alone is made up.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL, Plane
from data_jobs import Ear, waiting
from fastapi.testclient import TestClient
from pipeline_bench import Bench, bench_of, states

from tunesmith.lifecycle import State
from tunesmith.model_step import ModelDocument
from tunesmith.pipelines import PipelineView
from tunesmith.spec.kinds import Room
from tunesmith.spec.task import NewDataTask
from tunesmith.views import TaskView
from tunesmith_jobs.program import Attempt
from tunesmith_jobs.worker import do
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.clock import now
from tunesmith_platform.db.tables import RunnerRow
from tunesmith_platform.runners.dispatch import code_stamp
from tunesmith_platform.tasks.inputs import TrainInputs

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FLOW = """
components:
  - {id: rows, type: datasets, provider: local, data_files: a.jsonl}
  - {id: trainer, type: model-trainer, task: sft, dataset: "${input.dataset}", max_length: 64}
  - {id: evaluator, type: model-evaluator, method: evaluate}
workflows:
  - id: flow
    jobs:
      - {id: load, component: rows}
      - {id: train, component: trainer, input: {dataset: "${jobs.load.output}"}}
      - id: evaluate
        component: evaluator
        input: {model: "${jobs.train.output}", dataset: "${jobs.load.output}"}
        output: {loss: "${output.metrics.loss}", all: "${output}"}
"""


def lone(**component: Any) -> str:
    return json.dumps({"components": [{"id": "step"} | component]})


class Steps(Bench):
    """A bench whose trainings end with a model that is there."""

    model: Path

    def pending(self) -> list[str]:
        """The jobs that use a model and wait to be worked on."""
        self.runner.tick()
        self.plane.tick()
        return waiting(self.plane, Room.MODEL)

    def do(self, job: str) -> Any:
        """Do a job's work here, and report as it would."""
        document = ModelDocument.model_validate_json(Path(self.plane.jobs.documents[job]).read_bytes())
        ear = Ear()
        outcome = do(Attempt.of(document), ear)
        said = [payload.model_dump(mode="json") for payload in ear.heard]
        last = {"kind": "finished"} | outcome.model_dump(mode="json", exclude={"superseded"})
        self.plane.report(self.plane.task(document.task_id), *said, last, attempt=document.attempt)
        self.plane.jobs.jobs[job] = JobStatus.SUCCEEDED
        self.plane.tick()
        self.runner.tick()
        return outcome

    def trained(self, made: PipelineView) -> TaskView:
        """Bring a pipeline as far as its training's end; its model is the base as it was."""
        task_id = str(next(step for step in self.worked(made, 4).steps if step.id == "train").task_id)
        task = self.plane.task(task_id)
        self.plane.job(task, JobStatus.RUNNING)
        self.plane.tick()
        finished = {
            "kind": "finished",
            "outcome": "completed",
            "reason": "completed",
            "model_uri": str(self.model),
        }
        self.plane.report(task, {"kind": "progress", "step": 7, "total_steps": 7}, finished)
        self.plane.job(task, JobStatus.SUCCEEDED)
        self.plane.tick()
        self.runner.tick()
        return self.plane.task(task_id)


@pytest.fixture
def bench(plane: Plane, client: TestClient, tmp_path: Path, tiny_model: Path) -> Steps:
    bench = bench_of(plane, client, tmp_path)
    found = Steps(plane, client, bench.folder)
    found.model = tiny_model
    plane.settings.allowed_roots.append(tiny_model)
    plane.training.look_at = lambda scope, spec: TrainInputs(
        model_path=str(tiny_model), train_path=spec.train_file
    )
    return found


def test_an_evaluation_in_a_pipeline(bench: Steps) -> None:
    sent = FLOW.replace("max_length: 64", "max_length: 64, use_lora: false, precision: fp32")
    made = bench.made(sent)
    train = bench.trained(made)
    (job,) = bench.pending()
    view = bench.view(made)
    task = bench.plane.task(str(view.steps[2].task_id))
    assert (task.kind, task.parent_id, task.tags) == ("evaluate", train.id, ["pipeline"])
    assert (task.spec["model_name_or_path"], bench.plane.tracking.runs.keys()) == (
        str(bench.model),
        {f"run-{train.id}"},
    )
    document = ModelDocument.model_validate_json(Path(bench.plane.jobs.documents[job]).read_bytes())
    assert (document.training["max_length"], document.step, document.origin.task_id) == (64, 7, train.id)
    assert bench.do(job).reason == "completed"
    view = bench.view(made)
    assert states(view) == {"load": "completed", "train": "completed", "evaluate": "completed"}
    found = view.steps[2].output
    assert found["loss"] == found["all"]["metrics"]["loss"] > 1
    assert (found["all"]["metrics"]["rows"], found["all"]["metrics"]["tokens"] > 8) == (8, True)
    listed = bench.client.get("/v1/tasks?kind=evaluate").json()["data"]
    assert [(one["id"], one["state"]) for one in listed] == [(task.id, "completed")]
    assert "perplexity" in listed[0]["message"]
    again = bench.made(sent)
    for _ in range(3):
        bench.runner.tick()
    assert bench.view(again).state is State.COMPLETED
    assert all(step.is_reused for step in bench.view(again).steps), "identical steps are taken by content"
    assert bench.view(again).steps[2].output == found


def test_the_task_and_its_checkpoint_by_name(bench: Steps) -> None:
    train = bench.trained(bench.made(FLOW[: FLOW.index("      - id: evaluate")]))
    checkpoint = {
        "kind": "checkpoint",
        "uri": str(bench.folder / "checkpoint-4"),
        "bytes": 1,
        "files": 1,
        "manifest_sha256": "0",
    }
    (bench.folder / "checkpoint-4").mkdir()
    other = bench.plane.running(name="other")
    bench.plane.report(other, checkpoint | {"step": 4})
    data = str(bench.folder / "a.jsonl")
    refused = bench.post(lone(type="model-evaluator", model=train.id, checkpoint=9, dataset=data))
    assert refused.status_code == 422
    (problem,) = refused.json()["error"]["problems"]
    assert (problem["field"], "no checkpoint of step 9" in problem["message"]) == (
        "workflows[step].jobs[step].checkpoint",
        True,
    )
    assert bench.post(lone(type="model-evaluator", model=train.id, dataset=data)).status_code == 201
    bench.post(lone(type="model-evaluator", task_id=other.id, dataset=data))
    bench.runner.tick()
    shown = bench.client.get("/v1/tasks?kind=evaluate").json()["data"]
    assert [(one["spec"]["task_id"], one["spec"]["checkpoint"]) for one in shown] == [
        (other.id, 4),
        (train.id, None),
    ]


def test_it_stops_restarts_and_is_done_again_as_any_task(bench: Steps) -> None:
    given = lone(type="model-evaluator", model=str(bench.model), dataset=str(bench.folder / "a.jsonl"))
    bench.plane.running()
    made = bench.made(given)
    (job,) = bench.pending()  # beside a training: it has room of its own
    task_id = str(bench.view(made).steps[0].task_id)
    bench.plane.jobs.jobs[job] = JobStatus.FAILED
    bench.plane.tick()
    lost = bench.plane.task(task_id)
    assert (lost.state, lost.waits_for) == (State.PENDING, "backoff"), "a lost job is started again"
    bench.client.post(f"/v1/tasks/{task_id}:stop")
    bench.plane.tick()
    bench.runner.tick()
    view = bench.view(made)
    assert (view.state, states(view)) == (State.STOPPED, {"step": "stopped"})
    assert bench.client.post(f"/v1/tasks/{task_id}:new-stage", json={}).status_code == 409
    assert bench.client.post(f"/v1/pipelines/{made.id}:continue").status_code == 200
    (job,) = bench.pending()
    assert bench.do(job).reason == "completed"
    assert bench.view(made).state is State.COMPLETED


def test_a_warm_runner_is_given_what_uses_a_model_and_no_work_on_data(bench: Steps) -> None:
    database, jobs = bench.plane.services.database, bench.plane.jobs
    with database.write() as session:
        row = {"id": "runner-a", "state": "idle", "code": code_stamp(), "created_at": now(), "seen_at": now()}
        session.add(RunnerRow(**row))
    rows = str(bench.folder / "a.jsonl")
    data = NewDataTask(operation="shuffle", parameters={"dataset": rows})
    bench.plane.services.tasks.create(LOCAL, data.as_task(), None)
    bench.plane.tick()
    assert len(jobs.submits) == 1, "it waits for work that it has made itself ready for"
    bench.made(lone(type="model-evaluator", model=str(bench.model), dataset=rows))
    bench.runner.tick()
    bench.plane.tick()
    with database.read() as session:
        given = session.get_one(RunnerRow, "runner-a")
    assert (given.state, len(jobs.submits)) == ("assigned", 1)
    assert Attempt.read(str(given.document_uri)).document.kind == "evaluate"


@pytest.mark.parametrize(
    ("component", "field", "words"),
    [
        ({"type": "model-evaluator", "dataset": "a.jsonl"}, "model_name_or_path", "jobs.<id>.output"),
        (
            {"type": "model-evaluator", "model": "nobody", "dataset": "a.jsonl"},
            "model_name_or_path",
            "no model `nobody`",
        ),
        ({"type": "model-evaluator", "model": "BASE", "dataset": "z.jsonl"}, "eval_file", "z.jsonl"),
        ({"type": "model-evaluator", "model": "BASE"}, "eval_file", "Which rows"),
        ({"type": "model-evaluator", "model": "BASE", "dataset": "nobody"}, "", "no data set `nobody`"),
        (
            {"type": "model-evaluator", "model": "/etc", "dataset": "a.jsonl"},
            "model_name_or_path",
            "outside the folders",
        ),
        ({"type": "model-evaluator", "model": "BASE", "datset": "a.jsonl"}, "datset", "Did you mean"),
        ({"type": "model-evaluator", "method": "train", "model": "BASE"}, "method", "write `evaluate`"),
        (
            {"type": "model-evaluator", "model": "task-000000000000000000", "dataset": "a.jsonl"},
            "task_id",
            "no task",
        ),
        ({"type": "model-generator", "model": "BASE"}, "prompts", "no prompts"),
        ({"type": "model-generator", "model": "BASE", "prompts": ["x", " "]}, "prompts[1]", "empty"),
        (
            {"type": "model-generator", "model": "BASE", "dataset": "n.jsonl"},
            "dataset: n.jsonl",
            "asks nothing",
        ),
        ({"type": "model-packager", "model": "BASE", "format": "gguf"}, "format", "another preset"),
        ({"type": "model-packager", "model": "BASE", "output_dir": "/etc/x"}, "", "outside the folders"),
        ({"type": "model-packager", "model": "s3://b/x/model"}, "model_name_or_path", "no task here"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
    bench: Steps, component: dict[str, Any], field: str, words: str
) -> None:
    (bench.folder / "n.jsonl").write_text('{"n": 1}\n')
    given = {key: str(bench.model) if value == "BASE" else value for key, value in component.items()}
    refused = bench.post(lone(**given))
    assert refused.status_code in (404, 422), refused.text
    error = refused.json()["error"]
    assert words in json.dumps(error, ensure_ascii=False)
    if field:
        assert error["problems"][0]["field"] == f"workflows[step].jobs[step].{field}"
    assert bench.client.get("/v1/tasks").json()["data"] == []


def test_a_file_of_before_is_taken_and_says_what_was_renamed(bench: Steps) -> None:
    component = {"type": "model-chat", "method": "chat", "model": str(bench.model), "prompts": ["x"]}
    made = bench.made(lone(**component))
    assert [(step.kind, step.method) for step in made.steps] == [("generate", "generate")]
    assert [(notice.field, notice.message) for notice in bench.view(made).notices] == [
        ("components[step].type", "`model-chat` was read as `model-generator`."),
        ("components[step].method", "`chat` was read as `generate`."),
    ]
    now = component | {"type": "model-generator", "method": "generate"}
    assert bench.made(lone(**now)).notices == []


@pytest.fixture
def adapter(tiny_model: Path, tmp_path: Path) -> Path:
    """A LoRA that changes what the tiny model says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    tuned = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    tuned.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_the_example_from_rows_to_a_model_folder(bench: Steps, adapter: Path) -> None:
    ember = (CONFIGS / "datasets" / "ember_train.jsonl").read_text().splitlines()[:20]
    (bench.folder / "rows.jsonl").write_text("\n".join(ember))
    bench.model = adapter
    made = bench.made(
        (CONFIGS / "pipelines" / "train-and-package.yml").read_text(),
        input={"rows": "rows.jsonl"},
        overrides={"asker": {"max_new_tokens": 4}},
    )
    train = bench.trained(made)
    bench.plane.settings.max_model_jobs = 2
    jobs = bench.pending()
    assert len(jobs) == 2, "evaluating and asking need the same model, not each other"
    for job in jobs:
        assert bench.do(job).reason == "completed"
    (job,) = bench.pending()
    outcome = bench.do(job)
    view = bench.view(made)
    assert set(states(view).values()) == {"completed"}, view
    evaluate, ask, package = (
        next(step for step in view.steps if step.id == name) for name in ("evaluate", "ask", "package")
    )
    assert set(evaluate.output) == {"loss", "token_accuracy"}
    rows = [json.loads(line) for line in Path(ask.output).read_text().splitlines()]
    assert (len(rows), rows[0]["messages"][-1]["role"], ask.outputs["data"].rows) == (2, "assistant", 2)
    folder = Path(package.output)
    assert (folder / "README.md").is_file()
    assert "rows" not in package.outputs
    task = bench.plane.task(str(package.task_id))
    assert (task.kind, task.model_uri, task.parent_id) == ("package", package.output, train.id)
    card = (folder / "README.md").read_text()
    assert (train.id in card, str(outcome.model_uri)) == (True, package.output)
    refused = bench.client.delete(f"/v1/tasks/{train.id}")
    assert refused.status_code == 204, "what was made of it stands by itself"
    assert bench.client.delete(f"/v1/tasks/{task.id}", params={"files": True}).status_code == 204
    assert not folder.exists()
