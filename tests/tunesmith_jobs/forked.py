"""Processes that train and may be killed: forks of one server that has imported torch and the trainer, once for all."""

import importlib.util
import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Protocol

_CONTEXT = multiprocessing.get_context("forkserver")
_IMPORTED = ["tunesmith_jobs.train.run.trainer", "tunesmith_jobs.train.core"]
assert all(map(importlib.util.find_spec, _IMPORTED)), "what is not there is not imported, and nothing says so"


class Process(Protocol):
    """What is waited for."""

    exitcode: int | None

    def join(self, timeout: float | None = None) -> None: ...

    def kill(self) -> None: ...


def start(
    function: Callable[..., None],
    *given: Any,
    said: Path,
    errors: Path | None = None,
    threads: int = 1,
    **environment: str,
) -> ForkServerProcess:
    """Call a function in a process of its own.

    Args:
        function: Of a module that can be imported by its name.
        given: Its arguments.
        said: Where its output goes.
        errors: Where its errors go; to the output when not given.
        threads: Of torch.
        environment: Beside this process's own.
    """
    whole = {**os.environ, "OMP_NUM_THREADS": str(threads), **environment}
    files = (str(said), str(errors or said))
    _CONTEXT.set_forkserver_preload(_IMPORTED)
    process = _CONTEXT.Process(target=_enter, args=(function, given, files, whole, threads))
    process.start()
    return process


def run(function: Callable[..., None], *given: Any, said: Path, seconds: float = 300, **more: Any) -> int:
    """Call a function in a process of its own and wait; returns the exit code, negative for a signal.

    Raises:
        TimeoutError: It took too long, and was killed.
    """
    process = start(function, *given, said=said, **more)
    return wait(process, seconds)


def wait(process: Process, seconds: float = 300) -> int:
    """Wait for its end; returns the exit code, negative for a signal.

    Raises:
        TimeoutError: It took too long, and was killed.
    """
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise TimeoutError(f"it had not ended after {seconds:g} s")
    return process.exitcode


def _enter(
    function: Callable[..., None],
    given: tuple[Any, ...],
    files: tuple[str, str],
    environment: dict[str, str],
    threads: int,
) -> None:
    for number, file in enumerate(files, start=1):
        target = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(target, number)
        os.close(target)
    multiprocessing.set_start_method("fork", force=True)  # as in a process that nobody forked
    os.environ.clear()
    os.environ.update(environment)
    import torch

    torch.set_num_threads(threads)
    function(*given)
    sys.stdout.flush()
