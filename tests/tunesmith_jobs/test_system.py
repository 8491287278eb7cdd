"""What the machines measure while they train: every worker, its GPUs, and nothing that could end a run."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import training_run as tr
from fake_plane import FakeControlPlane, make_document
from tiny_model import make_tiny_model

from tunesmith.events import CheckpointRemoved, Progress, SystemMeasured
from tunesmith.metrics import metric_of
from tunesmith_jobs.train.telemetry import system

USED = {"cpu_utilization_percentage", "process_cpu_percentage", "process_memory_megabytes"} | {
    f"system_memory_{what}" for what in ("usage_megabytes", "usage_percentage", "available_megabytes")
}


def nvml(broken: tuple[str, ...] = ()) -> types.ModuleType:
    """A driver with three GPUs."""
    module: Any = types.ModuleType("pynvml")

    class NVMLError(Exception):
        pass

    def give(name: str, answer: Any) -> None:
        def call(*_: Any) -> Any:
            if name in broken:
                raise NVMLError("Not Supported")
            return answer(*_) if callable(answer) else answer

        setattr(module, f"nvml{name}", call)

    give("Init", None)
    give("DeviceGetCount", 3)
    give("DeviceGetHandleByIndex", lambda index: index)
    give("DeviceGetHandleByUUID", lambda uuid: {"GPU-b": 1}[uuid])
    give("DeviceGetUtilizationRates", lambda gpu: types.SimpleNamespace(gpu=90 + gpu))
    give("DeviceGetMemoryInfo", types.SimpleNamespace(used=40e9, total=80e9))
    give("DeviceGetTemperature", 71)
    give("DeviceGetPowerUsage", 350_000)
    give("DeviceGetEnforcedPowerLimit", 700_000)
    module.NVML_TEMPERATURE_GPU = 0
    return module


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)


@pytest.mark.parametrize(
    ("visible", "uses"),
    [(None, [90, 91, 92]), ("2", [92]), ("1,0", [91, 90]), ("GPU-b", [91]), ("", []), ("-1", []), ("0,x,1", [90])],
)  # fmt: skip
def test_a_worker_measures_the_gpus_it_may_use(
    visible: str | None, uses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = system.Gpus().values()
    assert [found[f"gpu_{i}_utilization_percentage"] for i in range(len(uses))] == uses
    assert len(found) == 6 * len(uses)
    assert all(metric_of(f"system/{name}") for name in found)
    if uses:
        assert (found["gpu_0_temperature_celsius"], found["gpu_0_power_usage_watts"]) == (71, 350)
        assert (found["gpu_0_memory_usage_percentage"], found["gpu_0_power_usage_percentage"]) == (50, 50)


def test_what_a_gpu_cannot_tell_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", nvml(broken=("DeviceGetPowerUsage",)))
    assert "gpu_0_temperature_celsius" in (found := system.Gpus().values())
    assert "gpu_0_power_usage_watts" not in found
    monkeypatch.setitem(sys.modules, "pynvml", nvml(broken=("Init",)))
    assert system.Gpus().values() == {}


def samples(tmp_path: Path) -> list[SystemMeasured]:
    return [SystemMeasured.model_validate(e) for e in tr.events(tmp_path) if e["kind"] == "system"]


def test_the_first_worker_says_what_all_of_them_measured(tmp_path: Path, no_gpu: None) -> None:
    folder = tmp_path / "system"
    first = tr.FileOutlet(tmp_path / "events-1.jsonl")
    with (
        system.sampled(first, folder, 0, seconds=60) as outlet,
        system.sampled(tr.FileOutlet(tmp_path / "other"), folder, 1, seconds=60),
    ):
        outlet.emit(Progress(step=7, total_steps=9))
        outlet.emit(CheckpointRemoved(step=3))
    (said,) = samples(tmp_path)  # the sample at the end
    assert said.step == 7
    assert [sample.worker for sample in said.workers] == [0, 1]
    for sample in said.workers:
        assert sample.values.keys() == USED
        assert sample.values["process_memory_megabytes"] > 10
        assert sample.node
    names = {"system/process_memory_megabytes", "system/worker-1/process_memory_megabytes"}
    assert names <= said.values.keys()
    assert not (tmp_path / "other").exists(), "the others leave files, and say nothing"


def test_a_worker_that_is_gone_is_not_said_again(tmp_path: Path, no_gpu: None) -> None:
    machine, kept = system.Machine(3), system.Samples(tmp_path)
    kept.put(machine.sample())
    (tmp_path / "worker-4.json").write_text("{")
    assert [sample.worker for sample in kept.take()] == [3]
    assert kept.take() == []


def test_workers_of_a_group_need_no_folder_in_common(tmp_path: Path, no_gpu: None) -> None:
    from torch import distributed

    store = distributed.HashStore()
    machine = system.Machine(2)

    def common() -> tuple[system.Store, int]:
        return store, 4

    near, far = system.Samples(tmp_path / "here", common), system.Samples(tmp_path / "there", common)
    assert near.take() == []
    far.put(machine.sample())
    near.put(system.Machine(1).sample())
    assert [sample.worker for sample in near.take()] == [1, 2]
    assert near.take() == [], "nothing is said twice"
    far.put(machine.sample())
    assert [sample.worker for sample in near.take()] == [2]
    assert list(tmp_path.iterdir()) == []


def test_a_group_that_ends_leaves_the_folder(tmp_path: Path, no_gpu: None) -> None:
    from torch import distributed

    assert system.common_store() is None
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        found = system.common_store()
        assert found is not None
        assert found[1] == 1
    finally:
        distributed.destroy_process_group()

    def gone() -> tuple[system.Store, int]:
        raise RuntimeError("the group is over")

    kept = system.Samples(tmp_path, gone)
    kept.put(system.Machine(1).sample())
    assert [sample.worker for sample in kept.take()] == [1]


def test_a_machine_that_cannot_be_measured_ends_no_run(
    tmp_path: Path, no_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sample(self: system.Machine) -> None:
        raise OSError("no /proc")

    monkeypatch.setattr(system.Machine, "sample", sample)
    with system.sampled(tr.FileOutlet(tmp_path / "events-1.jsonl"), tmp_path, 0, seconds=0.01) as outlet:
        outlet.emit(Progress(step=1, total_steps=2))
    assert [e["kind"] for e in tr.events(tmp_path)] == ["progress"]


def test_a_worker_that_trains_is_measured(tmp_path: Path, no_gpu: None) -> None:
    """Through the very function that Ray runs on a worker."""
    from tunesmith_jobs import worker

    model = make_tiny_model(tmp_path / "model")
    plane = FakeControlPlane()
    try:
        document = make_document(
            tmp_path,
            plane.url,
            spec={"model": "m", "train_file": "t", "max_steps": 3, "logging_steps": 1, "max_length": 64},
            model_path=str(model),
            train_path=str(tr.write_rows(tmp_path / "rows.jsonl", 8)),
        )
        (tmp_path / "work").mkdir()  # the driver makes it
        (tmp_path / "job.json").write_text(document.model_dump_json())
        worker.work(str(tmp_path / "job.json"))
    finally:
        plane.close()
    payloads = [event["payload"] for event in plane.events[1]]
    assert plane.steps() == [1, 2, 3]
    last = [payload for payload in payloads if payload["kind"] == "system"][-1]
    assert last["step"] == 3
    assert last["workers"][0]["values"]["process_memory_megabytes"] > 100
