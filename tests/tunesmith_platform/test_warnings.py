"""Live warnings: what is a trouble and what is not, each said once; logs are kept as long as the settings say."""

import asyncio
import datetime as dt
import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
from conftest_platform import LOCAL, TIME, Plane

from tunesmith.views import TaskView
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.clock import now
from tunesmith_platform.monitoring.detectors import Overfitting, Spikes, Stalls
from tunesmith_platform.monitoring.loop import Monitor
from tunesmith_platform.scope import INSTALLATION
from tunesmith_platform.tasks import repository as tasks


def falling(count: int, noise: float = 0.05) -> list[float]:
    """The losses of a healthy run."""
    chance = random.Random(0)
    return [1.5 + 2 * math.exp(-i / 30) + chance.gauss(0, noise) for i in range(count)]


SPIKES: list[tuple[str, Sequence[float], list[int]]] = [
    ("healthy", falling(400), []),
    ("noisy", falling(400, 0.2), []),
    ("smooth", falling(400, 0.0), []),
    ("too early to say", [3.0] * 5 + [30.0], []),
    ("one spike", [*falling(60), 9.0, *falling(60)], [60]),
    ("it stays high", [*falling(60), *[9.0] * 100], [60]),
    ("again much later", [*[2.0] * 60, 9.0, *[2.0] * 60, 9.0], [60, 121]),
    ("up and down", [*[2.0] * 60, *[9.0, 2.0] * 10], [60]),
    ("all alike", [0.0] * 60, []),
]


@pytest.mark.parametrize(
    ("losses", "warned"), [case[1:] for case in SPIKES], ids=[case[0] for case in SPIKES]
)
def test_spikes(losses: Sequence[float], warned: list[int]) -> None:
    watch = Spikes()
    found = [step for step, loss in enumerate(losses) if watch.take(step, loss)]
    assert found == warned


OVERFITTING: list[tuple[str, Sequence[tuple[float, float]], list[int]]] = [
    ("both fall", [(3, 3), (2.5, 2.6), (2, 2.3), (1.5, 2.2), (1, 2.1)], []),
    ("eval rises while train falls", [(3, 3), (2.5, 2.6), (2, 2.7), (1.5, 2.8), (1, 2.9)], [4]),
    ("and goes on: said once", [(3, 2), (2, 2.1), (1.5, 2.2), (1, 2.3), (0.9, 2.4), (0.8, 2.5)], [3]),
    ("two rises are chance", [(3, 2), (2, 2.1), (1.5, 2.2), (1, 2.0), (0.9, 2.1)], []),
    ("both rise: it diverges", [(1, 2), (2, 2.1), (3, 2.2), (4, 2.3), (5, 2.4)], []),
    ("a new best, then again", [(3, 2), (2, 2.1), (1.5, 2.2), (1, 2.3), (0.9, 1.9), (0.8, 2), (0.7, 2.1), (0.6, 2.2)],
     [3, 7]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rounds", "warned"), [case[1:] for case in OVERFITTING], ids=[case[0] for case in OVERFITTING]
)
def test_overfitting(rounds: Sequence[tuple[float, float]], warned: list[int]) -> None:
    watch, found = Overfitting(), []
    for i, (loss, eval_loss) in enumerate(rounds):
        assert watch.take(10 * i, loss, None) is None
        if watch.take(10 * i + 1, None, eval_loss):
            found.append(i)
    assert found == warned


@pytest.mark.parametrize(
    ("pauses", "silence", "is_stall"),
    [
        ([1.0] * 10, 100, False),
        ([1.0] * 10, 121, True),
        ([30.0] * 10, 290, False),
        ([30.0] * 10, 301, True),
        ([1.0] * 10 + [100.0] + [1.0] * 5, 190, False),
        ([1.0] * 10 + [100.0] + [1.0] * 5, 201, True),
        ([1.0] * 2, 10_000, False),
    ],
)
def test_stalls(pauses: list[float], silence: float, is_stall: bool) -> None:
    watch, moment = Stalls(), TIME
    watch.take(0, moment)
    for step, pause in enumerate(pauses, start=1):
        moment += dt.timedelta(seconds=pause)
        watch.take(step, moment)
    assert (watch.look(silence) is not None) is is_stall


def codes(plane: Plane, task: TaskView) -> list[str]:
    found = plane.services.events.page(LOCAL, task.id, 0, 1000, ["warning"]).data
    return [event.payload.code for event in found]  # type: ignore[union-attr]


def monitor(plane: Plane) -> Monitor:
    return Monitor(plane.services.database, plane.services.hub, plane.settings)


def measured(step: int, **values: float) -> dict[str, Any]:
    return {"kind": "metrics", "step": step, "values": values}


def test_warnings_come_once_over_restarts_and_side_by_side(plane: Plane) -> None:
    task = plane.running()
    one, two = monitor(plane), monitor(plane)
    plane.report(task, *(measured(step, loss=2.0) for step in range(40)))
    one.tick()
    assert codes(plane, task) == []
    plane.report(task, measured(40, loss=20.0), measured(41, loss=2.0))
    for loop in (one, two, one, monitor(plane)):
        loop.tick()
    assert codes(plane, task) == ["loss_spike"]
    warning = plane.services.events.page(LOCAL, task.id, 0, 1000, ["warning"]).data[0].payload
    assert "20" in warning.message  # type: ignore[union-attr]
    assert warning.hint  # type: ignore[union-attr]
    plane.report(task, {"kind": "training_started", "step": 30, "total_steps": 50, "restart": 1})
    one.tick()
    two.tick()
    assert codes(plane, task) == ["loss_spike", "restart"]


@pytest.mark.parametrize(
    "told",
    [
        {"kind": "training_started", "step": 0, "total_steps": 10},
        {"kind": "progress", "step": 0, "total_steps": 10},
    ],
)
def test_after_the_last_step_none_is_missed(plane: Plane, told: dict[str, Any]) -> None:
    """A model is merged and sent then, or the files of a package are proven: that may take long."""
    task = plane.running()
    loop = monitor(plane)
    plane.report(task, told, *(measured(step, loss=2.0) for step in range(1, 10)))
    loop.look(0)
    plane.report(task, measured(10, loss=2.0))
    loop.look(500)
    assert codes(plane, task) == []
    plane.report(task, told | {"total_steps": 20})
    loop.look(500)
    assert codes(plane, task) == ([] if told["kind"] == "training_started" else ["stall"])


def test_a_stall_is_said_once_until_it_goes_on(plane: Plane) -> None:
    task = plane.running()
    loop = monitor(plane)
    plane.report(task, {"kind": "progress", "step": 0, "total_steps": 100})
    plane.report(task, *(measured(step, loss=2.0) for step in range(10)))
    for silence in (0, 100, 130, 140, 500):
        loop.look(silence)
    assert codes(plane, task) == ["stall"]
    plane.report(task, measured(10, loss=2.0))
    for silence in (0, 130, 140):
        loop.look(silence)
    assert codes(plane, task) == ["stall", "stall"]


def test_a_task_that_does_not_run_is_not_warned(plane: Plane) -> None:
    task = plane.running()
    plane.report(task, *(measured(step, loss=2.0) for step in range(40)), measured(40, loss=90.0))
    plane.services.tasks.stop(LOCAL, task.id)
    monitor(plane).tick()
    assert codes(plane, task) == []


def test_old_logs_go_and_everything_else_stays(plane: Plane) -> None:
    ended = []
    for days in (10, 3):
        task = plane.running()
        plane.report(
            task, *({"kind": "log", "message": f"line {i}"} for i in range(1500)), measured(1, loss=2.0)
        )
        plane.report(task, {"kind": "finished", "outcome": "completed", "reason": "completed"})
        plane.job(task, JobStatus.SUCCEEDED)
        plane.tick()
        with plane.services.database.write() as session:
            tasks.locked(session, INSTALLATION, task.id).ended_at = now() - dt.timedelta(days=days)
        ended.append(task)
    old, young = ended
    assert monitor(plane).sweep() == 0, "it is off until an administrator sets it"
    plane.settings.log_retention_days = 7
    plane.services.tasks.change(LOCAL, old.id, _renamed())  # its newest event is a line of the log now
    assert monitor(plane).sweep() == 1500
    assert monitor(plane).sweep() == 0
    assert len(plane.services.events.logs(LOCAL, old.id, 5000, None, None).data) == 1
    assert len(plane.services.events.logs(LOCAL, young.id, 5000, None, None).data) == 1500
    left = asyncio.run(_streamed(plane, old.id))
    assert left.endswith("event: end\r\ndata: {}\r\n\r\n"), "a stream must still see its end"
    assert "event: metrics" in left


async def _streamed(plane: Plane, task_id: str) -> str:
    reader = await plane.services.feeds.reader(LOCAL, task_id, 0)
    reader.attach(lambda: None)
    chunks = []
    while (chunk := await reader.next()) is not None:
        chunks.append(chunk.plain)
        await asyncio.sleep(0)
    reader.detach()
    plane.services.feeds.close()
    return b"".join(chunks).decode()


def _renamed() -> Any:
    from tunesmith_platform.tasks.service import TaskChange

    return TaskChange(name="another")
