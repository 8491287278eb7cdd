"""The spool: an attempt's events in a local file, one a line, until the control plane has them.

Line `n` of the file is event `n`: numbers start at 1 and have no gap, whoever writes. One process writes at a time,
held by a lock on a file beside the spool; a line that a crash cut off is dropped when the next writer opens it.
Knows files; knows nothing of HTTP.
"""

import contextlib
import datetime as dt
import fcntl
import json
import logging
import os
import re
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO

from tunesmith.events import JobEvent, JobPayload
from tunesmith.plain_text import as_json
from tunesmith.secret_values import hide_in_json, known_secrets

_SPOOL_NAME = re.compile(r"^spool-(\d+)\.jsonl$")
_LOCK_POLL_SECONDS = 0.05
MAX_WAITING = 10_000
"""Events that wait in memory for a disk that is full; of more the newest are kept."""

_log = logging.getLogger("tunesmith_jobs.spool")


class SpoolLock:
    """The right to write an attempt's spool: an advisory lock that the system frees when its holder dies."""

    def __init__(self, work_dir: Path, attempt: int) -> None:
        work_dir.mkdir(parents=True, exist_ok=True)
        self._path = work_dir / f"spool-{attempt}.lock"
        self._file: IO[bytes] | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._file is not None

    def acquire(self, timeout: float = 0) -> bool:
        """Take the lock, waiting up to `timeout` seconds; False when another process keeps it."""
        assert not self.held, "the spool's lock is held already"
        file = self._path.open("ab")
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    file.close()
                    return False
                time.sleep(_LOCK_POLL_SECONDS)
            else:
                self._file = file
                return True

    def release(self) -> None:
        """Give the lock back; nothing to give back is no error."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _line_starts(path: Path) -> tuple[list[int], int]:
    """Where each whole line starts, and where the last one ends. A cut-off or broken last line is left out."""
    starts: list[int] = []
    end = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            starts.append(end)
            end += len(line)
    while starts:
        # A power cut may leave a last line that ends in a newline and is still no event.
        with path.open("rb") as file:
            file.seek(starts[-1])
            if _is_event(file.readline()):
                break
        end = starts.pop()
    return starts, end


def _is_event(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


class Spool:
    """One attempt's spool, opened for writing. Hold its `SpoolLock` before you open it. Thread-safe."""

    def __init__(self, work_dir: Path, attempt: int) -> None:
        self._path = work_dir / f"spool-{attempt}.jsonl"
        self._acked_path = work_dir / f"spool-{attempt}.acked"
        self._path.touch()
        # Eight bytes an event: the lines themselves stay on disk.
        self._starts, self._end = _line_starts(self._path)
        os.truncate(self._path, self._end)
        self._file = self._path.open("ab", buffering=0)
        self._waiting: deque[tuple[dt.datetime, JobPayload]] = deque(maxlen=MAX_WAITING)
        self._mutex = threading.Lock()
        self._secrets = known_secrets()
        self.acked = min(self._read_acked(), self.last_seq)

    @property
    def last_seq(self) -> int:
        """The number of the newest event; 0 when there is none."""
        return len(self._starts)

    def append(self, payload: JobPayload, time: dt.datetime | None = None) -> int:
        """Write an event and hand it to the system (no fsync); returns the newest number.

        While the disk takes nothing, events wait in memory: training goes on.
        """
        with self._mutex:
            self._waiting.append((time or dt.datetime.now(dt.UTC), payload))
            was_stuck = len(self._waiting) > 1
            while self._waiting and self._write(*self._waiting[0]):
                self._waiting.popleft()
            is_stuck, newest = bool(self._waiting), self.last_seq
        if is_stuck and not was_stuck:
            # Not under the lock, and once: the log's lines become events.
            _log.warning("`%s` cannot be written: events wait in memory", self._path)
        return newest

    def _write(self, time: dt.datetime, payload: JobPayload) -> bool:
        line = self._line(self.last_seq + 1, time, payload) + b"\n"
        try:
            if self._file.write(line) != len(line):
                raise OSError("the disk took a part of it")
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
            return False
        self._starts.append(self._end)
        self._end += len(line)
        return True

    def substitute(self, seq: int, payload: JobPayload) -> bytes:
        """The line of another event in the place of number `seq`. The file keeps the first one."""
        return self._line(seq, dt.datetime.now(dt.UTC), payload)

    def _line(self, seq: int, time: dt.datetime, payload: JobPayload) -> bytes:
        """An event as it is kept and sent: without the secrets of this process, whoever's words hold one."""
        return hide_in_json(as_json(JobEvent(seq=seq, time=time, payload=payload)), self._secrets)

    def read(self, after: int, max_events: int, max_bytes: int) -> list[bytes]:
        """The lines of the events after number `after`, without newlines: at least one if there is one."""
        with self._mutex:
            last = min(len(self._starts), after + max_events)
            if after >= last:
                return []
            begin = self._starts[after]
            while last > after + 1 and self._at(last) - begin > max_bytes:
                last -= 1
            end = self._at(last)
        with self._path.open("rb") as file:
            file.seek(begin)
            return file.read(end - begin).splitlines()

    def _at(self, index: int) -> int:
        return self._starts[index] if index < len(self._starts) else self._end

    def ack(self, seq: int) -> None:
        """Note that events up to `seq` are stored by the control plane."""
        if seq == self.acked:
            return
        self.acked = seq
        part = self._acked_path.with_suffix(".acked-part")
        part.write_text(str(seq))
        part.replace(self._acked_path)

    def _read_acked(self) -> int:
        try:
            return int(self._acked_path.read_text())
        except (OSError, ValueError):
            return 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def older_spools(work_dir: Path, attempt: int) -> list[int]:
    """The attempts before `attempt` that left a spool here, the oldest first."""
    found = [
        int(m.group(1)) for path in work_dir.glob("spool-*.jsonl") if (m := _SPOOL_NAME.match(path.name))
    ]
    return sorted(k for k in found if k < attempt)


def read_events(work_dir: Path, attempt: int, after: int) -> list[JobEvent]:
    """The events of another attempt's spool after number `after`; a line that cannot be read ends it."""
    events: list[JobEvent] = []
    with (work_dir / f"spool-{attempt}.jsonl").open("rb") as file:
        for seq, line in enumerate(file, 1):
            if seq <= after:
                continue
            try:
                events.append(JobEvent.model_validate_json(line))
            except ValueError:
                break
    return events
