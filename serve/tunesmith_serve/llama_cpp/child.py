"""Our side of the process that holds a model: starts it, asks it, hears it, ends it. Knows asyncio; knows no files."""

import asyncio
import collections
import contextlib
import dataclasses
import itertools
import json
import logging
import os
import sys
from collections.abc import AsyncGenerator
from typing import Any

from tunesmith.chat.settings import Sampling
from tunesmith.errors import InvalidInput, InvalidModel, NotConvertible
from tunesmith_serve.constraint import Grammar
from tunesmith_serve.engine import Drawn, EngineLost

_log = logging.getLogger(__name__)
_LINE_BYTES = 2**22
_LAST_LINES = 20
_END_SECONDS = 2.0
"""Until a process whose input has ended is killed."""
_SETTINGS = {"OPENBLAS_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}
"""Threads that wait for each other give the core away: beside other work on the same cores, twenty times the tokens."""
_SETTINGS_OF_OTHERS = ("GGML_", "LLAMA_", "OMP_", "KMP_", "GOMP_")


class Child:
    """A process that holds a model. Made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Queue[Drawn | Exception | None]] = {}
        self._loading: dict[str, list[asyncio.Future[str | None]]] = collections.defaultdict(list)
        self._dropping: dict[str, list[asyncio.Future[None]]] = collections.defaultdict(list)
        self._last: collections.deque[str] = collections.deque(maxlen=_LAST_LINES)
        self._is_closing = False
        self.is_lost = False
        """Whether the process has ended."""
        self._listeners: list[asyncio.Task[None]] = []

    @classmethod
    async def start(cls, *, file: str, slots: int, context_length: int, threads: int) -> "Child":
        """Start a process, and wait until its model is loaded.

        Args:
            file: The GGUF file.
            slots: Questions that are answered at once.
            context_length: Tokens of each, with its answer.
            threads: That compute.

        Raises:
            NotConvertible: llama.cpp does not load it; with its words.
            EngineLost: The process ended instead.
        """
        settings = {
            "file": file,
            "slots": slots,
            "context_length": context_length,
            "threads": threads,
            "parent": os.getpid(),
        }
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS_OF_OTHERS)
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tunesmith_serve.llama_cpp.process",
            json.dumps(settings),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment | _SETTINGS | {"OMP_NUM_THREADS": str(threads)},
            limit=_LINE_BYTES,
        )
        child = cls(process)
        try:
            await child._wait_until_ready()
        except BaseException:
            child._is_closing = True
            await child.close()
            raise
        return child

    async def _wait_until_ready(self) -> None:
        self._listeners.append(asyncio.create_task(self._hear_words()))
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        said = json.loads(line) if line else {}
        if not said.get("ready"):
            await asyncio.wait(self._listeners, timeout=_END_SECONDS)
            if error := said.get("error"):
                raise NotConvertible(f"llama.cpp does not serve this model: {error}")
            raise EngineLost(
                f"The process of llama.cpp ended while it loaded the model: {' '.join(self._last)}"
            )
        self._listeners.append(asyncio.create_task(self._hear()))

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def questions(self) -> int:
        """How many it answers, or has waiting."""
        return len(self._answers)

    # --- hearing

    async def _hear_words(self) -> None:
        assert self._process.stderr is not None
        with contextlib.suppress(ValueError):  # a line without an end
            async for line in self._process.stderr:
                self._last.append(line.decode(errors="replace").strip())

    async def _hear(self) -> None:
        assert self._process.stdout is not None
        try:
            async for line in self._process.stdout:
                self._take(json.loads(line))
        except ValueError:  # half a line
            _log.exception("The process of llama.cpp says what is no line.")
        finally:
            self._lose()

    def _take(self, said: dict[str, Any]) -> None:
        for number, token, logprob, top, shared, reused in said.get("tokens", ()):
            if number in self._answers:
                likeliest = tuple((int(one), float(value)) for one, value in top)
                self._answers[number].put_nowait(Drawn(token, logprob, likeliest, shared, reused))
        if (queue := self._answers.pop(said.get("failed", 0), None)) is not None:
            is_prompt = said.get("is_prompt", False)
            queue.put_nowait(
                InvalidInput(said["error"], field="prompt") if is_prompt else InvalidModel(said["error"])
            )
        for number in said.get("done", ()):
            if (queue := self._answers.pop(number, None)) is not None:
                queue.put_nowait(None)
        if "adapter" in said:
            for waiting in self._loading.pop(said["adapter"], ()):
                _set(waiting, said["error"])
        if "dropped" in said:
            for left in self._dropping.pop(said["dropped"], ()):
                _set(left, None)

    def _lose(self) -> None:
        self.is_lost = True
        if not self._is_closing:
            _log.warning("The process of llama.cpp ended: %s", " ".join(self._last) or "it said nothing.")
        for queue in self._answers.values():
            queue.put_nowait(self._loss())
        self._answers.clear()
        for waiting in itertools.chain(*self._loading.values()):
            if not waiting.done():
                waiting.set_exception(self._loss())
        for left in itertools.chain(*self._dropping.values()):
            _set(left, None)
        self._loading.clear()
        self._dropping.clear()

    @staticmethod
    def _loss() -> EngineLost:
        return EngineLost("The process of llama.cpp ended in the middle of its work.")

    # --- asking

    def _tell(self, **what: Any) -> None:
        assert self._process.stdin is not None
        if self.is_lost:
            raise self._loss()
        self._process.stdin.write(json.dumps(what, separators=(",", ":")).encode() + b"\n")

    async def load(self, name: str, file: str) -> None:
        """Load an adapter's GGUF file.

        Raises:
            NotConvertible: llama.cpp does not load it; with its words.
            EngineLost: The process ended.
        """
        done: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._loading[name].append(done)
        self._tell(adapter=name, file=file)
        if error := await done:
            raise NotConvertible(error)

    async def drop(self, name: str) -> None:
        """Let an adapter go; returns when no question uses it any more, or it is loaded again."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._dropping[name].append(done)
        self._tell(drop=name)
        await done

    async def ask(
        self,
        adapter: str | None,
        prompt: list[int],
        sampling: Sampling,
        ends: frozenset[int],
        grammar: Grammar | None = None,
    ) -> AsyncGenerator[Drawn, None]:
        """Draw an answer; see `tunesmith_serve.engine.Engine.generate`."""
        number = next(self._numbers)
        queue: asyncio.Queue[Drawn | Exception | None] = asyncio.Queue()
        self._tell(
            ask={
                "id": number,
                "adapter": adapter,
                "prompt": prompt,
                "sampling": sampling.model_dump(exclude={"stop"}),
                "ends": sorted(ends),
                "grammar": dataclasses.asdict(grammar) if grammar else None,
            }
        )
        self._answers[number] = queue
        try:
            while (item := await queue.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            if number in self._answers and not self.is_lost:
                self._tell(cancel=number)

    async def close(self) -> None:
        """End the process, at once."""
        self._is_closing = True
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _END_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        for listener in self._listeners:
            listener.cancel()
        await asyncio.gather(*self._listeners, return_exceptions=True)


def _set(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():  # who waited may have left
        future.set_result(value)
