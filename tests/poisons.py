"""What a loop's item may raise, and a function that runs in a thread and ends."""

import threading
from collections.abc import Callable
from typing import Any


class Panic(BaseException):
    """What a native library raises when Rust panics: no `Exception`."""


POISONS = [RuntimeError("a bug"), MemoryError(), Panic("index out of bounds"), SystemExit(1)]


def in_a_thread(work: Callable[[], Any]) -> None:
    """As a loop's thread runs it: only the main thread gets Ctrl-C."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
