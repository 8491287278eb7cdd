"""Processor time is counted once, also that of children which nobody waits for; it never goes back."""

import subprocess
import sys

import pytest
from processor_time import ProcessTimes

_BURN = "import time\nwhile time.process_time() < {seconds}: pass\n"
_PARENT = """
import signal, subprocess, sys
if {ignores}:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for word in sys.stdin:
    child = subprocess.Popen([sys.executable, "-c", {burn!r}], stdin=subprocess.PIPE)
    print("begun", flush=True)
    sys.stdin.readline()
    child.stdin.close()
    child.wait()
    print("ended", flush=True)
"""
_HELD = _BURN.format(seconds=0.3) + "import sys\nsys.stdin.read()\n"


@pytest.mark.parametrize("ignores", [True, False], ids=["nobody waits", "waited for"])
def test_what_a_child_took_is_counted_once(ignores: bool) -> None:
    times = ProcessTimes()
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT.format(ignores=ignores, burn=_HELD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    seen = [times.seconds()]

    def say(word: str) -> None:
        parent.stdin.write(f"{word}\n")
        parent.stdin.flush()

    say("go")
    assert parent.stdout.readline() == "begun\n"
    while times.seconds() - seen[0] < 0.3:
        pass
    seen.append(times.seconds())
    say("end")
    assert parent.stdout.readline() == "ended\n"
    seen.append(times.seconds())
    parent.stdin.close()
    parent.wait()
    seen.append(times.seconds())
    assert seen == sorted(seen), "it never goes back"
    assert seen[2] - seen[1] < 0.25, "what it took is not counted again when it ends"
