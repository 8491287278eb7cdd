"""The driver's guard over its workers: says which give no sign of life, and ends one that is stuck.

A worker gives a sign about once a second (`alive`). One that gives none is reported; one that besides takes no
processor time for as long as the platform's settings say is ended, its stack logged before, so that whoever started it
starts another. Time counts only as far as this guard itself runs: of a machine that slept nobody was silent. Knows
processes and the control plane; knows nothing of Ray and training (other machines: `elsewhere`).
"""

import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from tunesmith.events import (
    MAX_LOG_CHARACTERS,
    MAX_SILENT_CHARACTERS,
    MAX_SILENT_WORKERS,
    JobPayload,
    LogLine,
    SilentWorker,
    Warned,
)
from tunesmith.job import AttemptDocument
from tunesmith.processes import ProcessRecord, Pulse, end, pulse_of_record, records_in
from tunesmith_jobs.control_plane import ControlPlane, Gone
from tunesmith_jobs.report import Reporter
from tunesmith_jobs.spool import SpoolLock

LOOK_SECONDS = 1.0
_MOST_SECONDS = 2 * LOOK_SECONDS
"""What one look counts at most: between two that are further apart this process itself did not run."""
_STACK_SECONDS = 10.0
_DRAIN_SECONDS = 2.0
_STATES = {
    "T": "its process is stopped by a signal",
    "t": "its process is stopped by a debugger",
    "D": "its process waits for a device or a file system",
}
_log = logging.getLogger("tunesmith_jobs.silence")


@dataclass
class Silence:
    """A worker's process, and for how long nothing moved."""

    record: ProcessRecord
    pulse: Pulse
    beat: int
    silent: float = 0.0
    """Seconds without a sign of life."""
    still: float = 0.0
    """Seconds without a sign of life and without processor time."""

    @property
    def words(self) -> str:
        """What is known of it."""
        state = _STATES.get(self.pulse.state, "its process is there")
        return f"{self.record.words} has given no sign of life for {self.silent:.0f} s: {state}."


class Place(Protocol):
    """Other machines on which workers of the attempt may be."""

    def look(self, elapsed: float, here: int) -> list[Silence]:
        """Every worker that is there; `here` says how many are on the driver's own machine."""

    def end(self, record: ProcessRecord) -> str | None:
        """End a worker; answers its stack, or None when it was not there."""

    def close(self) -> None:
        """Look no more."""


class Here:
    """Looks at an attempt's workers on this machine, time and again, and ends one.

    Args:
        work_dir: Where they wrote themselves down.
        attempt: Which one.
    """

    def __init__(self, work_dir: Path, attempt: int) -> None:
        self._work_dir, self._attempt = work_dir, attempt
        self._known: dict[str, Silence] = {}

    def look(self, elapsed: float) -> list[Silence]:
        """Every worker that is there.

        Args:
            elapsed: Seconds since the last look.
        """
        found: dict[str, Silence] = {}
        for record in records_in(self._work_dir, self._attempt):
            pulse = pulse_of_record(record)
            if pulse is None or record.worker is None:
                continue
            try:
                beat = (self._work_dir / record.name).stat().st_mtime_ns
            except OSError:  # it is done just now
                continue
            before = self._known.get(record.name)
            now = Silence(record, pulse, beat)
            if before is not None and before.beat == beat:
                now.silent = before.silent + elapsed
                if before.pulse.processor == pulse.processor:
                    now.still = before.still + elapsed
            found[record.name] = now
        self._known = found
        return list(found.values())

    def end(self, record: ProcessRecord) -> str | None:
        """End a worker; answers where it stood, or None when it was not there any more."""
        stack = stack_of(record.pid)
        return stack if end(record) else None


class Guard(threading.Thread):
    """Looks after the workers of an attempt while its driver waits for them.

    Args:
        document: Of the attempt.
        elsewhere: The machines besides this one.
        exit_process: Ends this process, when the attempt is over for the control plane.
        clock: Seconds that rise.
    """

    def __init__(
        self,
        document: AttemptDocument,
        elsewhere: Place | None = None,
        exit_process: Callable[[int], object] = os._exit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="guard", daemon=True)
        self._document, self._exit, self._clock = document, exit_process, clock
        self._looked = clock()
        self._here, self._elsewhere = Here(Path(document.work_dir), document.attempt), elsewhere
        self._plane = ControlPlane(document)
        self._lock = SpoolLock(Path(document.work_dir), document.attempt)
        self._over = threading.Event()
        self._is_reported = False
        self._ended: set[str] = set()
        self.pending: list[JobPayload] = []
        """What is still to be reported, when the spool is free."""
        self.words = ""
        """Why a worker was ended the last time."""

    def stop(self) -> None:
        """End it; returns once it will do nothing more."""
        self._over.set()
        self.join()
        self._plane.close()
        if self._elsewhere is not None:
            try:
                self._elsewhere.close()
            except Exception:  # the attempt's outcome is still to be said
                _log.exception("other machines could not be left")

    def run(self) -> None:
        """Look about once a second."""
        while not self._over.wait(LOOK_SECONDS):
            try:
                self.turn()
            except Exception:  # whatever cannot be seen must not end the only one who looks
                _log.exception("the workers could not be looked at")

    def turn(self) -> None:
        """Look once, by the clock."""
        before, self._looked = self._looked, self._clock()
        self.look(min(self._looked - before, _MOST_SECONDS))

    def look(self, elapsed: float) -> None:
        """Look once, and do what follows.

        Args:
            elapsed: Seconds since the last look.
        """
        here = self._here.look(elapsed)
        there = self._elsewhere.look(elapsed, len(here)) if self._elsewhere is not None else []
        known = {one.record.name for one in here}  # machines that share a work folder may be one
        silent = []
        for one in [*here, *(one for one in there if one.record.name not in known)]:
            if one.silent < self._document.silent_seconds:
                continue
            silent.append(one)
            if one.still >= self._document.stuck_seconds and one.record.name not in self._ended:
                self._end(one, self._here if one.record.name in known else self._elsewhere)
        self._report_silent(silent)
        if self.pending and self._lock.acquire():
            with Reporter(self._document, lock=self._lock) as reporter:
                self.report_pending(reporter)
                reporter.drain(_DRAIN_SECONDS)

    def report_pending(self, reporter: Reporter) -> None:
        """Report what is still to be reported."""
        while self.pending:
            reporter.emit(self.pending.pop(0))

    def _report_silent(self, silent: list[Silence]) -> None:
        """Say who is silent for as long as there is somebody, and once that there is nobody any more."""
        if not silent and not self._is_reported:
            return
        workers = [
            SilentWorker(
                worker=one.record.worker or 0, seconds=one.silent, message=one.words[:MAX_SILENT_CHARACTERS]
            )
            for one in silent[:MAX_SILENT_WORKERS]
        ]
        try:
            self._plane.report_silent(workers)
            self._is_reported = bool(silent)
        except Gone:
            _log.warning("attempt %s is over: exiting", self._document.attempt)
            for one in silent:  # a stopped process hears nothing of its driver's end
                end(one.record)
            self._exit(1)
        except (httpx.HTTPError, OSError, ValueError) as error:
            _log.debug("the control plane does not answer: %r", error)

    def _end(self, stuck: Silence, place: Here | Place | None) -> None:
        self._ended.add(stuck.record.name)
        stack = place.end(stuck.record) if place is not None else None
        if stack is None:
            return  # it left by itself
        self.words = f"{stuck.words[:-1]}, and it took no processor time. It was ended."
        _log.warning("%s Its stack:\n%s", self.words, stack)
        self.pending += [
            LogLine(
                level="error",
                source=f"worker-{stuck.record.worker}",
                message=f"{self.words} Its stack:\n{stack}"[:MAX_LOG_CHARACTERS],
            ),
            Warned(
                code="worker_ended",
                message=self.words,
                hint="Another takes its place, as long as `max_restarts` allows. Its log says where it stood.",
            ),
        ]


def stack_of(pid: int) -> str:
    """Where a process's threads stand, as far as the system lets us see; says so where it does not."""
    found = [_python_stack(pid)]
    for thread in sorted(Path(f"/proc/{pid}/task").glob("*"), key=lambda path: int(path.name))[:1]:
        for name, words in (("wchan", "waits in the kernel at"), ("stack", "kernel stack")):
            try:
                text = (thread / name).read_text().strip()
            except OSError as error:
                text = f"not to be read ({error.strerror})"
            found.append(f"Main thread, {words}: {text or 'nothing'}")
    return "\n".join(found)


def _python_stack(pid: int) -> str:
    beside = Path(sys.executable).with_name("py-spy")
    program = str(beside) if beside.exists() else shutil.which("py-spy")
    if program is None:
        return "The Python stack is not to be had: py-spy is not installed."
    try:
        # It is not stopped for this: it stands still already, and one that is stopped could not be stopped again.
        done = subprocess.run(
            [program, "dump", "--nonblocking", "--pid", str(pid)],
            capture_output=True, text=True, errors="replace", timeout=_STACK_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"The Python stack is not to be had: {type(error).__name__}."
    if done.returncode:
        return f"The Python stack is not to be had: {done.stderr.strip()[-500:]}"
    return done.stdout.strip()
