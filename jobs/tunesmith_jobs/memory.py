"""The memory and the processor of the machine that a process is on. Knows the system and containers; no torch."""

import platform
from pathlib import Path

import psutil

_PROCESSOR = Path("/proc/cpuinfo")
_CGROUP = Path("/sys/fs/cgroup")


def spare_memory() -> int:
    """Bytes that this process may still take: by the machine, and by its container where that has a limit."""
    return _spare_and_all()[0]


def spare_share(beside: int = 0) -> float:
    """The share of all memory that is to spare, once so many bytes more are taken."""
    spare, total = _spare_and_all()
    return (spare - beside) / total


def _spare_and_all() -> tuple[int, int]:
    machine = psutil.virtual_memory()
    spare, total = int(machine.available), int(machine.total)
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return spare, total
    if not limit.isdecimal():
        return spare, total
    return min(spare, int(limit) - used), min(total, int(limit))


def processor_name() -> str:
    """What the processor calls itself; its kind where it does not say."""
    try:
        lines = _PROCESSOR.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next((name for name in named if name), platform.machine() or "an unknown processor")
