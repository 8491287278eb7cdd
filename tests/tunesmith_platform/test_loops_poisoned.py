"""One item that raises keeps no loop from the others, and what troubled one is told and taken back."""

import datetime as dt
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from conftest_platform import LOCAL, Plane
from poisons import POISONS, Panic, in_a_thread

from tunesmith_platform.db.tables import DeliveryRow, PipelineRow, PipelineStepRow, RunnerRow
from tunesmith_platform.evaluations.loop import CheckpointScoring
from tunesmith_platform.loops import Loop
from tunesmith_platform.monitoring.loop import Monitor
from tunesmith_platform.notifications import messages
from tunesmith_platform.notifications.loop import Notifier
from tunesmith_platform.pipelines.runner import PipelineRunner
from tunesmith_platform.reconciler.loop import Reconciler
from tunesmith_platform.runners.dispatch import code_stamp
from tunesmith_platform.runners.pool import RunnerPool
from tunesmith_platform.scope import Scope

_NOW = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)


class Case(NamedTuple):
    """A loop, whose method works on an item, and the items' ids."""

    loop: Loop
    owner: object
    method: str
    ids: list[Any]
    id_of: Callable[[Any], Any] = lambda item: item


def reconciler(plane: Plane) -> Case:
    return Case(plane.reconciler, plane.reconciler, "reconcile", running(plane))


def mirror(plane: Plane) -> Case:
    return Case(plane.mirror, plane.mirror, "_bring_up", running(plane))


def monitor(plane: Plane) -> Case:
    loop = Monitor(plane.services.database, plane.services.hub, plane.settings)
    return Case(loop, loop, "_look", running(plane))


def notifier(plane: Plane) -> Case:
    """More than are sent at once: the second handful comes in the same round too."""
    with plane.services.database.write() as session:
        facts = {"event": "test", "payload": {}, "state": "pending", "tries": 0, "message": ""}
        rows = [
            DeliveryRow(**LOCAL.stamp(), receiver="email", next_at=_NOW, created_at=_NOW, **facts)
            for _ in range(6)
        ]
        session.add_all(rows)
    service = plane.services.notifications
    return Case(
        Notifier(service, plane.services.hub),
        service,
        "deliver",
        [row.id for row in rows],
        lambda row: row.id,
    )


def runner_pool(plane: Plane) -> Case:
    plane.settings.warm_runners = 2
    with plane.services.database.write() as session:
        for name in "ab":
            session.add(RunnerRow(id=f"runner-{name}", state="idle", code=code_stamp(), created_at=_NOW))
    loop = RunnerPool(plane.services.database, plane.services.hub, plane.settings, plane.services.jobs)
    return Case(loop, loop, "_look", ["runner-a", "runner-b"], lambda row: row.id)


def pipelines(plane: Plane) -> Case:
    for name in "ab":
        add_pipeline(plane, name)
    loop = PipelineRunner(plane.services)
    return Case(loop, loop, "advance", ["pipe-a", "pipe-b"])


def steps_that_run(plane: Plane) -> Case:
    add_pipeline(plane, "a", one="running", other="running")
    loop = PipelineRunner(plane.services)
    return Case(loop, loop, "_observe_task", ["one", "other"], lambda row: row.name)


def steps_that_start(plane: Plane) -> Case:
    add_pipeline(plane, "a", one="pending", other="pending")
    loop = PipelineRunner(plane.services)
    loop_start = "_carry_on_task"  # what a step that has a task begins with
    return Case(loop, loop, loop_start, ["one", "other"], lambda row: row.name)


def checkpoint_scores(plane: Plane) -> Case:
    plane.settings.max_concurrent_jobs = 2
    saved = {
        "kind": "checkpoint",
        "step": 5,
        "uri": "/c",
        "bytes": 1,
        "files": 1,
        "manifest_sha256": "0" * 64,
    }
    tasks = [plane.running(spec={"evaluate_checkpoints": True}) for _ in "ab"]
    for task in tasks:
        plane.report(task, saved)
    loop = CheckpointScoring(plane.services)
    return Case(loop, loop, "advance", sorted(task.id for task in tasks))


def running(plane: Plane) -> list[str]:
    plane.settings.max_concurrent_jobs = 2
    return sorted([plane.running().id, plane.running().id])


def add_pipeline(plane: Plane, name: str, **steps: str) -> None:
    task = plane.submit().id if steps else None
    texts = {"project": "p", "workflow": "w", "owner": "local", "desired": "run", "state": "running"}
    with plane.services.database.write() as session:
        session.add(PipelineRow(id=f"pipe-{name}", name=name, request={}, created_at=_NOW, **texts))
        session.flush()
        for position, (step, state) in enumerate(steps.items()):
            facts = {
                "kind": "train",
                "component": "c",
                "method": "sft",
                "parameters": {},
                "needs": [],
            }
            session.add(
                PipelineStepRow(
                    pipeline_id=f"pipe-{name}",
                    position=position,
                    name=step,
                    state=state,
                    task_id=task,
                    **facts,
                )
            )


@pytest.mark.parametrize("poison", [POISONS[0], POISONS[2]], ids=repr)
@pytest.mark.parametrize(
    "case",
    [
        reconciler,
        mirror,
        monitor,
        notifier,
        runner_pool,
        pipelines,
        steps_that_run,
        steps_that_start,
        checkpoint_scores,
    ],
)
def test_one_poisoned_item_keeps_no_loop_from_the_others(
    plane: Plane, case: Callable[[Plane], Case], poison: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, owner, method, ids, id_of = case(plane)
    served: list[Any] = []

    def work(*given: Any) -> bool:
        item = next(one for one in given if not isinstance(one, Scope))
        if id_of(item) == ids[0]:
            raise poison
        served.append(id_of(item))
        return False

    monkeypatch.setattr(owner, method, work)
    in_a_thread(loop.tick)
    assert sorted(served) == ids[1:]


def test_a_task_says_that_we_cannot_look_after_it_until_we_can(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = plane.running()
    with monkeypatch.context() as patched:
        patched.setattr(plane.jobs, "observe", lambda _: int("not a number"))
        in_a_thread(plane.tick)
        assert "cannot look after this task" in plane.task(task.id).message
        assert "ValueError" in plane.task(task.id).message
    in_a_thread(plane.tick)
    assert plane.task(task.id).message == ""


def test_a_restarted_platform_takes_back_what_troubled_the_one_before(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, other = plane.running(), plane.submit()
    with monkeypatch.context() as patched:
        patched.setattr(plane.jobs, "observe", lambda _: int("not a number"))
        in_a_thread(plane.tick)
    assert "cannot look after this task" in plane.task(task.id).message
    again = Reconciler(plane.services, plane.mirror)
    again.begin()
    assert plane.task(task.id).message == ""
    assert plane.task(other.id).message.startswith("Waiting for its turn"), "what others say stays"
    again.tick()
    assert plane.task(task.id).message == ""


def test_an_event_that_cannot_be_told_of_keeps_no_other_back(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cursor moves on, or every round would begin with it."""
    monkeypatch.setattr(plane.settings, "smtp_host", "mail.invalid")
    monkeypatch.setattr(plane.settings, "smtp_to", ["ann@example.org"])
    worded = messages.payload

    def payload(task: Any, *rest: Any) -> Any:
        if task.id == ids[0]:
            raise Panic("a letter that cannot be written")
        return worded(task, *rest)

    ids = [plane.submit().id for _ in range(3)]
    for task_id in ids:
        plane.services.tasks.stop(LOCAL, task_id)
    monkeypatch.setattr(messages, "payload", payload)
    sent: list[Any] = []
    in_a_thread(lambda: sent.append(plane.services.notifications.enqueue()))
    assert sent == [2]
    assert plane.services.notifications.enqueue() == 0
