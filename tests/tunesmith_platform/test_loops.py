"""Background loops: what a round or an item raises ends none, and whoever is unwell is named and started again."""

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from conftest_platform import LOCAL, Plane
from fastapi.testclient import TestClient
from waiting import wait_until

from tunesmith.home import Home
from tunesmith_platform.app import create_app
from tunesmith_platform.caller import current_caller
from tunesmith_platform.db.tables import DeliveryRow, PipelineRow, PipelineStepRow, RunnerRow
from tunesmith_platform.evaluations.loop import CheckpointScoring
from tunesmith_platform.hub import Hub
from tunesmith_platform.loops import Loop, Loops, Troubles, contained
from tunesmith_platform.monitoring.loop import Monitor
from tunesmith_platform.notifications import messages
from tunesmith_platform.notifications.loop import Notifier
from tunesmith_platform.pipelines.runner import PipelineRunner
from tunesmith_platform.reconciler.loop import Reconciler
from tunesmith_platform.runners.dispatch import code_stamp
from tunesmith_platform.runners.pool import RunnerPool
from tunesmith_platform.scope import Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.testing.fakes import FakeJobs


class Panic(BaseException):
    """What a native library raises when Rust panics: no `Exception`."""


POISONS = [RuntimeError("a bug"), MemoryError(), Panic("index out of bounds"), SystemExit(1)]


class Failing(Loop):
    """Fails in its first round, and ends after its third."""

    gather_seconds = idle_seconds = 0.0

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub)
        self.said: list[str] = []

    def begin(self) -> None:
        self.said.append("begin")

    def pause(self) -> None:
        self.said.append("pause")
        super().pause()

    def tick(self) -> None:
        self.said.append("tick")
        if self.said.count("tick") == 1:
            raise RuntimeError("a bug of ours")
        if self.said.count("tick") == 3:
            self.close()


def test_a_loop_has_others_to_serve_than_the_check_of_one_file() -> None:
    """What it has checked goes on beside it: neither it nor the check is given up however long that takes."""
    seen: list[float] = []

    class Asking(Failing):
        def tick(self) -> None:
            seen.append(current_caller().patience_seconds)
            self.close()

    Asking(Hub()).run()
    assert 0 < seen[0] < Loop.stall_seconds / 10


def test_a_round_that_fails_is_followed_by_the_next() -> None:
    loop = Failing(Hub())
    loop.run()
    assert loop.said == ["begin", *["tick", "pause"] * 3]


def test_a_busy_reconciler_leaves_most_of_the_time_to_others(plane: Plane) -> None:
    """However many events come: six times as long as a round took, and half a second at the most."""
    for took, least in ((0.02, 0.12), (3.0, 0.5)):
        plane.reconciler.last_seconds = took
        plane.services.hub.notify("task-1")
        began = time.monotonic()
        plane.reconciler.pause()
        assert least <= time.monotonic() - began < 10, "at most half a second, and what the machine adds"


class Poisoned(Loop):
    """A round over three items, of which the first raises."""

    gather_seconds = idle_seconds = 0.0

    def __init__(self, poison: BaseException, hub: Hub | None = None) -> None:
        super().__init__(hub or Hub())
        self.poison: BaseException | None = poison
        self.served: list[str] = []
        self.told: list[tuple[str, str | None]] = []

    def tick(self) -> None:
        def work(item: str) -> None:
            if item == "a" and self.poison is not None:
                raise self.poison
            self.served.append(item)

        def told(item: str, error: BaseException | None) -> None:
            self.told.append((item, error and type(error).__name__))
            raise ValueError("nor can it be told")

        self.each("abc", work, told=told)


def in_a_thread(work: Callable[[], Any]) -> None:
    """As a loop's thread runs it: only the main thread gets Ctrl-C."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.parametrize("poison", [*POISONS, KeyboardInterrupt()], ids=repr)
def test_the_items_after_one_that_fails_are_served_in_the_same_round(poison: BaseException) -> None:
    loop = Poisoned(poison)
    in_a_thread(loop.tick)
    assert loop.served == ["b", "c"]
    loop.poison = None
    in_a_thread(loop.tick)
    assert loop.served == ["b", "c", "a", "b", "c"]
    assert loop.told == [("a", type(poison).__name__), ("a", None)]


@pytest.mark.parametrize("poison", POISONS, ids=repr)
@pytest.mark.parametrize("where", ["begin", "tick", "pause"])
def test_a_loop_goes_on_whatever_is_raised_until_it_is_closed(where: str, poison: BaseException) -> None:
    loop = Poisoned(poison)
    loop.poison = None
    raised = threading.Event()
    method = getattr(loop, where)

    def once(*_: object) -> None:
        if not raised.is_set():
            raised.set()
            raise poison
        method()

    setattr(loop, where, once)
    thread = threading.Thread(target=loop.run, daemon=True)
    thread.start()
    wait_until(lambda: raised.is_set() and loop.rounds > 2, what="three rounds")
    loop.close()
    thread.join(10)
    assert not thread.is_alive()
    assert loop.served[:3] == ["a", "b", "c"]


def test_what_keeps_failing_is_logged_in_full_once_and_then_ever_more_rarely(
    caplog: pytest.LogCaptureFixture,
) -> None:
    troubles = Troubles("a loop")

    def fail() -> None:
        raise RuntimeError("as ever")

    with caplog.at_level(logging.INFO):
        for _ in range(1000):
            troubles.attempt("an item", fail)
        assert [record.exc_info is not None for record in caplog.records] == [True, *[False] * 9]
        caplog.clear()
        assert troubles.attempt("an item", lambda: None)
        assert troubles.attempt("an item", lambda: None)
        assert [record.getMessage() for record in caplog.records] == ["a loop: an item works again"]


def test_ctrl_c_goes_through() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Troubles("a loop").attempt("an item", interrupted)


@pytest.mark.parametrize("poison", POISONS, ids=repr)
def test_an_event_loop_sees_nothing_but_exceptions(poison: BaseException) -> None:
    def fail() -> None:
        raise poison

    with pytest.raises(Exception):  # noqa: B017, PT011  (that it is one is what is tested)
        contained(fail)


# --- every loop, with some items of which the first is poisoned where it is worked on

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


# --- loops that are not well


class Standing(Loop):
    """Does one round that ends when the test lets it."""

    stall_seconds = -1.0
    gather_seconds = idle_seconds = 0.01

    def __init__(self) -> None:
        super().__init__(Hub())
        self.may_go = threading.Event()

    def tick(self) -> None:
        self.may_go.wait(20)


def test_a_loop_that_stands_still_is_named_and_replaced_once_it_was_seen_twice() -> None:
    made: list[Standing] = []

    def make() -> Standing:
        made.append(Standing())
        return made[-1]

    loops = Loops()
    loops.start({"Standing": make})
    try:
        wait_until(lambda: "stands still" in loops.unwell().get("Standing", ""), what="the stall")
        loops.look()
        assert len(made) == 1, "a machine that was suspended makes every loop look so, once"
        loops.look()
        assert len(made) == 2
        assert made[0].is_closed
        made[1].stall_seconds = 60.0
        assert "no round yet" in loops.unwell()["Standing"]
        made[1].may_go.set()
        wait_until(lambda: not loops.unwell(), what="a round of the new one")
    finally:
        for loop in made:
            loop.may_go.set()
        loops.close()


def test_healthz_names_a_loop_that_has_ended_until_it_is_running_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Loops, "look_seconds", 0.05)
    app = create_app(Settings(home=home.root), FakeJobs())
    run = Monitor.run
    monkeypatch.setattr(Monitor, "run", lambda _self: None)
    with TestClient(app) as client:
        wait_until(lambda: client.get("/healthz").status_code == 503, what="an unwell API")
        error = client.get("/healthz").json()["error"]
        assert error["code"] == "not_well"
        assert list(error["details"]["loops"]) == ["Monitor"]
        assert "`Monitor`" in error["message"]
        monkeypatch.setattr(Monitor, "run", run)
        wait_until(lambda: client.get("/healthz").status_code == 200, what="an API that is well again")
