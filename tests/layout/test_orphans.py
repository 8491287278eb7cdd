"""What a process of pytest started ends with it, however it dies: a daemon, and what hides its environment."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
from waiting import wait_until

_DIES = """
import os, subprocess, sys
from orphans import end_with_this_process

end_with_this_process(sys.argv[1])
sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
started = [
    subprocess.Popen(sleeper, start_new_session=True),
    subprocess.Popen(sleeper, env={"TUNESMITH_HOME": sys.argv[1] + "/home"}),
    subprocess.Popen([sys.executable, "-c", "import subprocess, sys, time; print(subprocess.Popen(sys.argv[1:], "
        "env={}).pid, flush=True); time.sleep(600)", *sleeper], stdout=subprocess.PIPE, text=True),
]
hidden = started[-1].stdout.readline().strip()
others = [
    subprocess.Popen(sleeper, env={"PYTEST_PROCESSES_OF": "1"}),
    subprocess.Popen(sleeper, env={"TUNESMITH_HOME": sys.argv[1] + "-of-another/home"}),
]
print(*[one.pid for one in started], hidden, "|", *[one.pid for one in others], flush=True)
sys.stdin.read()
"""  # fmt: skip


def test_what_it_started_ends_with_it_and_nothing_else(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _DIES, str(tmp_path)],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as dies:
        assert dies.stdout is not None
        ours, others = (
            [psutil.Process(int(pid)) for pid in part.split()] for part in dies.stdout.readline().split("|")
        )
        try:
            assert (len(ours), len(others)) == (4, 2)
            os.kill(dies.pid, signal.SIGKILL)
            wait_until(lambda: not any(map(psutil.Process.is_running, ours)), 30, "their end")
            assert all(map(psutil.Process.is_running, others))
        finally:
            for process in others:
                process.kill()
