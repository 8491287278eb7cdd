"""What the machines measure: in its curves, in MLflow, in the autopsy, on the terminal; never among what is learned."""

import datetime as dt
from typing import Any

from conftest_platform import LOCAL, TIME, Plane
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from tunesmith.cli.watching import Board
from tunesmith.events import JobEvent, Report
from tunesmith.views import TaskView
from tunesmith_platform.monitoring.loop import Monitor


def machine(worker: int, memory: float, **more: float) -> dict[str, Any]:
    values = {"process_memory_megabytes": memory, "system_memory_available_megabytes": 9000.0 - memory}
    return {"worker": worker, "node": f"node-{worker}", "values": values | more}


def measured(step: int, *workers: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "system", "step": step, "workers": list(workers)}


def by_the_clock(plane: Plane, task: TaskView, *payloads: dict[str, Any]) -> None:
    """Report events ten seconds apart."""
    events = [
        JobEvent.model_validate(
            {"seq": i + 2, "time": TIME + dt.timedelta(seconds=10 * i), "payload": payload}
        )
        for i, payload in enumerate(payloads)
    ]
    plane.services.events.ingest(task.id, Report(attempt=1, events=events))
    plane.seqs[task.id, 1] = len(events) + 1


def lived(plane: Plane) -> TaskView:
    """A task whose second worker took more and more memory, three samples in its first step."""
    task = plane.running()
    by_the_clock(
        plane,
        task,
        measured(0, machine(0, 1000), machine(1, 1000)),
        measured(0, machine(0, 1000), machine(1, 4000)),
        measured(0, machine(0, 1000, gpu_0_memory_usage_megabytes=70_000), machine(1, 8000)),
        {"kind": "metrics", "step": 1, "values": {"loss": 2.0}},
        measured(1, machine(0, 1100)),
    )
    return task


def test_curves_of_machines_are_shown_to_who_asks_for_them(plane: Plane) -> None:
    task = lived(plane)
    series = plane.services.series
    assert series.metrics(LOCAL, task.id, None).series.keys() == {"loss"}
    found = series.metrics(LOCAL, task.id, ["system/"]).series
    assert found.keys() == {
        "system/process_memory_megabytes",
        "system/system_memory_available_megabytes",
        "system/gpu_0_memory_usage_megabytes",
        "system/worker-1/process_memory_megabytes",
        "system/worker-1/system_memory_available_megabytes",
    }
    # By step the last of a step counts.
    assert [(p.step, p.value) for p in found["system/process_memory_megabytes"]] == [(0, 1000), (1, 1100)]
    name = "system/worker-1/process_memory_megabytes"
    assert series.metrics(LOCAL, task.id, [name, "loss"]).series.keys() == {name, "loss"}


def test_folding_keeps_them(plane: Plane) -> None:
    task = plane.running()
    for start in range(0, 1200, 300):
        plane.report(task, *(measured(step, machine(0, float(step))) for step in range(start, start + 300)))
    points = plane.services.series.metrics(LOCAL, task.id, ["system/process_memory_megabytes"], 4000).series
    assert [p.value for p in points["system/process_memory_megabytes"]] == [float(i) for i in range(1200)]


def test_mlflow_has_every_sample(plane: Plane) -> None:
    task = lived(plane)
    plane.mirror.tick()
    points = plane.tracking.runs[f"run-{task.id}"].points
    found = sorted(
        (p.timestamp_ms, p.step, p.value)
        for p in points
        if p.name == "system/worker-1/process_memory_megabytes"
    )
    began = int(TIME.timestamp() * 1000)
    assert found == [(began, 0, 1000), (began + 10_000, 0, 4000), (began + 20_000, 0, 8000)]


def test_an_autopsy_shows_the_memory_of_every_worker(plane: Plane) -> None:
    first, second = plane.services.monitoring.autopsy(LOCAL, lived(plane).id).machines
    assert (second.source, second.node) == ("worker-1", "node-1")
    assert [point.value / 1e6 for point in second.memory] == [1000, 4000, 8000]
    assert [(point.time - TIME).total_seconds() for point in second.memory] == [0, 10, 20]
    assert (second.peak_bytes, second.least_free_bytes, second.gpu_peak_bytes) == (8e9, 1e9, None)
    assert first.gpu_peak_bytes == 70e9


def test_a_machine_that_is_measured_is_no_step(plane: Plane) -> None:
    """Samples come by the clock, also from a training that hangs."""
    task = plane.running()
    loop = Monitor(plane.services.database, plane.services.hub, plane.settings)
    plane.report(task, *({"kind": "metrics", "step": i, "values": {"loss": 2.0}} for i in range(10)))
    loop.look()
    plane.report(task, measured(9, machine(0, 1.0)))
    loop.look(130)
    warned = plane.services.events.page(LOCAL, task.id, 0, 1000, ["warning"]).data
    assert [event.payload.code for event in warned] == ["stall"]  # type: ignore[union-attr]


def test_the_terminal_shows_the_newest_sample(plane: Plane) -> None:
    task = lived(plane)
    board = Board(plane.task(task.id))
    gpu = {
        "process_cpu_percentage": 180.0,
        "gpu_0_utilization_percentage": 97.0,
        "gpu_0_memory_usage_megabytes": 70_000.0,
        "gpu_0_temperature_celsius": 71.0,
        "gpu_0_power_usage_watts": 612.0,
    }
    plane.report(task, measured(2, machine(0, 1024 * 1.048576, **gpu), machine(1, 2048 * 1.048576, **gpu)))
    for event in plane.services.events.page(LOCAL, task.id, 0, 1000).data:
        board.take(event)
    console = Console(width=140)
    with console.capture() as seen:
        console.print(board)
    assert (
        "CPU 180%   memory 1.0 GiB–2.0 GiB   6.4 GiB free   GPU 97%, 65.2 GiB, 71 °C, 612 W   2 workers"
        in seen.get()
    )


def test_prometheus_sees_the_machines_of_running_tasks(plane: Plane) -> None:
    task = lived(plane)
    plane.report(task, measured(2, machine(0, 5.0), machine(1, 7.0, gpu_3_power_usage_watts=612.0)))
    found = {
        (sample.name, *(sample.labels[name] for name in ("task", "worker", "node", "gpu"))): sample.value
        for family in text_string_to_metric_families(plane.services.monitoring.exposition(None))
        for sample in family.samples
        if "worker" in sample.labels
    }
    assert found == {
        ("tunesmith_worker_memory_bytes", task.id, "0", "node-0", ""): 5e6,
        ("tunesmith_worker_memory_bytes", task.id, "1", "node-1", ""): 7e6,
        ("tunesmith_node_free_memory_bytes", task.id, "0", "node-0", ""): 8995e6,
        ("tunesmith_node_free_memory_bytes", task.id, "1", "node-1", ""): 8993e6,
        ("tunesmith_gpu_power_watts", task.id, "1", "node-1", "3"): 612,
    }
    plane.services.tasks.stop(LOCAL, task.id)
    plane.tick()
    assert 'task="' not in plane.services.monitoring.exposition(None)
