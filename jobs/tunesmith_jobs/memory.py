"""The memory of the machine that a process is on. Knows the system and containers; imports no torch."""

from pathlib import Path

import psutil

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
