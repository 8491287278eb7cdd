"""A warning reaches everybody who follows: the stream, the terminal, the webhook, the autopsy. Each of them once."""

from collections.abc import Callable

import pytest
from conftest_platform import LOCAL, Plane
from fastapi.testclient import TestClient
from receivers import Hook, add, notifier

from tunesmith.cli.watching import Board
from tunesmith.views import TaskView
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.monitoring.loop import Monitor
from tunesmith_platform.quota.service import NewGrant, QuotaChange

pytestmark = pytest.mark.usefixtures("private_addresses")


def spike(plane: Plane, loop: Monitor) -> TaskView:
    task = plane.running()
    losses = [2.0] * 40 + [30.0]
    plane.report(
        task, *({"kind": "metrics", "step": i, "values": {"loss": loss}} for i, loss in enumerate(losses))
    )
    loop.look()
    return task


def overfitting(plane: Plane, loop: Monitor) -> TaskView:
    task = plane.running()
    for i, (loss, eval_loss) in enumerate([(3, 3), (2.5, 2.6), (2, 2.7), (1.5, 2.8), (1, 2.9)]):
        plane.report(
            task,
            {"kind": "metrics", "step": 10 * i, "values": {"loss": loss}},
            {"kind": "metrics", "step": 10 * i + 1, "values": {"eval_loss": eval_loss}},
        )
    loop.look()
    return task


def stall(plane: Plane, loop: Monitor) -> TaskView:
    task = plane.running()
    plane.report(task, *({"kind": "metrics", "step": i, "values": {"loss": 2.0}} for i in range(10)))
    loop.look()
    loop.look(130)
    return task


def lost_worker(plane: Plane, loop: Monitor) -> TaskView:
    task = plane.running()
    plane.report(task, {"kind": "training_started", "step": 5, "total_steps": 10, "restart": 1})
    loop.look()
    return task


def lost_job(plane: Plane, loop: Monitor) -> TaskView:
    task = plane.running(spec={"max_restarts": 2})
    del plane.jobs.jobs[f"{task.id}-1"]
    plane.tick()
    return task


def low_quota(plane: Plane, loop: Monitor) -> TaskView:
    plane.services.quota.change(LOCAL, "default", QuotaChange(enabled=True, low_threshold=5))
    plane.services.quota.grant(LOCAL, "default", NewGrant(amount=3), None)
    return plane.submit(spec={"max_steps": 10})


def not_a_number(plane: Plane, loop: Monitor) -> TaskView:
    task = plane.running()
    plane.report(
        task, {"kind": "warning", "code": "numeric", "message": "The loss is NaN.", "hint": "Lower it."}
    )
    return task


@pytest.mark.parametrize(
    ("cause", "code", "event"),
    [
        (spike, "loss_spike", "warning"),
        (overfitting, "overfitting", "warning"),
        (stall, "stall", "warning"),
        (lost_worker, "restart", "warning"),
        (lost_job, "restart", "warning"),
        (not_a_number, "numeric", "warning"),
        (low_quota, "quota_low", "quota_low"),
    ],
)
def test_a_warning_arrives_everywhere_once(
    plane: Plane,
    client: TestClient,
    hook: Hook,
    cause: Callable[[Plane, Monitor], TaskView],
    code: str,
    event: str,
) -> None:
    add(plane, hook)
    task = cause(plane, Monitor(plane.services.database, plane.services.hub, plane.settings))
    for _ in range(2):
        notifier(plane).tick()
    (posted,) = hook.posts
    assert (posted.data["event"], posted.data["task"]["warning"]) == (event, code)
    board = Board(plane.task(task.id))
    found = plane.services.events.page(LOCAL, task.id, 0, 1000).data
    lines = [str(line) for entry in found if (line := board.take(entry))]
    (warned,) = [line for line in lines if line.startswith("! ")]
    assert posted.data["task"]["message"] in warned
    assert [warning.code for warning in plane.services.monitoring.autopsy(LOCAL, task.id).warnings] == [code]
    # A stream ends with its task.
    plane.services.tasks.stop(LOCAL, task.id)
    plane.job(task, JobStatus.STOPPED)
    plane.tick()
    said = client.get(f"/v1/tasks/{task.id}/stream").text
    assert said.count("event: warning") == 1
    assert f'"code":"{code}"' in said
