"""Small helpers that many tests need."""

import contextlib
import os
import random
import socket
import time
from collections.abc import Callable

import pytest

_WORKERS = 4
"""Of pytest, at most: each draws ports of its own."""


def wait_until(
    condition: Callable[[], bool], seconds: float = 30, what: str = "the condition", every: float = 0.05
) -> None:
    """Wait for a condition instead of sleeping.

    Args:
        condition: Says whether it is over.
        seconds: How long it may take.
        what: In words, for the failure.
        every: Seconds between two looks: more for one that costs.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come true within {seconds} s")
        time.sleep(every)


def free_port() -> int:
    """A port that nobody listens on, and that no other worker of pytest draws."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 20_000 + worker % _WORKERS * (10_000 // _WORKERS)
    while True:
        # Below the kernel's own range, so that nothing takes it in between; + 10000 (weed's gRPC) is a port too.
        # From the system: a training seeds `random`, in every worker alike.
        port = random.SystemRandom().randrange(first, first + 10_000 // _WORKERS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
