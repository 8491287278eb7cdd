"""How long tests take, in processor time and by the clock, with all processes that they start. A pytest plugin.

The end of a run names the slowest tests and groups, when each worker had no more to do, and whether the machine waited.
With `--guard-times` it also fails where a test that is not marked `slow` took more than four seconds of processor, or
the whole more than half as much again as was recorded. Processor time alone: a busy neighbour makes nothing fail.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from groups import group_of
from orphans import HOME, MARK, mark

RECORD = Path(__file__).parent / "data" / "processor_time.json"
"""The seconds of the whole, of both forms; `--record-times` writes that of the run that is on."""
MOST_OF_ONE = 4.0
MORE_THAN_RECORDED = 1.5
SHOWN = 20
GROUPS_SHOWN = 60
_LOOK_SECONDS = 1.0
"""Between two looks at all processes."""
_TICK = os.sysconf("SC_CLK_TCK")
_HEAVY_MARKS = {"slow", "long", "e2e"}


_Key = tuple[int, bytes]
"""A process: its number, and when it was born."""


class _Taken(NamedTuple):
    parent: int
    own: int
    """Of the system's ticks, as all that follows."""
    children: int
    """What its children that ended took, as far as is known."""
    waited_for: int
    """The same as the system counts it."""


class ProcessTimes:
    """The seconds of processor that this process and all that it started have taken, ended ones included.

    What an ended child took is in its parent's count only where the parent waited for it. So of each process's children
    the larger counts, look by look: how much the parent's own count of them grew, or what those had taken that ended.
    A process that begins and ends between two looks, and that nobody waits for, is not seen.
    """

    def __init__(self) -> None:
        self._me = os.getpid()
        self._words = [f"{MARK}={mark()}\0".encode()]
        self._ours: dict[_Key, _Taken] = {}
        self._others: set[_Key] = set()
        self._ended = 0
        os.environ[MARK] = mark()

    def count_homes(self, folder: Path) -> None:
        """Count the processes of platforms whose state lies below a folder."""
        self._words.append(f"{HOME}={folder}/".encode())

    def seconds(self) -> float:
        """Look at every process of the machine: some milliseconds, of processor too."""
        every = dict(self._every())
        ours = {pid for pid, (parent, born, *_) in every.items() if self._is_ours(pid, parent, born)}
        while new := {pid for pid, (parent, *_) in every.items() if parent in ours and pid not in ours}:
            ours |= new
        self._others = {(pid, born) for pid, (_, born, *_) in every.items() if pid not in ours}
        now = {(pid, every[pid][1]): every[pid] for pid in ours}
        known = {pid: (pid, born) for pid, born in self._ours}
        ended: dict[_Key, int] = {}

        def close(key: _Key) -> None:
            """Hand on what an ended process took: to its parent, or to the sum where that is not ours."""
            taken = self._ours.pop(key)
            for child in [
                other for other, one in self._ours.items() if one.parent == key[0] and other not in now
            ]:
                close(child)
            above = known.get(taken.parent)
            total = taken.own + taken.children + ended.pop(key, 0)
            if above is None:
                self._ended += total
            else:
                ended[above] = ended.get(above, 0) + total

        while gone := next((key for key in self._ours if key not in now), None):
            close(gone)
        for key, (parent, _, own, waited_for) in now.items():
            before = self._ours.get(key, _Taken(parent, 0, 0, 0))
            grown = max(waited_for - before.waited_for, ended.pop(key, 0))
            self._ours[key] = _Taken(parent, own, before.children + grown, waited_for)
        self._ended += sum(ended.values())
        return (self._ended + sum(taken.own + taken.children for taken in self._ours.values())) / _TICK

    def _is_ours(self, pid: int, parent: int, born: bytes) -> bool:
        if pid == self._me or (pid, born) in self._ours:
            return True
        if (pid, born) in self._others:
            return False
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False
        return any(word in environment for word in self._words)

    @staticmethod
    def _every() -> Iterator[tuple[int, tuple[int, bytes, int, int]]]:
        """Of each process: its parent, when it was born, the ticks that it took, and those it waited for."""
        for folder in os.listdir("/proc"):  # noqa: PTH208  # names alone: this is done each second
            if folder.isdigit():
                try:
                    fields = Path(f"/proc/{folder}/stat").read_bytes().rpartition(b")")[2].split()
                except OSError:
                    continue
                own, waited_for = (sum(map(int, fields[at : at + 2])) for at in (11, 13))
                yield int(folder), (int(fields[1]), fields[19], own, waited_for)


class Parts:
    """Divides what was taken among the parts of tests.

    A look at every process costs more than most tests do. So what a short part took is what this process and the
    children that it waited for did; what others took is found once a second, and belongs to the part that ends then.

    Args:
        now: The time, in seconds.
        own: What this process has taken, and the children that it waited for.
        seen: What all have taken.
    """

    def __init__(self, now: float, own: float, seen: float) -> None:
        self._looked, self._own, self._seen = now, own, seen
        self._charged = 0.0
        """What parts were charged with since the last look."""

    def charge(self, now: float, own: float, look: Callable[[], float]) -> float:
        """What the part took that ends now."""
        taken, self._own = own - self._own, own
        if now - self._looked >= _LOOK_SECONDS:
            before, self._seen, self._looked = self._seen, look(), now
            taken, self._charged = self._seen - before - self._charged, 0.0
        else:
            self._charged += taken
        return taken


class Meter:
    """Writes on each report how much processor its part of the test took."""

    def __init__(self) -> None:
        self._times = ProcessTimes()
        self._parts = Parts(time.monotonic(), _own_seconds(), self._times.seconds())

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        factory: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined]
        self._times.count_homes(factory.getbasetemp())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Any:
        report = yield
        report.processor_seconds = self._parts.charge(time.monotonic(), _own_seconds(), self._times.seconds)
        report.may_be_slow = any(item.get_closest_marker(name) for name in _HEAVY_MARKS)
        return report


def _own_seconds() -> float:
    return sum(os.times()[:4])


def _ticks_of_the_machine() -> tuple[int, int]:
    """Of all its processors: the ticks that none computed in, and all."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


class Sums:
    """Adds up what the reports say, in the process that the user started."""

    def __init__(self, config: pytest.Config) -> None:
        self._began = time.monotonic()
        self._ticks = _ticks_of_the_machine()
        self._config = config
        self._wall: dict[str, float] = {}
        self._groups: dict[str, tuple[float, float]] = {}
        """By the clock, and of processor."""
        self._ends: dict[str, float] = {}
        """When each worker said something last."""
        self._calls: dict[str, float] = {}
        self._may_be_slow: set[str] = set()
        self.processor = 0.0
        self.faults: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        taken = getattr(report, "processor_seconds", 0.0)
        self.processor += taken
        self._wall[report.nodeid] = self._wall.get(report.nodeid, 0.0) + report.duration
        group = group_of(report.nodeid)
        clock, processor = self._groups.get(group, (0.0, 0.0))
        self._groups[group] = clock + report.duration, processor + taken
        self._ends[getattr(report, "worker_id", "it")] = time.monotonic() - self._began
        if report.when == "call":
            self._calls[report.nodeid] = taken
        if getattr(report, "may_be_slow", False):
            self._may_be_slow.add(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        known: dict[str, int] = json.loads(RECORD.read_text())
        form = "short" if "not long" in self._config.option.markexpr else "long"
        if self._config.getoption("record_times"):
            RECORD.write_text(json.dumps(known | {form: round(self.processor)}) + "\n")
        if not self._config.getoption("guard_times"):
            return
        recorded = known[form]
        # On a machine that others use too everything takes more: caches are shared, and cores are two in one.
        most = MOST_OF_ONE * max(1.0, self.processor / recorded)
        self.faults = [
            f"{name} took {taken:.1f} s of processor; {most:.1f} s are for a test that is not `slow`"
            for name, taken in self._calls.items()
            if taken > most and name not in self._may_be_slow
        ]
        if self.processor > MORE_THAN_RECORDED * recorded:
            self.faults.append(
                f"the whole took {self.processor:.0f} s of processor, {recorded} s are recorded in "
                f"{RECORD.name}; `--record-times` records it anew"
            )
        if self.faults and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        slowest = sorted(self._wall.items(), key=lambda one: -one[1])[:SHOWN]
        terminalreporter.section("where the time went")
        for name, seconds in slowest:
            taken = self._calls.get(name, 0.0)
            terminalreporter.write_line(f"{seconds:7.1f} s, {taken:6.1f} s of processor in its call: {name}")
        terminalreporter.write_line("")
        for group, (seconds, taken) in sorted(self._groups.items(), key=lambda one: -one[1][0])[
            :GROUPS_SHOWN
        ]:
            terminalreporter.write_line(f"{seconds:7.1f} s, {taken:6.1f} s of processor: {group}")
        ends = ", ".join(f"{worker} after {end:.0f} s" for worker, end in sorted(self._ends.items()))
        terminalreporter.write_line(f"the last test ended on {ends}")
        wall = time.monotonic() - self._began
        idle, ticks = (
            after - before for before, after in zip(self._ticks, _ticks_of_the_machine(), strict=True)
        )
        terminalreporter.write_line(
            f"the whole: {wall:.0f} s, {self.processor:.0f} s of processor; the machine was idle for "
            f"{idle / max(ticks, 1):.0%} of its {os.cpu_count()} processors' time"
        )
        for fault in self.faults:
            terminalreporter.write_line(f"TOO LONG: {fault}", red=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("times")
    group.addoption(
        "--guard-times", action="store_true", help="fail where more processor time is taken than allowed"
    )
    group.addoption("--record-times", action="store_true", help="record the processor time of this whole run")


def pytest_configure(config: pytest.Config) -> None:
    is_worker = hasattr(config, "workerinput")
    if is_worker or not getattr(config.option, "numprocesses", None):
        config.pluginmanager.register(Meter(), "times-meter")
    if not is_worker:
        config.pluginmanager.register(Sums(config), "times-sums")
