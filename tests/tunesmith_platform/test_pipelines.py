"""Pipelines over HTTP: steps side by side, a failed one continued, identical ones taken again."""

import os
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import Plane
from data_jobs import carry_out
from fastapi.testclient import TestClient
from given import MODEL
from pipeline_bench import FLOW, Bench, bench_of, states
from sqlalchemy import update
from waiting import wait_until

from tunesmith.errors import InvalidInput
from tunesmith.lifecycle import Desired, State
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.caller import LoopCaller, serving_others
from tunesmith_platform.db.tables import DatasetRow
from tunesmith_platform.pipelines.decisions import StepFacts, decide
from tunesmith_platform.pipelines.runner import PipelineRunner
from tunesmith_platform.sandbox import checks
from tunesmith_platform.tasks.inputs import TrainInputs


@pytest.fixture
def bench(plane: Plane, client: TestClient, tmp_path: Path) -> Bench:
    return bench_of(plane, client, tmp_path)


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
    assert view.steps[5].output == str(bench.folder / "out")
    listed = bench.client.get("/v1/pipelines").json()["data"]
    assert [item["id"] for item in listed] == [made.id]


@pytest.mark.slow
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


def _register(bench: Bench, name: str, project: str) -> None:
    bench.write(f"{name}.jsonl", range(8))
    sent = {"source": str(bench.folder / f"{name}.jsonl"), "name": name}
    assert bench.client.post("/v1/datasets", json=sent).status_code == 201
    _belongs(bench, name, project)


def _belongs(bench: Bench, name: str, project: str) -> None:
    with bench.plane.services.database.write() as session:
        session.execute(update(DatasetRow).where(DatasetRow.name == name).values(project=project))


NAMING = {
    "a training's rows": ("{id: t, type: model-trainer, task: sft, dataset: talks}", "train_file"),
    "a training's rows to evaluate": (
        "{id: t, type: model-trainer, task: sft, dataset: mine, eval_dataset: talks}",
        "eval_file",
    ),
    "a training's samples": (
        "{id: t, type: model-trainer, task: sft, dataset: mine, evaluate_checkpoints: true, "
        "evaluation_sample_file: talks}",
        "evaluation_sample_file",
    ),
    "a training's model": ("{id: t, type: model-trainer, task: sft, model: theirs, dataset: mine}", "model"),
    "an operation's rows": ("{id: t, type: datasets, method: shuffle, dataset: talks}", "dataset"),
    "a model's rows": ("{id: t, type: model-evaluator, model: MODEL, dataset: talks}", "eval_file"),
}


@pytest.mark.parametrize("naming", NAMING)
def test_a_name_of_another_project_is_refused_when_a_pipeline_is_sent(bench: Bench, naming: str) -> None:
    """Whoever sends it sees every project; the loop that looks the name up later sees the pipeline's alone."""
    component, field = NAMING[naming]
    _register(bench, "talks", "other")
    _register(bench, "mine", "default")
    refused = bench.post(f"components: [{component.replace('MODEL', MODEL)}]")
    assert refused.status_code == 422, refused.text
    (problem,) = refused.json()["error"]["problems"]
    assert field in problem["field"].partition("jobs[t]")[2], problem
    assert bench.client.get("/v1/pipelines").json()["data"] == []
    if "talks" in problem["message"]:
        assert "another project" in problem["hint"]


def test_a_name_of_its_own_project_is_found_when_a_pipeline_is_sent(bench: Bench) -> None:
    _register(bench, "talks", "other")
    assert bench.client.post("/v1/projects", json={"name": "other"}).status_code in (201, 409)
    text = "components: [{id: t, type: model-trainer, task: sft, dataset: talks}]"
    view = bench.worked(bench.made(text, project="other"))
    assert bench.plane.task(str(view.steps[0].task_id)).spec["train_file"] == "talks@1"


def test_a_step_reaches_into_no_other_project(bench: Bench) -> None:
    """Its name is looked up by a loop, long after somebody was asked who they are."""
    _register(bench, "talks", "default")
    made = bench.made("components: [{id: t, type: model-trainer, task: sft, dataset: talks}]")
    _belongs(bench, "talks", "other")
    view = bench.worked(made)
    assert view.state is State.FAILED
    assert "talks" in view.message
    assert view.steps[0].task_id is None


def test_samples_of_another_project_are_refused_where_checkpoints_are_scored(bench: Bench) -> None:
    """A loop submits the evaluations, in the training's project."""
    _register(bench, "talks", "other")
    bench.plane.training.look_at = lambda _scope, _spec: TrainInputs(
        model_path=MODEL, train_path=str(bench.folder / "a.jsonl"), samples_dataset="talks@1"
    )
    with pytest.raises(InvalidInput, match="no data set `talks") as refused:
        bench.plane.submit()
    (problem,) = refused.value.problems
    assert problem.field == "spec.evaluation_sample_file"
    assert "another project" in str(problem.hint)


def test_a_training_is_taken_again_as_long_as_its_data_set_is_the_same(bench: Bench) -> None:
    text = "components: [{id: t, type: model-trainer, task: sft, dataset: talks}]"

    def register(numbers: range) -> None:
        bench.write("talks.jsonl", numbers)
        sent = {"source": str(bench.folder / "talks.jsonl"), "name": "talks"}
        assert bench.client.post("/v1/datasets", json=sent).status_code == 201

    def trained() -> tuple[bool, str]:
        made = bench.made(text)
        view = bench.worked(made)
        if view.state is not State.COMPLETED:
            bench.end_task(str(view.steps[0].task_id))
            view = bench.worked(made)
        return view.steps[0].is_reused, bench.plane.task(str(view.steps[0].task_id)).spec["train_file"]

    register(range(6))
    assert [trained(), trained()] == [(False, "talks@1"), (True, "talks@1")]
    register(range(9))
    assert [trained(), trained()] == [(False, "talks@2"), (True, "talks@2")]


def test_a_step_whose_check_takes_long_starts_and_keeps_nobody_waiting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check goes on while the loop serves others; the step says so, and starts once it is done."""
    monkeypatch.setattr(LoopCaller, "patience_seconds", 0.0)
    pipe = bench.folder / "pipe"
    os.mkfifo(pipe)
    usual = bench.plane.training.look_at

    def check(scope: Any, spec: Any) -> Any:
        checks.adapter_base(pipe)  # it takes as long as the test wants
        return usual(scope, spec)

    def tick() -> None:
        with serving_others():
            bench.runner.tick()

    bench.plane.training.look_at = check
    text = 'components: [{id: t, type: model-trainer, task: sft, dataset: "${input.file}"}]'
    made = bench.made(text, input={"file": str(bench.folder / "a.jsonl")})
    tick()
    handle = os.open(pipe, os.O_WRONLY)  # once it is being read
    for _ in range(3):
        tick()
        (step,) = bench.view(made).steps
        assert (step.state, step.task_id) == (State.PENDING, None)
        assert "being checked" in step.message
    changed = pipe.stat().st_mtime_ns
    os.write(handle, b"{}")
    os.utime(pipe, ns=(changed, changed))  # it is the file that was asked about
    os.close(handle)

    def has_started() -> bool:
        tick()
        return bench.view(made).steps[0].state is State.RUNNING

    wait_until(has_started, 60, "the step's start")


def test_a_key_begins_one_pipeline(bench: Bench) -> None:
    sent = {"yaml": FLOW, "model": MODEL, "folder": str(bench.folder)}

    def post(**changed: Any) -> Any:
        return bench.client.post("/v1/pipelines", json=sent | changed, headers={"Idempotency-Key": "k"})

    first, again, other = post(), post(), post(name="other")
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert again.json()["id"] == first.json()["id"]
    assert other.json()["error"]["code"] == "idempotency_conflict"
    assert len(bench.client.get("/v1/pipelines").json()["data"]) == 1


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
    assert len(bench.started()) == 2
    stopped = bench.client.post(f"/v1/pipelines/{made.id}:stop").json()
    assert stopped["state"] == "stopping"
    refused = bench.client.delete(f"/v1/pipelines/{made.id}")
    assert refused.status_code == 409
    bench.runner.tick()
    for task in bench.client.get("/v1/tasks").json()["data"]:
        assert (task["kind"], task["desired"]) == ("dataset", "stop")
        bench.plane.jobs.kill(f"{task['id']}-1")  # as the grace period ends
    for _ in range(3):
        bench.plane.tick()
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
    assert bench.started() == []
    bench.runner.tick()
    assert "Waiting" in bench.view(made).steps[0].message
    bench.plane.jobs.is_away = False
    assert states(bench.worked(made))["train"] == "running"


def test_a_job_that_leaves_nothing_is_a_failure(bench: Bench) -> None:
    made = bench.made()
    for job in bench.started():
        bench.plane.jobs.jobs[job] = JobStatus.FAILED
    bench.plane.tick()
    bench.runner.tick()
    bench.runner.tick()
    view = bench.view(made)
    assert (view.state, "without a last word" in view.message) == (State.FAILED, True)


def test_another_runner_waits_for_the_lease(bench: Bench) -> None:
    made = bench.made()
    other = PipelineRunner(bench.plane.services)
    for job in bench.started():
        carry_out(bench.plane, job)
    bench.plane.tick()
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
    refused = bench.client.delete(f"/v1/pipelines/{again.id}", params={"with_files": True})
    assert (refused.status_code, Path(again.steps[0].output).exists()) == (409, True)
    assert task_id in refused.json()["error"]["message"], "it may be continued"
    assert bench.client.delete(f"/v1/tasks/{task_id}").status_code == 204
    assert bench.client.delete(f"/v1/pipelines/{again.id}", params={"with_files": True}).status_code == 204
    assert not Path(again.steps[0].output).exists()
