"""Knowing our own processes, so that `down` ends exactly what `up` started, also what a killed part left behind.

Each carries a mark in its environment, which its children inherit. The mark alone does not find all: a process that
renames itself (Ray's agents and dashboard modules do) may write over the memory that /proc shows as its environment.
So the sessions that our processes live in, and the children of those that are found, count too.
"""

import hashlib
import os
import time
from pathlib import Path

import psutil

from tunesmith.home import Home
from tunesmith_platform.embedded.record import read_record

MARK = "TUNESMITH_INSTANCE"
GRACE_SECONDS = 8.0


def instance_id(home: Home) -> str:
    """The mark of a state folder's processes."""
    return hashlib.sha256(str(home.root).encode()).hexdigest()[:16]


def mark(home: Home, part: str) -> str:
    """The value of `MARK` that a part's processes carry."""
    return f"{instance_id(home)}:{part}"


def ours(home: Home, part: str | None = None) -> list[psutil.Process]:
    """Every living process of a state folder, or of one of its parts; never the one that asks."""
    wanted = f"{instance_id(home)}:{part or ''}"
    everyone = {process.pid: process for process in psutil.process_iter()}
    marks = {pid: _mark(pid) for pid in everyone}
    found = {pid for pid, text in marks.items() if text is not None and text.startswith(wanted)}
    session_of = {pid: _session(pid) for pid in everyone}
    begun = {session_of[pid] for pid in found} | _recorded_sessions(home, part)
    strangers = {
        session_of[pid] for pid, text in marks.items() if text is not None and not text.startswith(wanted)
    }
    found |= {
        pid
        for pid, session in session_of.items()
        if session in begun and _is_ours(session, marks, wanted, strangers)
    }
    parents = {pid: _parent(process) for pid, process in everyone.items()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return [everyone[pid] for pid in sorted(found - {os.getpid()}) if is_alive(everyone[pid])]


def _recorded_sessions(home: Home, part: str | None) -> set[int]:
    """The sessions of the recorded parts: each is started as the leader of one.

    A pid is not given away as long as a session bears its number, so a recorded pid that is now another process
    means that the session is over.
    """
    records = read_record(home).parts
    return {
        record.pid
        for name, record in records.items()
        if record.pid is not None and part in (None, name) and (ticks_of(record.pid) in (None, record.ticks))
    }


def _is_ours(session: int, marks: dict[int, str | None], wanted: str, strangers: set[int]) -> bool:
    """Whether all of a session may be taken for ours.

    Its leader says so by carrying our mark. Where the leader is gone, or shows no environment any more, nobody in
    the session may plainly be another's. Session 0 is never ours: in a container that is what the processes show
    whose leader lives outside it, each other's strangers.
    """
    if session <= 0:
        return False
    leader = marks.get(session)
    return session not in strangers if leader is None else leader.startswith(wanted)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1  # gone; no process is in session -1, for it is not asked again


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.Error:
        return None


def _mark(pid: int) -> str | None:
    """A process's mark; "" where it plainly has none; None where its environment cannot be read."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # gone, or another user's
        return None
    prefix = f"{MARK}=".encode()
    found = next((item[len(prefix) :] for item in environment.split(b"\0") if item.startswith(prefix)), None)
    if found is not None:
        return found.decode(errors="replace")
    return "" if b"PATH=" in environment else None


def ticks_of(pid: int) -> int | None:
    """When a process began, in clock ticks since boot; None when there is none with this pid.

    psutil's `create_time` moves when the clock is set, and with it a living process would look like another.
    """
    try:
        # The name, in parentheses, may hold anything; what follows it is numbers.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[19])


def is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs (one that only waits to be collected does not)."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def same_process(pid: int | None, ticks: int) -> psutil.Process | None:
    """The process with this pid, if it is still the one that was recorded."""
    if pid is None or ticks_of(pid) != ticks:
        return None
    try:
        process = psutil.Process(pid)
    except psutil.Error:
        return None
    return process if is_alive(process) else None


def running_supervisor(home: Home) -> psutil.Process | None:
    """The supervisor of a state folder; None where none runs."""
    record = read_record(home).supervisor
    return same_process(record.pid, record.ticks)


def end(home: Home, part: str | None = None, first: int | None = None) -> int:
    """End our processes: `first` is asked to leave, then all are, then what is left is killed.

    Returns:
        How many had to be ended.
    """
    victims = ours(home, part)
    everyone = len(victims)
    if first is not None:
        _signal([process for process in victims if process.pid == first], kill=False)
        psutil.wait_procs(victims, timeout=GRACE_SECONDS / 2)
        victims = ours(home, part)
    _signal(victims, kill=False)
    psutil.wait_procs(victims, timeout=GRACE_SECONDS)
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
