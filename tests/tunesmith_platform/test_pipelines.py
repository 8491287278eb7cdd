"""Pipelines over HTTP: steps side by side, a failed one continued, identical ones taken again, nothing out of bounds.

The rows are worked on for real: what Ray would start is called here.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient

from tunesmith.errors import ErrorResponse
from tunesmith.lifecycle import Desired, State
from tunesmith.pipelines import PipelineView
from tunesmith_jobs.data import entry
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.pipelines.decisions import StepFacts, decide
from tunesmith_platform.pipelines.runner import PipelineRunner

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "pipelines"
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
        sent = {"yaml": text, "model": "m", "folder": str(self.folder)} | body
        return self.client.post("/v1/pipelines", json=sent)

    def made(self, text: str = FLOW, **body: Any) -> PipelineView:
        reply = self.post(text, **body)
        assert reply.status_code == 201, reply.text
        return PipelineView.model_validate(reply.json())

    def view(self, pipeline: PipelineView) -> PipelineView:
        return PipelineView.model_validate(self.client.get(f"/v1/pipelines/{pipeline.id}").json())

    def started(self) -> list[str]:
        """The jobs on data that wait to be worked on."""
        jobs = self.plane.jobs
        return [
            job for job, status in jobs.jobs.items() if status is JobStatus.PENDING and job in jobs.programs
        ]

    def work(self) -> list[str]:
        """A round: what was handed to Ray is carried out, and the runner looks."""
        self.runner.tick()
        done = [job for job in self.started() if job.startswith("pipe-")]
        for job in done:
            assert self.plane.jobs.programs[job] == "tunesmith_jobs.data.entry"
            code = entry.main(self.plane.jobs.documents[job])
            self.plane.jobs.jobs[job] = JobStatus.FAILED if code else JobStatus.SUCCEEDED
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
        finished = {"kind": "finished", "outcome": outcome, "reason": outcome, "model_uri": "/models/out"}
        if outcome == "failed":
            finished |= {"reason": "out_of_memory"}
        self.plane.report(task, finished, attempt=number)
        self.plane.job(task, JobStatus.SUCCEEDED, number)
        self.plane.tick()


@pytest.fixture
def bench(plane: Plane, client: TestClient, tmp_path: Path) -> Bench:
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


@pytest.mark.parametrize(
    ("states", "desired", "start", "stop", "state"),
    [
        ("pending pending pending", "run", ("a", "b"), (), "running"),
        ("completed running pending", "run", (), (), "running"),
        ("completed completed pending", "run", ("c",), (), "running"),
        ("failed running pending", "run", (), (), "running"),
        ("failed completed pending", "run", (), (), "failed"),
        ("stopped completed pending", "run", (), (), "stopped"),
        ("completed completed completed", "run", (), (), "completed"),
        ("running stopping pending", "stop", (), ("a",), "stopping"),
        ("pending pending pending", "stop", (), (), "stopped"),
        ("completed completed completed", "stop", (), (), "completed"),
    ],
)
def test_what_a_pipeline_does_next(states: str, desired: Any, start: Any, stop: Any, state: str) -> None:
    needs = {"a": [], "b": [], "c": ["a", "b"]}
    facts = [
        StepFacts(name, State(now), needs[name]) for name, now in zip("abc", states.split(), strict=True)
    ]
    assert decide(facts, Desired(desired)) == (start, stop, state)


def test_a_pipeline_from_its_files_to_its_task(bench: Bench) -> None:
    made = bench.made()
    assert [step.needs for step in made.steps][2] == ["load-a", "load-b"]
    assert len(bench.work()) == 2, "what needs nothing runs side by side"
    view = bench.worked(made)
    assert states(view) == {
        "load-a": "completed",
        "load-b": "completed",
        "both": "completed",
        "good": "completed",
        "parts": "completed",
        "train": "running",
    }
    parts = view.steps[4]
    assert {name: output.rows for name, output in parts.outputs.items()} == {"train": 12, "eval": 4}
    task = bench.plane.task(str(view.steps[5].task_id))
    assert (task.spec["train_file"], task.spec["eval_file"]) == (parts.output["train"], parts.output["eval"])
    assert (task.spec["eval_strategy"], task.tags, task.project) == ("epoch", ["pipeline"], "default")
    bench.end_task(task.id)
    view = bench.worked(made)
    assert (view.state, view.message) == (State.COMPLETED, "6 of 6 steps are done.")
    assert view.steps[5].output == "/models/out"
    listed = bench.client.get("/v1/pipelines").json()["data"]
    assert [item["id"] for item in listed] == [made.id]


def test_identical_steps_are_taken_again_and_changed_ones_are_not(bench: Bench) -> None:
    first = bench.made()
    view = bench.worked(first)
    bench.end_task(str(view.steps[5].task_id))
    assert bench.worked(first).state is State.COMPLETED
    again = bench.made()
    bench.runner.tick()
    view = bench.view(again)
    assert view.state is State.COMPLETED
    assert all(step.is_reused for step in view.steps)
    assert view.steps[5].task_id == bench.view(first).steps[5].task_id
    other = bench.worked(bench.made(input={"condition": "n > 3"}))
    assert [step.is_reused for step in other.steps] == [True, True, True, False, False, False]
    bench.write("b.jsonl", range(8, 17))
    changed = bench.worked(bench.made())
    assert [step.is_reused for step in changed.steps] == [True, False, False, False, False, False]
    fresh = bench.worked(bench.made(reuse=False))
    assert not any(step.is_reused for step in fresh.steps)


def test_a_failed_pipeline_continues_from_the_failed_step(bench: Bench) -> None:
    bench.write("b.jsonl", range(8, 16))
    good = (bench.folder / "b.jsonl").read_text()
    (bench.folder / "b.jsonl").write_text(good + "\n{broken")
    made = bench.made()
    view = bench.worked(made)
    assert (view.state, states(view)["load-a"]) == (State.FAILED, "completed")
    assert states(view)["both"] == "pending"
    assert "`load-b` failed: b.jsonl:9" in view.message
    (bench.folder / "b.jsonl").write_text(good)
    before = view.steps[0].ended_at
    assert bench.client.post(f"/v1/pipelines/{made.id}:continue").status_code == 200
    view = bench.worked(made)
    assert states(view)["train"] == "running"
    assert view.steps[0].ended_at == before, "what was done was not done again"
    task_id = str(view.steps[5].task_id)
    bench.end_task(task_id, "failed")
    view = bench.worked(made)
    assert view.state is State.FAILED
    assert bench.client.post(f"/v1/pipelines/{made.id}:continue").status_code == 200
    view = bench.worked(made)
    assert (view.steps[5].task_id, states(view)["train"]) == (task_id, "running")
    bench.end_task(task_id)
    assert bench.worked(made).state is State.COMPLETED


def test_a_stop_ends_what_runs_and_starts_nothing_more(bench: Bench) -> None:
    made = bench.made()
    bench.runner.tick()
    assert len(bench.started()) == 2
    stopped = bench.client.post(f"/v1/pipelines/{made.id}:stop").json()
    assert stopped["state"] == "stopping"
    refused = bench.client.delete(f"/v1/pipelines/{made.id}")
    assert refused.status_code == 409
    for _ in range(3):
        bench.runner.tick()
    view = bench.view(made)
    assert (view.state, states(view)["load-a"], states(view)["both"]) == (State.STOPPED, "stopped", "pending")
    bench.client.post(f"/v1/pipelines/{made.id}:continue")
    assert states(bench.worked(made))["train"] == "running"


def test_a_stop_reaches_the_training(bench: Bench) -> None:
    made = bench.made()
    task_id = str(bench.worked(made).steps[5].task_id)
    bench.client.post(f"/v1/pipelines/{made.id}:stop")
    view = bench.worked(made)
    assert (view.state, bench.plane.task(task_id).state) == (State.STOPPED, State.STOPPED)


def test_ray_being_away_delays_and_loses_nothing(bench: Bench) -> None:
    made = bench.made()
    bench.plane.jobs.is_away = True
    bench.runner.tick()
    assert "Waiting" in bench.view(made).steps[0].message
    bench.plane.jobs.is_away = False
    assert states(bench.worked(made))["train"] == "running"


def test_a_job_that_leaves_nothing_is_a_failure(bench: Bench) -> None:
    made = bench.made()
    bench.runner.tick()
    for job in bench.started():
        bench.plane.jobs.jobs[job] = JobStatus.FAILED
    bench.runner.tick()
    bench.runner.tick()
    view = bench.view(made)
    assert (view.state, "without a result" in view.message) == (State.FAILED, True)


def test_another_runner_waits_for_the_lease(bench: Bench) -> None:
    made = bench.made()
    bench.runner.tick()
    other = PipelineRunner(bench.plane.services)
    for job in bench.started():
        entry.main(bench.plane.jobs.documents[job])
    other.tick()
    assert states(bench.view(made))["load-a"] == "running"


def test_rows_that_a_task_reads_are_not_deleted(bench: Bench) -> None:
    made = bench.made()
    view = bench.worked(made)
    task_id = str(view.steps[5].task_id)
    bench.end_task(task_id)
    bench.worked(made)
    file = Path(view.steps[0].output)
    assert bench.client.delete(f"/v1/pipelines/{made.id}").status_code == 204
    assert file.exists()
    assert bench.client.get(f"/v1/pipelines/{made.id}").status_code == 404
    again = bench.worked(bench.made(reuse=False))
    task_id = str(again.steps[5].task_id)
    bench.end_task(task_id)
    bench.worked(again)
    assert bench.client.delete(f"/v1/pipelines/{again.id}", params={"with_files": True}).status_code == 204
    assert not Path(again.steps[0].output).exists()


LOADS = "components: [{id: a, type: datasets, provider: local, data_files: %s}]"


@pytest.mark.parametrize(
    ("text", "body", "code", "words"),
    [
        (LOADS % "/etc/passwd.jsonl", {}, "path_not_allowed", "outside the folders"),
        (LOADS % "../../../etc/x.jsonl", {}, "path_not_allowed", "outside the folders"),
        (LOADS % "a.jsonl", {"folder": None}, "invalid_input", "relative path"),
        (LOADS % "'${env.HOME}'", {}, "invalid_input", "may not be read"),
        (LOADS % "'${env.DATA}/x.jsonl'", {}, "invalid_input", "from the environment"),
        ("components: [{id: a, type: datasets, path: /etc}]", {}, "path_not_allowed", "outside the folders"),
        (
            "components: [{id: a, type: datasets, path: o/n, data_files: ../x}]",
            {},
            "invalid_input",
            "outside the data set",
        ),
        (
            "components: [{id: a, type: datasets, method: filter, dataset: nothing-here, condition: n > 1}]",
            {},
            "invalid_data",
            "nothing-here",
        ),
        (
            "components: [{id: t, type: model-trainer, dataset: a.jsonl, output_dir: /etc/x}]",
            {},
            "path_not_allowed",
            "outside the folders",
        ),
        (FLOW, {"workflow": "flo"}, "invalid_input", "Did you mean `flow`?"),
        (FLOW, {"overrides": {"trainr": {}}}, "invalid_input", "Did you mean `trainer`?"),
        (
            FLOW,
            {"overrides": {"trainer": {"learning_rte": 1}}},
            "invalid_input",
            "Did you mean `learning_rate`?",
        ),
        (FLOW, {"extra": 1}, "unknown_field", "extra"),
        (
            FLOW,
            {"overrides": {"trainer": {"x": json.loads("[" * 900 + "]" * 900)}}},
            "invalid_input",
            "deeply",
        ),
    ],
)
def test_what_may_not_be_is_refused_before_anything_runs(
    bench: Bench, text: str, body: dict[str, Any], code: str, words: str
) -> None:
    reply = bench.post(text, **body)
    assert reply.status_code == 422, reply.text
    error = ErrorResponse.model_validate(reply.json()).error
    assert error.code == code
    assert words in f"{error.message} {error.hint} {error.problems}"
    assert bench.client.get("/v1/pipelines").json()["data"] == []


@pytest.mark.parametrize(
    ("output", "dataset"),
    [
        ("${output}", "${jobs.a.output}/../../../../../secret.jsonl"),
        ("SECRET", "${jobs.a.output}"),
        ("data.jsonl", "${jobs.a.output}"),
    ],
)
def test_no_variable_leads_out_of_bounds(bench: Bench, output: str, dataset: str) -> None:
    secret = bench.folder.parent / "secret.jsonl"
    secret.write_text('{"n": 1}')
    flow = (
        "components: [{id: a, type: datasets, data_files: a.jsonl}, {id: ops, type: datasets}]\n"
        "workflows: [{id: w, jobs: [{id: a, component: a, output: '%s'},"
        " {id: b, component: ops, method: filter, input: {dataset: '%s', condition: n > 0}}]}]"
    )
    made = bench.made(flow % (output.replace("SECRET", str(secret)), dataset))
    view = bench.worked(made)
    assert states(view) == {"a": "completed", "b": "failed"}
    assert (
        "outside the folders" in view.message
        or "relative path" in view.message
        or "no dataset" in view.message
    )


def test_a_token_is_stored_nowhere(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    made = bench.made("components: [{id: a, type: datasets, path: o/n, token: '${env.HF_TOKEN}'}]")
    view = bench.worked(made)
    assert view.state is State.FAILED
    assert view.steps[0].parameters["token"] == "${env.HF_TOKEN}"
    for file in bench.plane.home.root.rglob("*"):
        if file.is_file():
            assert b"hf_secret" not in file.read_bytes(), file


class TestTheChaptersExamples:
    """Each file of `configs/pipelines` as it stands, on a few local rows."""

    def alpaca(self, bench: Bench) -> Path:
        folder = bench.folder / "alpaca"
        folder.mkdir()
        rows = [{"instruction": f"i{n}", "input": "", "output": f"o{n}"} for n in range(6)]
        (folder / "train.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
        return folder

    def test_alpaca(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
        where = {"path": str(self.alpaca(bench)), "cache_dir": str(bench.folder / "cache")}
        view = bench.worked(
            bench.made((CONFIGS / "alpaca-lora.yml").read_text(), overrides={"alpaca-loader": where})
        )
        assert states(view) == {"load-data": "completed", "train": "running"}, view.message
        spec = bench.plane.task(str(view.steps[1].task_id)).spec
        assert (spec["r"], spec["prompt_column"], spec["fp16"]) == (16, "instruction", True)
        assert spec["output_dir"] == str(bench.folder / "output" / "alpaca-lora")
        assert len(Path(spec["train_file"]).read_text().splitlines()) == 6

    def test_qlora(self, bench: Bench) -> None:
        rows = [json.dumps({"text": f"line {n}"}) for n in range(6)]
        (bench.folder / "text.jsonl").write_text("\n".join(rows))
        view = bench.worked(bench.made((CONFIGS / "qlora.yml").read_text(), input={"dataset": "text.jsonl"}))
        spec = bench.plane.task(str(view.steps[0].task_id)).spec
        assert (spec["load_in_4bit"], spec["packing"], spec["r"]) == (True, True, 64)
        assert spec["train_file"] == str(bench.folder / "text.jsonl")

    def test_custom_data(self, bench: Bench) -> None:
        (bench.folder / "data").mkdir()
        rows = [{"user_input": f"u{n}", "assistant_response": f"a{n}"} for n in range(6)]
        (bench.folder / "data" / "custom_train.json").write_text(json.dumps(rows))
        view = bench.worked(
            bench.made(
                (CONFIGS / "custom-data.yml").read_text(),
                input={"template": "{user_input} -> {assistant_response}"},
            )
        )
        assert states(view) == {"load": "completed", "process": "completed", "train": "running"}, view.message
        spec = bench.plane.task(str(view.steps[2].task_id)).spec
        first = json.loads(Path(spec["train_file"]).read_text().splitlines()[0])
        assert first == rows[0] | {"text": "u0 -> a0"}
