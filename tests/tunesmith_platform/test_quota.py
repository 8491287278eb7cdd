"""The quota: reserve at submit, charge what is saved, stop when it runs out, release at the end."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL, Plane
from fastapi.testclient import TestClient
from given import MODEL, ROWS
from tiny_model import make_tiny_model

from tunesmith.errors import ErrorResponse, QuotaExceeded
from tunesmith.events import Finished
from tunesmith.home import Home
from tunesmith.lifecycle import Desired, Reason, State
from tunesmith.planning import checkpoints_left, plan_steps
from tunesmith.spec.task import MoreSteps
from tunesmith.spec.training import TrainSpec
from tunesmith.views import TaskView
from tunesmith_platform.backends.protocols import JobStatus, Observation
from tunesmith_platform.db.tables import ApiKeyRow
from tunesmith_platform.quota.service import NewGrant, QuotaChange
from tunesmith_platform.reconciler.decisions import AttemptPhase, End, Facts, decide
from tunesmith_platform.scope import INSTALLATION
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks import repository as tasks
from tunesmith_platform.tasks.inputs import check_train_inputs
from tunesmith_platform.tasks.repository import Filter

THREE = {"max_steps": 30, "save_strategy": "steps", "save_steps": 10}
"""Parameters that plan three checkpoints: 10, 20, and the final one."""
P = "default"


def allow(plane: Plane, amount: int, **change: Any) -> None:
    plane.services.quota.change(LOCAL, P, QuotaChange(enabled=True, **change))
    grant(plane, amount)


def grant(plane: Plane, amount: int) -> None:
    plane.services.quota.grant(LOCAL, P, NewGrant(amount=amount), None)


def training(plane: Plane, spec: dict[str, Any] = THREE) -> TaskView:
    """A task that has begun to train its 30 steps."""
    task = plane.submit(spec=spec)
    plane.tick()
    plane.job(task, JobStatus.RUNNING)
    plane.tick()
    plane.report(task, {"kind": "training_started", "step": 0, "total_steps": 30})
    return plane.task(task.id)


def saved(step: int) -> dict[str, Any]:
    return {
        "kind": "checkpoint",
        "step": step,
        "uri": f"/c/{step}",
        "bytes": 1,
        "files": 1,
        "manifest_sha256": "0" * 64,
    }


def finish(plane: Plane, task: TaskView, outcome: str = "completed", reason: str = "completed") -> TaskView:
    plane.report(task, {"kind": "finished", "outcome": outcome, "reason": reason, "message": "Step 10."})
    plane.job(task, JobStatus.SUCCEEDED)
    plane.tick()
    return plane.task(task.id)


def counts(plane: Plane) -> tuple[int, int, int]:
    """Charged, reserved, available."""
    view = plane.services.quota.get(LOCAL, P)
    return view.charged, view.reserved, view.available


def kinds(plane: Plane, task: TaskView) -> list[str]:
    page = plane.services.quota.history(LOCAL, P, task.id, None, 100)
    return [str(entry.kind) for entry in reversed(page.data)]


def warnings(plane: Plane, task: TaskView) -> list[Any]:
    found = plane.services.events.page(LOCAL, task.id, 0, 1000, ["warning"]).data
    return [event.payload for event in found if event.payload.code == "quota_low"]


def test_it_is_off_until_an_administrator_switches_it_on(plane: Plane) -> None:
    task = training(plane)
    plane.report(task, saved(10))
    assert counts(plane) == (0, 0, 0)
    allow(plane, 3)
    plane.report(task, saved(20))
    assert finish(plane, task).state is State.COMPLETED
    assert counts(plane) == (0, 0, 3), "it was submitted while the quota was off"


def test_a_task_reserves_is_charged_and_gives_back_the_rest(plane: Plane) -> None:
    allow(plane, 5)
    task = training(plane)
    assert counts(plane) == (0, 3, 2)
    plane.report(task, saved(10), {"kind": "checkpoint_removed", "step": 10})
    assert counts(plane) == (1, 2, 2), "pruning refunds nothing"
    plane.services.tasks.stop(LOCAL, task.id)
    done = finish(plane, task, "stopped", "stopped_by_user")
    assert done.reason is Reason.STOPPED_BY_USER
    assert counts(plane) == (1, 0, 4)
    assert kinds(plane, task) == ["reserve", "charge", "release"]
    plane.services.tasks.delete(LOCAL, task.id, with_files=False)
    assert kinds(plane, task) == ["reserve", "charge", "release"], "the ledger outlives its task"


def test_exactly_enough_is_enough(plane: Plane) -> None:
    allow(plane, 3)
    task = training(plane)
    for step in (10, 20, 30):
        assert plane.report(task, saved(step)).desired is Desired.RUN
    assert finish(plane, task).state is State.COMPLETED
    assert counts(plane) == (3, 0, 0)


def test_too_little_is_refused_with_the_numbers(plane: Plane) -> None:
    allow(plane, 5)
    plane.submit(spec=THREE)
    with pytest.raises(QuotaExceeded) as refused:
        plane.submit(spec=THREE)
    assert refused.value.details == {"project": P, "needed": 3, "available": 2, "reserved": 3}
    assert "3 checkpoints" in refused.value.message
    assert "a grant of 1" in (refused.value.hint or "")
    assert len(plane.services.tasks.page(LOCAL, Filter()).data) == 1, "nothing was made"
    plane.submit(spec=THREE | {"save_steps": 15})
    plane.submit(spec=THREE, project="other")


def test_a_task_that_is_stopped_before_it_starts_gives_all_back(plane: Plane) -> None:
    allow(plane, 3)
    task = plane.submit(spec=THREE)
    plane.services.tasks.stop(LOCAL, task.id)
    assert counts(plane) == (0, 0, 3)


def test_a_checkpoint_is_charged_once_however_often_it_is_reported(plane: Plane) -> None:
    allow(plane, 3)
    task = training(plane)
    plane.report(task, saved(10), saved(10))
    plane.report(task, saved(10))
    del plane.jobs.jobs[f"{task.id}-1"]
    plane.tick()
    with plane.services.database.write() as session:
        tasks.locked(session, INSTALLATION, task.id).retry_at = None
    plane.tick()
    plane.report(task, saved(10), saved(20), attempt=2)  # it hands in what the first one saved
    assert counts(plane) == (2, 1, 0)


def test_grants_taken_away_let_a_task_save_and_stop(plane: Plane) -> None:
    allow(plane, 3)
    task = training(plane)
    grant(plane, -2)
    assert counts(plane) == (0, 3, -2)
    receipt = plane.report(task, saved(10))
    assert receipt.desired is Desired.STOP, "it hears so in the same answer"
    stopping = plane.task(task.id)
    assert stopping.state is State.STOPPING
    assert "quota ran out" in stopping.message
    plane.services.tasks.stop(LOCAL, task.id)
    done = finish(plane, task, "stopped", "stopped_by_user")
    assert (done.state, done.reason) == (State.STOPPED, Reason.QUOTA), "a later click changes no reason"
    assert done.message == "The training quota ran out. Step 10."
    assert "grant" in (done.next_step or "")
    assert counts(plane) == (1, 0, 0)
    assert [item.step for item in plane.services.checkpoints.page(LOCAL, task.id, None, 9).data] == [10]


def test_a_job_that_dies_on_the_way_out_was_stopped_for_the_quota_too(plane: Plane) -> None:
    allow(plane, 3)
    task = training(plane)
    grant(plane, -3)
    plane.report(task, saved(10))
    del plane.jobs.jobs[f"{task.id}-1"]
    plane.tick()
    assert plane.task(task.id).reason is Reason.QUOTA


def test_the_last_checkpoint_never_stops_a_task(plane: Plane) -> None:
    allow(plane, 3)
    task = training(plane)
    plane.report(task, saved(10), saved(20))
    grant(plane, -3)
    assert plane.report(task, saved(30)).desired is Desired.RUN
    assert finish(plane, task).state is State.COMPLETED


def test_unplanned_saves_take_what_is_available_then_stop_while_one_is_left(plane: Plane) -> None:
    allow(plane, 4)
    task = training(plane)
    assert plane.report(task, saved(3)).desired is Desired.RUN
    assert counts(plane) == (1, 3, 0), "the plan's own stay covered"
    assert plane.report(task, saved(5)).desired is Desired.RUN
    assert counts(plane) == (2, 2, 0)
    assert plane.report(task, saved(7)).desired is Desired.STOP
    assert counts(plane) == (3, 1, 0), "one is left for the save of the stop"
    plane.report(task, saved(8))
    assert finish(plane, task, "stopped", "stopped_by_user").reason is Reason.QUOTA
    assert counts(plane) == (4, 0, 0)


def test_a_run_that_is_longer_than_planned_takes_more(plane: Plane) -> None:
    allow(plane, 10)
    # Its rows were not counted: one epoch seemed to be one step.
    task = training(plane, {"num_train_epochs": 1, "save_steps": 10})
    assert counts(plane) == (0, 1, 9)
    plane.report(task, saved(10))
    assert counts(plane) == (1, 2, 7), "the job said that it takes 30 steps"


def test_an_ended_task_that_goes_on_reserves_what_is_left(plane: Plane) -> None:
    allow(plane, 3)
    task = training(plane)
    grant(plane, -2)
    plane.report(task, saved(10))
    finish(plane, task, "stopped", "stopped_by_user")

    with pytest.raises(QuotaExceeded):
        plane.services.verbs.carry_on(LOCAL, task.id, MoreSteps())
    assert plane.task(task.id).state is State.STOPPED
    grant(plane, 2)
    plane.services.verbs.carry_on(LOCAL, task.id, MoreSteps())
    assert counts(plane) == (1, 2, 0)
    plane.services.tasks.stop(LOCAL, task.id)
    assert plane.task(task.id).reason is Reason.STOPPED_BY_USER, "the old reason is forgotten"


def test_a_low_balance_is_said_once_at_each_crossing(plane: Plane) -> None:
    allow(plane, 9, low_threshold=4)
    first = plane.submit(spec=THREE)
    assert warnings(plane, first) == []
    second = plane.submit(spec=THREE)
    (warned,) = warnings(plane, second)
    assert "3 of its training quota" in warned.message
    third = plane.submit(spec=THREE)
    assert warnings(plane, third) == [], "it was said"
    grant(plane, 6)
    fourth = plane.submit(spec=THREE)
    assert len(warnings(plane, fourth)) == 1, "it had risen in between"


def test_the_reason_of_a_stop_is_decided_by_facts_alone() -> None:
    def ended(finished: Finished | None, status: JobStatus) -> Any:
        age = None if finished is None else _SECOND
        facts = Facts(
            State.STOPPING, Desired.STOP, AttemptPhase.SUBMITTED, True, finished, age, _SECOND, None, 1, 3,
            Reason.QUOTA,
        )  # fmt: skip
        return decide(facts, Observation(status), _SECOND)

    stopped = Finished(outcome=State.STOPPED, reason=Reason.STOPPED_BY_USER)
    failed = Finished(outcome=State.FAILED, reason=Reason.NUMERIC)
    for finished, status, reason in (
        (None, JobStatus.ABSENT, Reason.QUOTA),
        (stopped, JobStatus.SUCCEEDED, Reason.QUOTA),
        (failed, JobStatus.FAILED, Reason.NUMERIC),
    ):
        end = ended(finished, status)
        assert isinstance(end, End)
        assert end.reason is reason


_SECOND = dt.timedelta(seconds=1)


def test_the_rows_of_the_training_file_are_counted_at_submit(home: Home, tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "m")
    rows = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n' * 7
    (tmp_path / "t.jsonl").write_text(rows)
    settings = Settings(home=home.root, allowed_roots=[tmp_path])
    spec = TrainSpec(
        model_name_or_path=str(tmp_path / "m"), train_file=str(tmp_path / "t.jsonl"), max_length=32
    )
    assert check_train_inputs(spec, settings).rows == 7


# --- over HTTP


def test_only_administrators_change_a_quota(plane: Plane, client: TestClient) -> None:
    user = {"Authorization": f"Bearer {plane.key('ann')}"}
    for method, path, body in (
        ("PUT", "/v1/quota/p", {"enabled": True}),
        ("POST", "/v1/quota/p/grants", {"amount": 1}),
    ):
        refused = client.request(method, path, json=body, headers=user)
        assert refused.status_code == 403
        assert ErrorResponse.model_validate(refused.json()).error.code == "forbidden"
        assert client.request(method, path, json=body).status_code in (200, 201), "the generated key may"
        assert client.request(method, path, json=body, headers={"Authorization": ""}).status_code == 401
    assert client.get("/v1/quota/p", headers=user).json()["granted"] == 1
    with plane.services.database.read() as session:
        assert {row.role for row in session.query(ApiKeyRow)} == {"admin", "member"}


def test_a_grant_is_made_once_for_a_key(client: TestClient) -> None:
    def post(amount: int) -> Any:
        return client.post("/v1/quota/p/grants", json={"amount": amount}, headers={"Idempotency-Key": "k"})

    first, again = post(5), post(5)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert ErrorResponse.model_validate(post(6).json()).error.code == "idempotency_conflict"
    assert client.get("/v1/quota/p").json()["available"] == 5


@pytest.mark.parametrize("strategy", ["steps", "no"])
@pytest.mark.parametrize("every", [1, 3, 10])
@pytest.mark.parametrize("total", [1, 2, 9, 10, 25])
def test_what_is_left_is_counted_as_the_trainer_saves(strategy: str, every: int, total: int) -> None:
    spec = TrainSpec.model_validate(
        {
            "model": MODEL,
            "train_file": ROWS,
            "max_steps": total,
            "save_strategy": strategy,
            "save_steps": every,
        }
    )
    due = [n for n in range(1, total + 1) if n == total or (strategy == "steps" and n % every == 0)]
    for step in range(total + 2):
        assert checkpoints_left(spec, 5, step) == sum(n > step for n in due)
    assert plan_steps(spec, 5).checkpoints == len(due)


@pytest.mark.parametrize("body", [{"amount": 0}, {"amount": 10**12}, {"amount": "x"}, {"amont": 1}, {}])
def test_a_senseless_grant_is_refused(client: TestClient, body: dict[str, Any]) -> None:
    assert client.post("/v1/quota/p/grants", json=body).status_code == 422
    assert client.get("/v1/quota/p/history").json()["data"] == []


def test_a_submit_over_http_is_refused_with_a_conflict(client: TestClient) -> None:
    client.put("/v1/quota/default", json={"enabled": True})
    reply = client.post("/v1/tasks", json={"spec": {"model": MODEL, "train_file": ROWS} | THREE})
    error = ErrorResponse.model_validate(reply.json()).error
    assert (reply.status_code, error.code, error.details["needed"]) == (409, "quota_exceeded", 3)


def test_the_ledger_and_the_projects_are_read_in_pages(client: TestClient) -> None:
    for amount in range(1, 6):
        client.post("/v1/quota/p/grants", json={"amount": amount})
    client.put("/v1/quota/a 项目", json={"low_threshold": 2})
    page = client.get("/v1/quota/p/history", params={"limit": 2}).json()
    seen = [entry["amount"] for entry in page["data"]]
    while page["has_more"]:
        client.post("/v1/quota/p/grants", json={"amount": 9})
        page = client.get("/v1/quota/p/history", params={"limit": 2, "after": page["next"]}).json()
        seen += [entry["amount"] for entry in page["data"]]
    assert seen == [5, 4, 3, 2, 1]
    first = client.get("/v1/quota", params={"limit": 1}).json()
    assert (first["data"][0]["project"], first["next"]) == ("a 项目", "a 项目")
    rest = client.get("/v1/quota", params={"after": first["next"]}).json()
    assert [item["project"] for item in rest["data"]] == ["p"]
    assert client.get("/v1/quota/never").json()["enabled"] is False
