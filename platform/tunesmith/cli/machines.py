"""What the machines of a task's workers measure, as one line. Pure; knows no terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tunesmith.cli.format import size
from tunesmith.language import tr

if TYPE_CHECKING:
    from tunesmith.events import WorkerSystem

_MB = 1e6
_GPU: tuple[tuple[str, Callable[[float], str]], ...] = (
    ("utilization_percentage", lambda value: f"{value:.0f}%"),
    ("memory_usage_megabytes", lambda value: size(value * _MB)),
    ("temperature_celsius", lambda value: f"{value:.0f} °C"),
    ("power_usage_watts", lambda value: f"{value:.0f} W"),
)
"""What is shown of GPUs, and how."""


def machine_line(workers: Sequence[WorkerSystem]) -> str:
    """The newest sample of all workers; where they differ, from the least to the most.

    Args:
        workers: What each of them measured.
    """
    if not _of(workers, "process_memory_megabytes"):
        return ""
    cpu = _of(workers, "process_cpu_percentage")
    parts = [f"CPU {_span([f'{value:.0f}%' for value in cpu])}"] if cpu else []
    parts += [
        tr("memory") + f" {_span([size(value * _MB) for value in _of(workers, 'process_memory_megabytes')])}",
    ]
    free = _of(workers, "system_memory_available_megabytes")
    if free:
        parts.append(tr(f"{size(free[0] * _MB)} free"))
    gpus = [
        _span([word(value) for value in found])
        for ending, word in _GPU
        if (found := _of_gpus(workers, ending))
    ]
    if gpus:
        parts.append(f"GPU {', '.join(gpus)}")
    if len(workers) > 1:
        parts.append(tr(f"{len(workers)} workers"))
    return "   ".join(parts)


def _of(workers: Sequence[WorkerSystem], name: str) -> list[float]:
    return sorted(worker.values[name] for worker in workers if name in worker.values)


def _of_gpus(workers: Sequence[WorkerSystem], ending: str) -> list[float]:
    return sorted(
        value
        for worker in workers
        for name, value in worker.values.items()
        if name.startswith("gpu_") and name.endswith(f"_{ending}")
    )


def _span(words: Sequence[str]) -> str:
    """From the first to the last; one where they read alike."""
    return words[0] if words[0] == words[-1] else f"{words[0]}–{words[-1]}"
