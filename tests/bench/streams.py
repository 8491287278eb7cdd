"""Live streams of one API process: latency from report to reader, a stalled reader, a kill -9 in the middle.

Run: `python tests/bench/streams.py [--streams 1000] [--tasks 50] [--rate 2] [--seconds 20]`. A real server process
(SQLite, WAL, synchronous=FULL), one process that reports over HTTP as jobs do, one that reads. The latency is the time
from before the report is sent until a reader holds the event: the write into the database is part of it.
All three share the machine; the CPU shown is the server's alone.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import re
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent))
from serving import Api, make_api, make_task

from tunesmith_platform.db.engine import Database

_FRAME = re.compile(rb'id: (\d+)\r\n.*?"sent":([\d.]+)', re.DOTALL)
_ID = re.compile(rb"id: (\d+)\r\n")
STALLED = 20
NOISY_SECONDS = 8
LINE = "x" * 7900
"""A log line that soon fills the buffers of a reader that does not read."""


# --- readers


class Reader(asyncio.Protocol):
    """One stream, read as lightly as Python can; connects again with `Last-Event-ID`."""

    def __init__(self, site: "Readers", task_id: str) -> None:
        self.site, self.task_id = site, task_id
        self.latencies = site.noisy if task_id == site.noisy_task else site.latencies
        self.last, self.events, self.wrong, self.connects = 0, 0, 0, 0
        self.rest = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.rest = b""
        self.connects += 1
        request = (
            f"GET /v1/tasks/{self.task_id}/stream HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
            f"Authorization: {self.site.key}\r\nLast-Event-ID: {self.last}\r\n\r\n"
        )
        self.transport.write(request.encode())  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        moment = time.time()
        *frames, self.rest = (self.rest + data).split(b"\r\n\r\n")
        for frame in frames:
            # A long line of a log is not looked through: this process shares the machine with what it measures.
            found = _FRAME.search(frame) if b'"sent":' in frame else None
            if found is None:
                other = _ID.search(frame)
                if other is not None:
                    self._count(int(other[1]))
                continue
            self._count(int(found[1]))
            self.latencies.append(moment - float(found[2]))

    def _count(self, number: int) -> None:
        self.wrong += number != self.last + 1
        self.last = number
        self.events += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.site.loop.create_task(self.connect())

    async def connect(self) -> None:
        pause = 0.1
        while not self.site.closing:
            try:
                await self.site.loop.create_connection(lambda: self, "127.0.0.1", self.site.port)
                return
            except OSError:
                await asyncio.sleep(pause * random.uniform(0.75, 1.25))
                pause = min(2.0, pause * 2)


class Readers:
    """All readers of the reading process."""

    def __init__(self, port: int, key: str, task_ids: Sequence[str]) -> None:
        self.port, self.key = port, key
        self.loop = asyncio.get_running_loop()
        self.latencies: list[float] = []
        self.noisy: list[float] = []
        self.noisy_task = task_ids[0]
        self.closing = False
        self.readers = [Reader(self, task_id) for task_id in task_ids]

    async def run(self, pipe: Connection) -> None:
        for start in range(0, len(self.readers), 100):
            await asyncio.gather(*(reader.connect() for reader in self.readers[start : start + 100]))
        pipe.send("connected")
        while True:
            command = await self.loop.run_in_executor(None, pipe.recv)
            if command == "forget":
                self.latencies.clear()
                self.noisy.clear()
            elif command in ("latencies", "noisy"):
                asked = self.latencies if command == "latencies" else self.noisy
                pipe.send(sorted(asked))
                asked.clear()
            elif command == "state":
                pipe.send([(r.task_id, r.last, r.events, r.wrong, r.connects) for r in self.readers])
            else:
                self.closing = True
                return


def read_all(port: int, key: str, task_ids: Sequence[str], pipe: Connection) -> None:
    """The reading process."""

    async def main() -> None:
        await Readers(port, key, task_ids).run(pipe)

    uvloop.run(main())


# --- writers


class Writers:
    """Reports of many tasks, each event sent again until it is stored."""

    def __init__(self, port: int, headers: dict[str, dict[str, str]], rate: float) -> None:
        self.port, self.headers, self.rate = port, headers, rate
        self.stopping = False
        self.seqs = dict.fromkeys(headers, 0)
        self.failures = 0

    async def task(self, task_id: str, noisy: asyncio.Event | None = None) -> None:
        """Report one event at a time, evenly; of the noisy task log lines in addition."""
        period = 1 / self.rate
        due = time.monotonic() + random.uniform(0, period)
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self.stopping:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += period
            count = 51 if noisy is not None and noisy.is_set() else 1
            events = [self._event(self.seqs[task_id] + i, is_log=i > 1) for i in range(1, count + 1)]
            self.seqs[task_id] += count
            body = json.dumps({"attempt": 1, "events": events}).encode()
            head = f"POST /v1/tasks/{task_id}/reports HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
            head += "".join(f"{k}: {v}\r\n" for k, v in self.headers[task_id].items())
            while True:
                try:
                    if streams is None:
                        streams = await asyncio.open_connection("127.0.0.1", self.port)
                    streams[1].write(head.encode() + b"\r\n" + body)
                    answer = await streams[0].readuntil(b"\r\n\r\n")
                    length = int(re.search(rb"content-length: (\d+)", answer)[1])  # type: ignore[index]
                    reply = await streams[0].readexactly(length)
                    assert answer.startswith(b"HTTP/1.1 200"), (answer, reply)
                    break
                except (OSError, asyncio.IncompleteReadError):
                    self.failures += 1
                    streams = None
                    await asyncio.sleep(0.2)

    def _event(self, seq: int, is_log: bool) -> dict[str, Any]:
        payload: dict[str, Any] = {"kind": "log", "message": LINE}
        if not is_log:
            values = {"loss": 1.5, "learning_rate": 1e-4, "grad_norm": 0.7, "sent": time.time()}
            payload = {"kind": "metrics", "step": seq, "values": values}
        return {"seq": seq, "time": "2026-11-21T12:00:00Z", "payload": payload}

    async def run(self, pipe: Connection) -> None:
        noisy = asyncio.Event()
        first, *rest = self.headers
        running = [asyncio.create_task(self.task(task_id)) for task_id in rest]
        running.append(asyncio.create_task(self.task(first, noisy)))
        loop = asyncio.get_running_loop()
        while (command := await loop.run_in_executor(None, pipe.recv)) != "stop":
            noisy.set() if command == "noise" else noisy.clear()
        self.stopping = True
        await asyncio.gather(*running)
        pipe.send((self.seqs, self.failures))


def write_all(port: int, headers: dict[str, dict[str, str]], rate: float, pipe: Connection) -> None:
    """The reporting process."""

    async def main() -> None:
        await Writers(port, headers, rate).run(pipe)

    uvloop.run(main())


# --- the bench


def stalled_reader(api: Api, task_id: str) -> socket.socket:
    """A reader that asks and never reads."""
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect(("127.0.0.1", api.port))
    key = api.headers["Authorization"]
    reader.sendall(
        f"GET /v1/tasks/{task_id}/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: {key}\r\n\r\n".encode()
    )
    return reader


def held(server: psutil.Process, readers: Sequence[socket.socket]) -> int:
    """How many of these connections the server still holds."""
    ports = {reader.getsockname()[1] for reader in readers}
    return sum(c.raddr != () and c.raddr.port in ports for c in server.net_connections("tcp"))


def words(values: list[float]) -> str:
    """Latencies as they are printed."""
    if not values:
        return "nothing arrived"
    p50, p99 = (values[min(len(values) - 1, int(len(values) * share))] * 1000 for share in (0.5, 0.99))
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, worst {values[-1] * 1000:.0f} ms ({len(values)} events)"


class Bench:
    """Server, writers and readers, and what is asked of them."""

    def __init__(self, api: Api, readers: Connection, writers: Connection) -> None:
        self.api, self.readers, self.writers = api, readers, writers

    def ask(self, what: str) -> Any:
        """What the readers say."""
        self.readers.send(what)
        return self.readers.recv()

    def steady(self, seconds: float, pid: int) -> None:
        """Everybody reads."""
        server = psutil.Process(pid)
        self.readers.send("forget")
        before, started = server.cpu_times(), time.monotonic()
        time.sleep(seconds)
        used = sum(server.cpu_times()[:2]) - sum(before[:2])
        share = used / (time.monotonic() - started) * 100
        print(f"  steady: {words(self.ask('latencies'))}")
        print(
            f"  server: {share:.0f} % of a core, {server.memory_info().rss / 2**20:.0f} MB, "
            f"{server.num_threads()} threads"
        )

    def stall(self, pid: int, task_id: str) -> None:
        """Some never read, of a task that says much; what the streams of other tasks feel of it."""
        server = psutil.Process(pid)
        self.writers.send("noise")
        time.sleep(2)
        self.readers.send("forget")
        time.sleep(NOISY_SECONDS)
        print(f"  one task says much, all read: the others' {words(self.ask('latencies'))};")
        print(f"    its own {words(self.ask('noisy'))}")
        stalled = [stalled_reader(self.api, task_id) for _ in range(STALLED)]
        started = time.monotonic()
        while held(server, stalled) < STALLED and time.monotonic() - started < 20:
            time.sleep(0.1)
        self.readers.send("forget")
        while (left := held(server, stalled)) and time.monotonic() - started < 90:
            time.sleep(1)
        took = time.monotonic() - started
        print(
            f"  {STALLED} more of it read nothing, until cut off: the others' {words(self.ask('latencies'))};"
        )
        print(f"    its own {words(self.ask('noisy'))}")
        self.writers.send("quiet")
        print(
            f"  cut off: {STALLED - left} of {STALLED}, the last after {took:.0f} s; "
            f"{server.memory_info().rss / 2**20:.0f} MB"
        )
        for reader in stalled:
            reader.close()

    def finish(self) -> None:
        """Stop writing, and hold what every reader got against what was stored."""
        self.writers.send("stop")
        seqs, failures = self.writers.recv()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            state = self.ask("state")
            if all(last >= seqs[task_id] for task_id, last, *_ in state):
                break
            time.sleep(0.5)
        behind = sum(last != seqs[task_id] for task_id, last, *_ in state)
        wrong = sum(wrong for *_, wrong, _ in state)
        again = sum(connects > 1 for *_, connects in state)
        events = sum(events for _, _, events, *_ in state)
        print(
            f"  in the end: {events} events in {len(state)} streams ({again} connected again; {failures} reports "
            f"were repeated): {wrong} gaps or duplicates, {behind} streams without the last event"
        )
        assert not wrong
        assert not behind


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--rate", type=float, default=2, help="Reports of each task a second, of one event.")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--only", choices=["steady"], default=None)
    asked = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # what was measured is seen at once
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        api = make_api(Path(folder))
        with api.serve():
            pass  # it makes the tables
        database = Database(api.database_url)
        task_ids = [make_task(database) for _ in range(asked.tasks)]
        database.close()
        own_readers, far_readers = context.Pipe()
        own_writers, far_writers = context.Pipe()
        followed = [task_ids[i % len(task_ids)] for i in range(asked.streams)]
        headers = {task_id: api.report_headers(task_id) for task_id in task_ids}
        reading = context.Process(
            target=read_all, args=(api.port, api.headers["Authorization"], followed, far_readers), daemon=True
        )
        writing = context.Process(
            target=write_all, args=(api.port, headers, asked.rate, far_writers), daemon=True
        )
        bench = Bench(api, own_readers, own_writers)
        print(
            f"{asked.streams} streams of {asked.tasks} tasks, {asked.rate:g} events a second in each:",
            flush=True,
        )
        first = stack.enter_context(api.serve())
        started = time.monotonic()
        reading.start()
        stack.callback(reading.terminate)
        assert own_readers.recv() == "connected"
        print(f"  connected in {time.monotonic() - started:.1f} s (the reading process starts in it)")
        writing.start()
        stack.callback(writing.terminate)
        time.sleep(3)
        bench.steady(asked.seconds, first)
        if asked.only:
            return
        bench.stall(first, task_ids[0])
        time.sleep(2)
        os.kill(first, signal.SIGKILL)
        with api.serve() as second:
            own_readers.send("forget")
            time.sleep(8)
            print(f"  after kill -9 and a restart, what was missed included: {words(bench.ask('latencies'))}")
            bench.steady(5, second)
            bench.finish()


if __name__ == "__main__":
    main()
