"""A GPU that is not kept busy is told once, with the likeliest cause."""

import pytest

from tunesmith.events import Warned, WorkerSystem
from tunesmith_jobs.train.telemetry.idle_gpu import SAMPLES, IdleGpu


def machine(use: float, memory: float = 90.0) -> list[WorkerSystem]:
    values = {"gpu_0_utilization_percentage": use, "gpu_0_memory_usage_percentage": memory}
    return [WorkerSystem(worker=0, node="a", values=values)]


def told(
    uses: list[float], *, first: int = 1, pace: int = 1, memory: float = 90.0, **logged: float
) -> list[Warned]:
    idle = IdleGpu()
    found = (idle.take(first + pace * n, machine(use, memory), logged) for n, use in enumerate(uses))
    return [one for one in found if one is not None]


@pytest.mark.parametrize(
    ("memory", "logged", "cause", "hint"),
    [
        (90, {"useful_token_share": 0.3}, "70 % of a batch is padding", "packing"),
        (20, {"useful_token_share": 0.3}, "70 % of a batch is padding", "packing"),
        (20, {"useful_token_share": 0.9}, "20 % of the GPU's memory", "per_device_train_batch_size"),
        (90, {"useful_token_share": 0.9}, "prepared more slowly", "dataloader_num_workers"),
        (90, {}, "prepared more slowly", "dataloader_num_workers"),
    ],
)
def test_it_is_told_once_with_its_cause(
    memory: float, logged: dict[str, float], cause: str, hint: str
) -> None:
    (warning,) = told([50.0] * 3 * SAMPLES, memory=memory, **logged)
    assert warning.code == "gpu_idle"
    assert "50 % busy" in warning.message
    assert cause in warning.message
    assert hint in (warning.hint or "")


@pytest.mark.parametrize(
    "uses", [[90.0] * 60, [80.0] * 60, [10.0] * (SAMPLES - 1), [100.0] * 15 + [20.0] * 3 + [100.0] * 40]
)
def test_a_busy_gpu_or_a_short_pause_is_no_news(uses: list[float]) -> None:
    assert told(uses) == []


def test_before_the_first_step_and_while_none_is_taken_nothing_is_told() -> None:
    assert told([0.0] * 60, first=0, pace=0) == []
    assert told([0.0] * 60, first=7, pace=0) == []


def test_a_machine_without_a_gpu_is_no_news() -> None:
    idle = IdleGpu()
    bare = [WorkerSystem(worker=0, node="a", values={"cpu_utilization_percentage": 3.0})]
    assert [idle.take(step, bare, {}) for step in range(60)] == [None] * 60
