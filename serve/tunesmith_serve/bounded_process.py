"""A process that answers questions one after another, each within a bound of its processor's time.

What takes longer is refused, and the process ended: the next question starts another one. Knows processes and the form
that questions go in (`LENGTH`, then JSON); knows nothing of what is asked. Used from one event loop.
"""

import asyncio
import contextlib
import json
import logging
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Coroutine
from typing import Any, NamedTuple, TypeVar

import psutil

from tunesmith.chat.wire import Refused
from tunesmith_serve.answering import Refusal
from tunesmith_serve.prompt_process import LENGTH

_WALL = 6
"""How many times as long it may take where the machine is busy."""
_LOOK_SECONDS = 0.5
_log = logging.getLogger("tunesmith_serve.bounded_process")
T = TypeVar("T")


class Bound(NamedTuple):
    """How much of a processor a question to the process may take, and what is said of one that takes more."""

    seconds: float
    message: str
    hint: str
    field: str


class BoundedProcess:
    """Asks it.

    Args:
        module: What it runs.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        """Questions to the process are answered in their order."""
        self._under_way: set[asyncio.Task[dict[str, Any]]] = set()

    async def ask(self, question: dict[str, Any], bound: Bound) -> dict[str, Any]:
        """What the process answers to a question.

        Raises:
            Refusal: It took more than its bound, or ended: the next question starts another process.
        """
        # What was asked is read to its end, also where nobody waits for it any more: the next answer follows on it.
        task = asyncio.create_task(self._in_turn(question, bound))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _in_turn(self, question: dict[str, Any], bound: Bound) -> dict[str, Any]:
        async with self._turn:
            try:
                return await self._bounded(question, bound.seconds)
            except TimeoutError:
                await self.end()
                raise Refusal(
                    Refused(
                        code="invalid_input",
                        message=bound.message.format(bound.seconds),
                        hint=bound.hint,
                        field=bound.field,
                    )
                ) from None
            except (asyncio.IncompleteReadError, OSError) as error:
                await self.end()
                _log.warning("the process of `%s` ended: %r", self._module, error)
                raise Refusal(
                    Refused(
                        code="failed",
                        message="The process that writes prompts ended.",
                        hint="Ask again.",
                        retry_after=1,
                    )
                ) from error

    async def _bounded(self, question: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Ask the process within its time; of a processor, since a busy machine is no template's fault.

        Raises:
            TimeoutError: It took more.
        """
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self._module, stdin=PIPE, stdout=PIPE
            )
        return await within(self._process, self._exchange(self._process, question), seconds)

    async def _exchange(self, process: Process, question: dict[str, Any]) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        data = json.dumps(question).encode()
        process.stdin.write(LENGTH.pack(len(data)) + data)
        await process.stdin.drain()
        head = await process.stdout.readexactly(LENGTH.size)
        found: dict[str, Any] = json.loads(await process.stdout.readexactly(LENGTH.unpack(head)[0]))
        return found

    async def end(self) -> None:
        """End the process; another question starts it again."""
        process, self._process = self._process, None
        if process is not None:
            kill(process)
            await process.wait()


async def within(process: Process, work: Coroutine[Any, Any, T], seconds: float) -> T:
    """What comes of work that waits for a process, within its time; of a processor, for others may keep it waiting.

    Raises:
        TimeoutError: It took more.
    """
    began, used = time.monotonic(), _used(process)
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=_LOOK_SECONDS))[0]:
            took = time.monotonic() - began
            if _used(process) - used > seconds or took > seconds * _WALL:
                raise TimeoutError
        return task.result()
    finally:
        task.cancel()


def kill(process: Process) -> None:
    """End a process, if it has not ended."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def _used(process: Process) -> float:
    """Seconds of a processor that a process has taken."""
    try:
        times = psutil.Process(process.pid).cpu_times()
    except psutil.Error:  # it has ended: whoever reads its answer sees that
        return 0.0
    return float(times.user + times.system)
