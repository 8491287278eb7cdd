"""What the machines of a task's workers measured, put together for its autopsy and for Prometheus. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tunesmith import views
from tunesmith.autopsy import WorkerMemory
from tunesmith_platform.db.tables import EventRow
from tunesmith_platform.monitoring.gauges import Sample

_MB = 1e6
_USED = "process_memory_megabytes"
_FREE = "system_memory_available_megabytes"
_GPU_USED = "_memory_usage_megabytes"
_GPU_NAME = re.compile(r"^gpu_(\d+)_(\w+)$")
_GAUGES = {
    "process_cpu_percentage": ("tunesmith_worker_cpu_percent", 1.0),
    _USED: ("tunesmith_worker_memory_bytes", _MB),
    _FREE: ("tunesmith_node_free_memory_bytes", _MB),
    "gpu utilization_percentage": ("tunesmith_gpu_utilization_percent", 1.0),
    "gpu memory_usage_megabytes": ("tunesmith_gpu_memory_bytes", _MB),
    "gpu temperature_celsius": ("tunesmith_gpu_temperature_celsius", 1.0),
    "gpu power_usage_watts": ("tunesmith_gpu_power_watts", 1.0),
}
"""What Prometheus is told, by the names of samples, with what makes its unit of theirs."""


def machines(measured: Sequence[EventRow]) -> list[WorkerMemory]:
    """The memory of each worker over time.

    Args:
        measured: Events of the kind `system`, oldest first.
    """
    by_worker: dict[int, list[tuple[EventRow, dict[str, Any]]]] = {}
    for row in measured:
        for sample in row.payload["workers"]:
            if _USED in sample["values"]:
                by_worker.setdefault(sample["worker"], []).append((row, sample))
    return [_worker(worker, found) for worker, found in sorted(by_worker.items())]


def _worker(worker: int, found: Sequence[tuple[EventRow, dict[str, Any]]]) -> WorkerMemory:
    samples = [sample["values"] for _, sample in found]
    return WorkerMemory(
        source=f"worker-{worker}",
        node=found[-1][1].get("node", ""),
        memory=[
            views.MetricPoint(
                step=row.payload["step"],
                value=sample["values"][_USED] * _MB,
                time=row.time,
                attempt=row.attempt,
            )
            for row, sample in found
        ],
        peak_bytes=max(values[_USED] for values in samples) * _MB,
        least_free_bytes=_bytes(min, (values[_FREE] for values in samples if _FREE in values)),
        gpu_peak_bytes=_bytes(max, _of_gpus(samples)),
    )


def _of_gpus(samples: Iterable[dict[str, float]]) -> Iterator[float]:
    for values in samples:
        for name, value in values.items():
            if name.startswith("gpu_") and name.endswith(_GPU_USED):
                yield value


def _bytes(pick: Any, values: Iterable[float]) -> float | None:
    found = list(values)
    return float(pick(found)) * _MB if found else None


def samples(newest: Iterable[EventRow]) -> Iterator[Sample]:
    """What Prometheus is told of running tasks' machines.

    Args:
        newest: The newest event of the kind `system` of each.
    """
    for row in newest:
        for worker in row.payload["workers"]:
            for name, value in worker["values"].items():
                gpu = _GPU_NAME.match(name)
                known = _GAUGES.get(f"gpu {gpu.group(2)}" if gpu else name)
                if known is not None:
                    labels = (
                        row.task_id,
                        str(worker["worker"]),
                        worker.get("node", ""),
                        gpu.group(1) if gpu else "",
                    )
                    yield Sample(known[0], labels, value * known[1])
