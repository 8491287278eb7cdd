"""Processor time is counted once, also that of children which nobody waits for; it never goes back."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from processor_time import Parts

_LOOKS = """
import json, signal, subprocess, sys
from processor_time import ProcessTimes

burn = "import sys, time\\nwhile time.process_time() < 0.3: pass\\nprint('done', flush=True)\\nsys.stdin.read()"
start = '''
import signal, subprocess, sys
if sys.argv[1] == "ignores":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", sys.argv[2]]).wait()
print("ended", flush=True)
sys.stdin.read()
'''
times = ProcessTimes()
pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
seen = [times.seconds()]
parent = subprocess.Popen([sys.executable, "-c", start, sys.argv[1], burn], **pipes)
assert parent.stdout.readline() == "done\\n"
seen.append(times.seconds())
parent.stdin.close()
assert parent.stdout.readline() == "ended\\n"
seen.append(times.seconds())
parent.wait()
seen.append(times.seconds())
print(json.dumps(seen))
"""


@pytest.mark.parametrize("parent", ["ignores", "waits"])
def test_what_a_child_took_is_counted_once(parent: str) -> None:
    """Looks before it began, after it computed for 0.3 s, after it ended, and after its parent did."""
    said = subprocess.run(
        [sys.executable, "-c", _LOOKS, parent],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    seen = json.loads(said.stdout)
    assert seen == sorted(seen), "it never goes back"
    assert seen[1] - seen[0] >= 0.29
    assert seen[3] - seen[1] < 0.25, "what it took is not counted again when it ends"


def test_parts_of_tests_add_up_to_what_was_seen() -> None:
    """A short part is charged with what its own process took; the rest belongs to the one that ends at a look."""
    parts = Parts(now=0.0, own=1.0, seen=10.0)
    assert parts.charge(0.5, own=1.25, look=pytest.fail) == 0.25
    assert parts.charge(1.5, own=1.5, look=lambda: 14.0) == 3.75
    assert parts.charge(1.75, own=1.75, look=pytest.fail) == 0.25
