"""Small helpers that many tests need."""

import contextlib
import random
import socket
import time
from collections.abc import Callable

import pytest


def wait_until(condition: Callable[[], bool], seconds: float = 30, what: str = "the condition") -> None:
    """Wait for a condition instead of sleeping."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come true within {seconds} s")
        time.sleep(0.05)


def free_port() -> int:
    """A port that nobody listens on."""
    while True:
        # Below the kernel's own range, so that nothing takes it in between; + 10000 (weed's gRPC) is a port too.
        port = random.randint(20_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
