"""A kind of task that a package of its own brings goes through everything, and no file of the platform knows it.

The package lies in `tests/toy`: its declaration, what the platform does with it, and its program, found through the
entry point that its metadata name.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL, Plane
from fastapi.testclient import TestClient
from served import served
from typer.testing import CliRunner

import tunesmith.spec.kinds as registry
import tunesmith.spec.task as envelopes
from tunesmith.cli.main import build_app
from tunesmith.home import Home
from tunesmith.lifecycle import Desired, State
from tunesmith.pipelines import PipelineView
from tunesmith.spec.kinds import Feature, kinds
from tunesmith.spec.task import TaskRequest
from tunesmith.views import TaskView
from tunesmith_jobs.program import Attempt
from tunesmith_jobs.worker import do
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.pipelines.runner import PipelineRunner
from tunesmith_platform.quota.service import NewGrant, QuotaChange
from tunesmith_platform.sandbox import shared_workers

TOY = Path(__file__).resolve().parents[1] / "toy"


def forget() -> None:
    """What is installed is looked up anew."""
    for module in (registry, envelopes):
        for found in vars(module).values():
            if hasattr(found, "cache_clear"):
                found.cache_clear()


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(TOY))
    monkeypatch.setenv("PYTHONPATH", str(TOY))  # of the processes that read strangers' files
    monkeypatch.setattr(shared_workers, "shared", shared_workers._Shared())
    forget()
    yield
    shared_workers.shared.get().close()
    monkeypatch.undo()
    forget()


@pytest.fixture
def plane(toy: None, home: Home) -> Iterator[Plane]:
    plane = Plane(home, max_model_jobs=2)
    yield plane
    plane.services.database.close()


def count(client: TestClient, key: str | None = None, **spec: Any) -> TaskView:
    headers = {"Idempotency-Key": key} if key else {}
    reply = client.post("/v1/tasks", json={"kind": "count", "spec": {"to": 5} | spec}, headers=headers)
    assert reply.status_code in (200, 201), reply.text
    return TaskView.model_validate(reply.json())


def work(
    plane: Plane, task: TaskView, *, attempt: int = 1, desired: Desired = Desired.RUN, begin: int = 0
) -> TaskView:
    """Carry out what was handed to Ray, as the package's program does."""
    from data_jobs import Ear
    from toy_kind.program import CountDocument

    plane.tick()
    job = f"{task.id}-{attempt}"
    found = Attempt.read(plane.jobs.documents[job])
    assert isinstance(found.document, CountDocument)
    document = found.document.model_copy(update={"begin": begin})
    plane.job(task, JobStatus.RUNNING, attempt)
    plane.tick()
    ear = Ear(desired)
    last = do(Attempt.of(document), ear).finished()
    plane.report(task, *(said.model_dump(mode="json") for said in (*ear.heard, last)), attempt=attempt)
    plane.job(task, JobStatus.SUCCEEDED, attempt)
    plane.tick()
    return plane.task(task.id)


def test_its_task_is_made_carried_out_and_shown(plane: Plane, client: TestClient) -> None:
    task = count(client, "key")
    assert (task.kind, task.state, task.name.split("_")[0]) == ("count", State.PENDING, "count")
    assert count(client, "key").id == task.id, "the same key again"
    done = work(plane, task)
    assert (done.state, done.message, done.next_step) == (State.COMPLETED, "Counted to 5.", "Count further.")
    listed = client.get("/v1/tasks", params={"kind": "count"}).json()["data"]
    assert [one["id"] for one in listed] == [task.id]
    series = client.get(f"/v1/tasks/{task.id}/metrics").json()["series"]["number"]
    assert [point["value"] for point in series] == [1, 2, 3, 4, 5]
    checkpoints = client.get(f"/v1/tasks/{task.id}/checkpoints").json()["data"]
    assert sorted(one["step"] for one in checkpoints) == [2, 4]


def test_its_parameters_are_checked_and_described(plane: Plane, client: TestClient) -> None:
    refused = client.post("/v1/tasks", json={"kind": "count", "spec": {"to": 5, "evry": 1}})
    problem = refused.json()["error"]["problems"][0]
    assert (refused.status_code, problem["field"], problem["hint"]) == (
        422,
        "spec.evry",
        "Did you mean `save_steps`?",
    )
    described = plane.app.openapi()["components"]["schemas"]
    assert described["TaskRequest"]["discriminator"]["mapping"]["count"].endswith("/CountTaskRequest")
    assert "save_steps" in described["CountTaskRequest"]["properties"]["spec"]["properties"]
    assert client.get("/v1/schema/count").json()["properties"]["to"]["tunesmith"]["label_zh"] == "计数上限"


def test_a_stop_keeps_its_checkpoint_and_it_goes_on(plane: Plane, client: TestClient) -> None:
    task = count(client)
    plane.tick()
    plane.job(task, JobStatus.RUNNING)
    plane.tick()
    plane.report(task, {"kind": "training_started", "step": 0, "total_steps": 5})
    client.post(f"/v1/tasks/{task.id}:stop")
    stopped = work(plane, task, desired=Desired.STOP)
    assert (stopped.state, stopped.progress.step) == (State.STOPPED, 2)
    more = client.post(f"/v1/tasks/{task.id}:continue", json={"max_steps": 6})
    assert more.status_code == 202, more.text
    done = work(plane, task, attempt=2, begin=2)
    assert (done.state, done.progress.step, done.attempt) == (State.COMPLETED, 6, 2)


def test_it_is_cloned_and_compared(plane: Plane, client: TestClient) -> None:
    task = count(client)
    clone = client.post(f"/v1/tasks/{task.id}:clone", json={"spec": {"every": 3}}).json()
    assert (clone["kind"], clone["spec"]["to"], clone["spec"]["save_steps"]) == ("count", 5, 3)
    diff = client.get("/v1/tasks:diff", params={"a": task.id, "b": clone["id"]}).json()
    assert [one["name"] for one in diff["differences"]] == ["save_steps"]
    refused = client.post(f"/v1/tasks/{task.id}:new-stage", json={})
    assert refused.status_code in (404, 409)


def test_it_has_a_run_in_mlflow(plane: Plane, client: TestClient) -> None:
    task = count(client)
    work(plane, task)
    plane.mirror.tick()
    run = plane.tracking.runs[f"run-{task.id}"]
    assert sorted(point.value for point in run.points if point.name == "number") == [1, 2, 3, 4, 5]
    assert (run.status, run.params["to"]) == ("FINISHED", "5")


def test_its_checkpoints_count_against_the_quota(plane: Plane, client: TestClient) -> None:
    plane.services.quota.change(LOCAL, "default", QuotaChange(enabled=True))
    refused = client.post("/v1/tasks", json={"kind": "count", "spec": {"to": 5}})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "quota_exceeded")
    plane.services.quota.grant(LOCAL, "default", NewGrant(amount=3), None)
    task = count(client)
    assert plane.services.quota.get(LOCAL, "default").reserved == 2
    work(plane, task)
    left = plane.services.quota.get(LOCAL, "default")
    assert (left.available, left.reserved) == (1, 0)


def test_what_finds_no_room_says_what_it_waits_for(plane: Plane, client: TestClient) -> None:
    plane.settings.max_model_jobs = 1
    training = plane.running()
    first, second = count(client), count(client)
    plane.tick()
    plane.tick()
    assert plane.jobs.jobs.keys() == {f"{training.id}-1", f"{first.id}-1"}, "one beside a training, not two"
    assert plane.task(second.id).message == (
        f"Waiting for its turn: 1 at a time (`max_model_jobs`), and `{first.name}` has not ended."
    )
    work(plane, first)
    plane.tick()
    assert plane.task(second.id).message == "Waiting for the cluster to start it."


def test_its_events_are_streamed(plane: Plane, client: TestClient) -> None:
    task = count(client)
    work(plane, task)
    events = client.get(f"/v1/tasks/{task.id}/events", params={"limit": 1000}).json()["data"]
    assert [one["payload"]["kind"] for one in events].count("metrics") == 5
    with client.stream("GET", f"/v1/tasks/{task.id}/stream") as reply:
        text = "".join(reply.iter_text())
    assert '"number"' in text


def test_it_is_a_step_of_a_pipeline(plane: Plane, client: TestClient) -> None:
    flow = {
        "components": [
            {"id": "one", "type": "counter", "to": "${input.to}"},
            {"id": "two", "type": "counter"},
        ],
        "workflows": [
            {
                "id": "flow",
                "jobs": [
                    {"id": "first", "component": "one"},
                    {"id": "second", "component": "two", "input": {"to": 3}, "depends_on": ["first"]},
                ],
            }
        ],
    }
    runner = PipelineRunner(plane.services)
    sent = {"yaml": json.dumps(flow), "input": {"to": 4}}
    made = PipelineView.model_validate(client.post("/v1/pipelines", json=sent).json())
    for _ in range(2):
        runner.tick()
        step = next(
            one for one in plane.services.pipelines.get(LOCAL, made.id).steps if one.state is State.RUNNING
        )
        work(plane, plane.task(str(step.task_id)))
    runner.tick()
    done = plane.services.pipelines.get(LOCAL, made.id)
    assert (done.state, [step.output for step in done.steps]) == (State.COMPLETED, [4, 3])


def test_the_command_line_takes_it(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(plane.app, plane.api_key, monkeypatch):
        app = build_app(with_plugins=False)
        kinds_listed = CliRunner().invoke(app, ["tasks", "create"])
        assert "count" in kinds_listed.output
        made = CliRunner().invoke(
            app, ["tasks", "create", "count", "--set", "to=3", "--set", "every=1", "--detach"]
        )
        assert made.exit_code == 0, made.output
        named = CliRunner().invoke(
            app, ["tasks", "create", "evaluate", "--set", "task_id=nobody", "--detach"]
        )
        assert "There is no task `nobody`" in str(named.exception), "a task's name will do, if there is one"
        shown = CliRunner().invoke(app, ["tasks", "list", "--kind", "count", "--json"])
        assert '"to": 3' in shown.output


def test_each_feature_is_had_by_several_kinds(toy: None) -> None:
    """One that a single kind had would be that kind's name in other words."""
    for feature in Feature:
        assert len(registry.supporting(feature)) > 1, feature


def test_a_kind_that_is_not_installed_is_named(client: TestClient) -> None:
    reply = client.post("/v1/tasks", json={"kind": "conut", "spec": {}})
    assert reply.status_code == 422
    assert "Did you mean `count`?" in json.dumps(reply.json())


def test_every_installed_kind_can_be_sent() -> None:
    """Its example is read by the one envelope that the API takes."""
    for name, kind in kinds().items():
        request = TaskRequest(kind=name, spec={})
        assert request.kind == name
        assert kind.label[0]
        assert kind.label[1]
