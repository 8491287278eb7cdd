"""The process's own workers, whoever asks: at most one a processor."""

import threading
from pathlib import Path
from typing import Any

from tunesmith_platform.sandbox.pool import Limits, Sandbox


class _Shared:
    """The process's workers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sandbox: Sandbox | None = None
        self._options: dict[str, int] = {}

    def configure(self, **options: int) -> None:
        """How they are to be, before the first one starts; then it is too late."""
        with self._lock:
            self._options = self._options | options

    def get(self) -> Sandbox:
        """The workers; none runs before it has work."""
        with self._lock:
            if self._sandbox is None:
                self._sandbox = Sandbox(**self._options)
            return self._sandbox

    def another(self, **options: int) -> Sandbox:
        """Workers besides, for what nobody waits for."""
        return Sandbox(**{**self._options, **options})


shared = _Shared()
"""Those that users wait for."""


def ask(name: str, about: str, *, limits: Limits | None = None, **argument: Any) -> bytes:
    """Have a function of `work` called in a worker.

    Args:
        name: Its name there.
        about: What it looks at, for the words of an error.
        limits: What it may take.
        argument: What it is given; becomes JSON on the way.

    Returns:
        What it returns, as JSON.

    Raises:
        TunesmithError: What it raises; or that it took too long, too much memory, or died.
    """
    return shared.get().run(name, argument, about=about, limits=limits or Limits())


def optional(path: Path | None) -> str | None:
    """A path as it goes to a worker."""
    return None if path is None else str(path)
