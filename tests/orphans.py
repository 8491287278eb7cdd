"""Ends what the tests started and a process of pytest that died left running. A pytest plugin.

A test that hangs so that no signal frees it ends its whole process (`faulthandler_timeout` in pyproject), and no
fixture is torn down then: a platform, Ray, MLflow or PostgreSQL would stay, and take the time of the tests that go on.
So beside each process of pytest another one waits for its end, however it comes. What carries its mark in the
environment, or the state folder of a platform below its temporary folder, is ended, with its children: a process that
renames itself may write over its environment. What carries the mark of another process of pytest is that one's.
"""

import functools
import os
import secrets
import subprocess
import sys
from collections.abc import Generator

import pytest

MARK = "PYTEST_PROCESSES_OF"
"""In the environment of what a test starts: a daemon leaves its parents."""
HOME = "TUNESMITH_HOME"
"""In that of a platform's processes, which are handed a list of variables: a folder of this run."""

_WAIT_AND_END = """
import os, select, signal, sys, time

def every():
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                state, parent, _, session = file.read().rpartition(b")")[2].split()[:4]
            with open(f"/proc/{name}/environ", "rb") as file:
                words = file.read().split(b"\\0")
        except OSError:
            continue
        if state != b"Z" and int(name) != os.getpid():
            yield int(name), {int(parent), int(session)} - {int(name)}, words

def left(mark, home):
    above, found, others = {}, set(), set()
    for pid, over, words in every():
        above[pid] = over
        if mark in words or any(word.startswith(home) for word in words):
            found.add(pid)
        elif any(word.startswith(mark.partition(b"=")[0] + b"=") for word in words):
            others.add(pid)
    while more := {pid for pid, over in above.items() if over & found} - found - others:
        found |= more
    return found

parent, mark, home = int(sys.argv[1]), *map(os.fsencode, sys.argv[2:])
try:
    select.select([os.pidfd_open(parent)], [], [])
except ProcessLookupError:
    pass
for _ in range(100):  # what is killed may have been about to start another
    found = left(mark, home)
    if not found:
        break
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    time.sleep(0.05)
"""


@functools.cache
def mark() -> str:
    """What this process puts into the environment of what it starts: no other process has it, of this number or not."""
    return f"{os.getpid()}-{secrets.token_hex(4)}"


def end_with_this_process(folder: str) -> subprocess.Popen[bytes]:
    """Mark what this process starts from now on, and let it end when this process has.

    Args:
        folder: Platforms whose state lies below it end too.
    """
    os.environ[MARK] = mark()
    words = [str(os.getpid()), f"{MARK}={mark()}", f"{HOME}={folder}/"]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _WAIT_AND_END, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # whoever reads what pytest prints is not kept waiting
        start_new_session=True,  # an interrupt from the keyboard is not for it
    )


@pytest.hookimpl(wrapper=True)
def pytest_sessionstart(session: pytest.Session) -> Generator[None, None, None]:
    yield
    factory: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined]
    end_with_this_process(str(factory.getbasetemp()))
