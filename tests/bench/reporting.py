"""What reporting costs the trainer: microseconds of the step's thread, and the processor time of the sender beside it.

Run: `python tests/bench/reporting.py [--steps 150] [--step-ms 20]`. Steps are matrix products in numpy, which leaves
the interpreter free as torch does. Each variant takes turns with a plain loop of the same steps, several times, and the
middle one is shown: against a control plane that answers, one that is not there, one that never answers and one that
says 500. A reporter that was cut off for a minute then drains what it holds, and live events go on meanwhile.
"""

import argparse
import contextlib
import logging
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tunesmith_jobs"))
from fake_plane import FakeControlPlane, make_document

from tunesmith.events import Metrics
from tunesmith_jobs.report import Reporter

TURNS = 5
REAL_STEP_SECONDS = 0.3
"""A step of SmolLM2-135M with LoRA, two examples of 512 tokens, on two cores."""
VALUES = {
    "loss": 1.234567,
    "learning_rate": 1e-4,
    "grad_norm": 0.71,
    "epoch": 0.31,
    "perplexity": 3.4,
    "tokens_per_second": 574.3,
    "samples_per_second": 6.6,
    "supervised_tokens": 412.0,
    "useful_token_share": 0.97,
    "memory_bytes": 1.2e9,
}


def work(seconds: float) -> Callable[[], Any]:
    """A step that takes about so long."""
    a = np.random.default_rng(0).random((384, 384))
    started = time.perf_counter()
    for _ in range(50):
        a @ a
    count = max(1, round(seconds / ((time.perf_counter() - started) / 50)))

    def step() -> None:
        for _ in range(count):
            a @ a

    return step


def loop(step: Callable[[], Any], steps: int, emit: Callable[[int], None] | None) -> float:
    """The seconds of so many steps, with a report each if one is given."""
    started = time.perf_counter()
    for number in range(1, steps + 1):
        step()
        if emit is not None:
            emit(number)
    return time.perf_counter() - started


@contextlib.contextmanager
def answering() -> Iterator[str]:
    """A control plane that takes everything."""
    plane = FakeControlPlane()
    try:
        yield plane.url
    finally:
        plane.close()


@contextlib.contextmanager
def absent() -> Iterator[str]:
    """Nobody listens."""
    yield "http://127.0.0.1:9"


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """Somebody listens and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def failing() -> Iterator[str]:
    """Everything is answered 500."""
    plane = FakeControlPlane()
    plane.failures = [(500, {"error": {"code": "internal", "message": "no"}})] * 100_000
    try:
        yield plane.url
    finally:
        plane.close()


Plane = Callable[[], contextlib.AbstractContextManager[str]]


@contextlib.contextmanager
def reporting_to(plane: Plane) -> Iterator[Reporter]:
    """A reporter of an attempt of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        plane() as url,
        Reporter(make_document(Path(folder), url)) as reporter,
    ):
        yield reporter


def emits(count: int) -> None:
    """Print what one report costs the thread that makes it."""
    costs, busy = [], []
    with reporting_to(absent) as reporter:
        for step in range(count):
            started, began = time.perf_counter(), time.thread_time()
            reporter.emit(Metrics(step=step, values=VALUES))
            busy.append(time.thread_time() - began)
            costs.append(time.perf_counter() - started)
    costs.sort()
    mean = statistics.mean(busy)
    print(
        f"a report of {len(VALUES)} metrics: {mean * 1e6:.0f} us of processor time, median "
        f"{costs[count // 2] * 1e6:.0f} us, 99 of 100 within {costs[count * 99 // 100] * 1e6:.0f} us: "
        f"{mean / REAL_STEP_SECONDS:.4%} of a step of "
        f"{REAL_STEP_SECONDS} s"
    )


def sender(name: str, plane: Plane, seconds: float) -> None:
    """Print how much processor time the sender takes in a process that does nothing else, at three steps a second."""
    with reporting_to(plane) as reporter:
        clock = time.pthread_getcpuclockid(reporter._thread.ident or 0)
        before, started = time.clock_gettime(clock), time.perf_counter()
        step = 0
        while time.perf_counter() - started < seconds:
            step += 1
            reporter.emit(Metrics(step=step, values=VALUES))
            time.sleep(REAL_STEP_SECONDS)
        share = (time.clock_gettime(clock) - before) / (time.perf_counter() - started)
        print(f"  the sender's thread, {name}: {share:.3%} of a core", flush=True)


def turns(name: str, plane: Plane, steps: int, ms: float) -> None:
    """Print the time of the same steps with a report each against without."""
    step = work(ms / 1000)
    loop(step, 20, None)
    ratios = []
    with reporting_to(plane) as reporter:

        def emit(number: int) -> None:
            reporter.emit(Metrics(step=number, values=VALUES))

        for turn in range(TURNS):
            pair = {}
            for is_reported in (turn % 2 == 0, turn % 2 != 0):
                pair[is_reported] = loop(step, steps, emit if is_reported else None)
            ratios.append(pair[True] / pair[False] - 1)
    middle = statistics.median(ratios)
    print(f"  {name}: {middle:+.2%} ({min(ratios):+.2%} to {max(ratios):+.2%})", flush=True)


def drain(seconds: float, rate: float) -> None:
    """Print how long what a minute's outage held takes to arrive, with live events going on."""
    with tempfile.TemporaryDirectory() as folder:
        away = FakeControlPlane()
        away.close()
        document = make_document(Path(folder), away.url)
        with Reporter(document) as reporter:
            held = int(seconds * rate)
            for step in range(held):
                reporter.emit(Metrics(step=step, values=VALUES))
            stop = threading.Event()
            lags: list[float] = []

            def live() -> None:
                step = held
                while not stop.wait(1 / rate):
                    reporter.emit(Metrics(step=step, values=VALUES))
                    step += 1

            thread = threading.Thread(target=live)
            thread.start()
            back = FakeControlPlane(away.port)
            started = time.perf_counter()
            while reporter.acked < held:
                time.sleep(0.005)
            took = time.perf_counter() - started
            for _ in range(50):
                lags.append((reporter.last_seq - reporter.acked) / rate)
                time.sleep(0.05)
            stop.set()
            thread.join()
            assert reporter.drain(10)
            assert back.steps() == list(range(reporter.last_seq)), "all of it, once, in order"
            back.close()
    print(
        f"after {seconds:.0f} s away at {rate:.0f} events a second: {held} events stored {took:.1f} s after it came "
        f"back, in order; live events then wait {statistics.mean(lags):.1f} s"
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--step-ms", type=float, default=20)
    asked = parser.parse_args()
    logging.getLogger("tunesmith_jobs").setLevel(logging.CRITICAL)
    emits(5000)
    for name, plane in (
        ("the control plane answers", answering),
        ("nobody is there", absent),
        ("it never answers", silent),
        ("it says 500", failing),
    ):
        sender(name, plane, 8)
    print(f"steps of {asked.step_ms:g} ms with a report each, against without:")
    for name, plane in (("it answers", answering), ("nobody is there", absent), ("it says 500", failing)):
        turns(name, plane, asked.steps, asked.step_ms)
    drain(60, 50)


if __name__ == "__main__":
    main()
