"""Knowing our own processes: each carries a mark in its environment, which its children inherit.

So `down` ends exactly what `up` started, also what a killed part left behind, and never anything else.
"""

import hashlib
import time
from pathlib import Path

import psutil

from tunesmith.home import Home

MARK = "TUNESMITH_INSTANCE"


def instance_id(home: Home) -> str:
    """The mark of a state folder's processes."""
    return hashlib.sha256(str(home.root).encode()).hexdigest()[:16]


def ours(home: Home, part: str | None = None) -> list[psutil.Process]:
    """Every living process of a state folder, or of one of its parts."""
    wanted = f"{instance_id(home)}:{part or ''}"
    found = []
    for process in psutil.process_iter():
        mark = _mark(process.pid)
        if mark is not None and mark.startswith(wanted) and is_alive(process):
            found.append(process)
    return found


def mark(home: Home, part: str) -> str:
    """The value of `MARK` that a part's processes carry."""
    return f"{instance_id(home)}:{part}"


def _mark(pid: int) -> str | None:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # gone, or another user's
        return None
    prefix = f"{MARK}=".encode()
    return next(
        (item[len(prefix) :].decode() for item in environment.split(b"\0") if item.startswith(prefix)), None
    )


def is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs (one that only waits to be collected does not)."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def same_process(pid: int, created: float) -> psutil.Process | None:
    """The process with this pid, if it is still the one that was recorded."""
    try:
        process = psutil.Process(pid)
        return process if abs(process.create_time() - created) < 1 and is_alive(process) else None
    except psutil.Error:
        return None


def end(home: Home, part: str | None = None, first: int | None = None, grace: float = 8) -> int:
    """End our processes: `first` is asked to leave, then all are, then what is left is killed.

    Returns:
        How many had to be ended.
    """
    victims = ours(home, part)
    everyone = len(victims)
    if first is not None:
        _signal([process for process in victims if process.pid == first], kill=False)
        psutil.wait_procs(victims, timeout=grace / 2)
        victims = ours(home, part)
    _signal(victims, kill=False)
    psutil.wait_procs(victims, timeout=grace)
    deadline = time.monotonic() + 10
    while (victims := ours(home, part)) and time.monotonic() < deadline:
        _signal(victims, kill=True)
        psutil.wait_procs(victims, timeout=1)
    return everyone


def _signal(processes: list[psutil.Process], *, kill: bool) -> None:
    for process in processes:
        try:
            if kill:
                process.kill()
            else:
                process.terminate()
        except psutil.Error:
            continue
