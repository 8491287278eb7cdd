"""A test that ends its whole process, as one that hangs does at last, is named and run once; all others run."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from groups import pytest_xdist_make_scheduler

TESTS = Path(__file__).parents[1]
_DIES = """
import os
from pathlib import Path

RAN = Path(__file__).with_suffix(".ran")


def say(name):
    with RAN.open("a") as file:
        file.write(name + " ")


def test_before():
    say("before")


def test_dies():
    say("dies")
    os._exit(1)


def test_after():
    say("after")
"""


def test_what_a_worker_died_of_is_not_run_again(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(
        f"[pytest]\npythonpath = {TESTS}\naddopts = -p groups -p no:cacheprovider\n"
    )
    (tmp_path / "test_one.py").write_text(_DIES)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "xdist",
            "-n",
            "1",
            "--dist",
            "loadscope",
            str(tmp_path),
        ],
        cwd=tmp_path,
        env=plain | {"PYTHONPATH": str(TESTS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (tmp_path / "test_one.ran").read_text().split() == ["before", "dies", "after"]
    assert "crashed while running 'test_one.py::test_dies'" in done.stdout, done.stdout + done.stderr
    assert "1 failed, 2 passed" in done.stdout
    assert done.returncode == 1


class Worker:
    """What the scheduler needs of one; keeps what it was given."""

    shutting_down = False
    gateway = SimpleNamespace(id="one")

    def __init__(self) -> None:
        self.given: list[int] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        self.given += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def test_workers_that_die_together_are_replaced_one_after_the_other() -> None:
    """The first of the new ones has collected and gets its work before the second has."""
    options: Any = SimpleNamespace(
        getvalue=lambda _: ["popen", "popen"], option=SimpleNamespace(loadscopereorder=False)
    )
    tests = [f"tests/test_{module}.py::test_{n}" for module in "abcd" for n in range(3)]
    scheduler = pytest_xdist_make_scheduler(options, None)
    first, second, third, fourth = workers = [Worker() for _ in range(4)]
    for worker in (first, second):
        scheduler.add_node(worker)
        scheduler.add_node_collection(worker, tests)
    scheduler.schedule()
    assert (first.given, second.given) == ([0, 1, 2], [3, 4, 5])
    scheduler.mark_test_complete(first, 0)
    assert scheduler.remove_node(first) == tests[1]
    assert scheduler.remove_node(second) == tests[3]
    for worker in (third, fourth):
        scheduler.add_node(worker)
    scheduler.add_node_collection(third, tests)
    scheduler.schedule()
    assert fourth.given == []
    scheduler.add_node_collection(fourth, tests)
    scheduler.schedule()
    for worker in (third, fourth):
        for index in worker.given:  # it grows meanwhile
            scheduler.mark_test_complete(worker, index)
    assert sorted(third.given + fourth.given) == [2, *range(4, 12)]
    assert not scheduler.has_pending
    assert [worker.shutting_down for worker in workers] == [False, False, True, True]
