"""A worker process seen from the API: started, handed work, watched, killed. Knows pipes and limits; knows no work.

Messages are a letter, four bytes of length, and JSON; nothing is ever unpickled.
"""

import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from typing import Any, NamedTuple

import psutil

HEAD = struct.Struct(">cI")
READY, RESULT, ERROR, OS_ERROR, MEMORY, CRASH = b"H", b"R", b"E", b"O", b"M", b"X"
_PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_QUIET = {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
"""One processor a worker: threads of libraries would take more."""
_PIECE = 1 << 20


class Frame(NamedTuple):
    """What a worker said."""

    kind: bytes
    body: bytes


class Usage(NamedTuple):
    """What a worker has taken so far."""

    processor_seconds: float
    memory_bytes: int
    """Its own: what it shares with others (libraries, mapped files) is the system's to reclaim."""
    is_blocked: bool
    """Whether it waits for something else than a processor."""


class Died(Exception):
    """The worker has ended by itself, or something else ended it."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"code {code}")
        self.code = code


class AnswerTooLarge(Exception):
    """The worker begins to say more than it may."""


def environment() -> dict[str, str]:
    """A worker's environment: none of the API's secrets."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | _QUIET


class WorkerProcess:
    """One worker. Started by a thread that lives as long as the workers may: the system ends them with that thread.

    Args:
        niceness: Its priority; 19 is the lowest.
        memory_bytes: What it may take before it is killed; the address space has a limit far above.
        file_bytes: How large a file it may write; 0 forbids it to write.
        is_awaited: Whether its start, which reads nothing of strangers, has the API's own priority. One that replaces
            another has not: who breaks bounds again and again would take processors from everybody.
    """

    def __init__(self, niceness: int, memory_bytes: int, file_bytes: int, *, is_awaited: bool) -> None:
        numbers = (os.getpid(), niceness, memory_bytes, file_bytes, int(is_awaited))
        arguments = [str(number) for number in numbers]
        self._popen = subprocess.Popen(
            [sys.executable, "-P", "-m", "tunesmith_platform.sandbox.worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
            cwd="/",
            process_group=0,
        )
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._in, self._out = self._popen.stdin.fileno(), self._popen.stdout.fileno()
        self._process = psutil.Process(self._popen.pid)
        self._buffer = bytearray()
        self.is_ready = False
        self.started = time.monotonic()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._popen.pid

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._popen.poll() is None

    def usage(self) -> Usage:
        """What it has taken so far.

        Raises:
            Died: It has ended.
        """
        try:
            with self._process.oneshot():
                times, memory = self._process.cpu_times(), self._process.memory_info()
                blocked = self._process.status() != psutil.STATUS_RUNNING
        except psutil.Error:
            raise Died(self._popen.poll()) from None
        return Usage(times.user + times.system, memory.rss - memory.shared, blocked)

    def send(self, order: dict[str, Any]) -> None:
        """Hand it work.

        Raises:
            Died: It has ended.
        """
        body = json.dumps(order).encode()
        rest = memoryview(HEAD.pack(b"W", len(body)) + body)
        try:
            while rest:
                rest = rest[os.write(self._in, rest) :]
        except BrokenPipeError:
            raise Died(self._popen.wait()) from None

    def receive(self, seconds: float, limit: int) -> Frame | None:
        """What it says, once it has said it whole; None when that was not within some seconds.

        Raises:
            AnswerTooLarge: It begins to say more than `limit` bytes.
            Died: It has ended.
        """
        deadline = time.monotonic() + seconds
        while True:
            if len(self._buffer) >= HEAD.size:
                kind, length = HEAD.unpack_from(self._buffer)
                if length > limit:
                    raise AnswerTooLarge
                if len(self._buffer) >= HEAD.size + length:
                    body = bytes(memoryview(self._buffer)[HEAD.size : HEAD.size + length])
                    self._buffer = bytearray()
                    return Frame(kind, body)
            poll = select.poll()  # no `select`: it takes no descriptor above 1023
            poll.register(self._out, select.POLLIN | select.POLLHUP)
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return None
            data = os.read(self._out, _PIECE)
            if not data:
                raise Died(self._popen.wait())
            self._buffer += data

    def end(self) -> None:
        """Kill it and whatever it started."""
        if self._popen.poll() is None:
            try:
                os.killpg(self._popen.pid, signal.SIGKILL)
            except ProcessLookupError:
                self._popen.kill()
            self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()
