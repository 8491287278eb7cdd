"""Which engine answers: llama.cpp on a processor where it can hold the model, transformers where it cannot.

A base that llama.cpp holds may have adapters that it cannot (DoRA, whole layers, a quantised base under them): those
are answered by transformers beside it, which loads the base once more when the first of them is asked for. Knows both
engines; knows nothing of questions.
"""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import NamedTuple

from tunesmith.chat.settings import Sampling
from tunesmith.chat.wire import ServedModel
from tunesmith.errors import InvalidInput, InvalidModel, NotConvertible, NotOurs, TunesmithError
from tunesmith.gguf import plan_gguf
from tunesmith_jobs.models.libraries import let_waiting_threads_sleep
from tunesmith_jobs.models.llama_cpp import Unsupported, opened
from tunesmith_serve.constraint import Grammar
from tunesmith_serve.engine import Drawn, Engine, EngineSettings
from tunesmith_serve.llama_cpp import LlamaCpp

LLAMA_CPP, TRANSFORMERS = "llama_cpp", "transformers"
_QUANTISED = ("load_in_4bit", "load_in_8bit")


class Chosen(NamedTuple):
    """An engine, and why it is that one."""

    engine: str
    why: str


def engine_for(settings: EngineSettings) -> "Engines":
    """An engine for a model; nothing is loaded or looked at yet."""
    return Engines(settings)


def choose(settings: EngineSettings) -> Chosen:
    """The engine of a base. Reads its headers and configuration.

    Raises:
        InvalidModel: The one that is asked for cannot answer with it.
    """
    asked = settings.engine
    if settings.file is not None:
        return _of_file(asked, use_gpu=settings.use_gpu)
    if asked == TRANSFORMERS:
        return Chosen(TRANSFORMERS, "It is asked for.")
    if (why := not_llama_cpp(settings.base, use_gpu=settings.use_gpu)) is None:
        return Chosen(
            LLAMA_CPP, "It is asked for." if asked == LLAMA_CPP else "It is the faster one on a processor."
        )
    if asked == LLAMA_CPP:
        raise InvalidModel(
            f"llama.cpp cannot answer with this model: {why}",
            hint="Serve it with `engine: auto`.",
            field="engine",
        )
    return Chosen(TRANSFORMERS, why)


def _of_file(asked: str, *, use_gpu: bool) -> Chosen:
    """The engine of a packaged file: no other reads it, and where there is a GPU it computes beside that."""
    if asked == TRANSFORMERS:
        raise InvalidModel(
            "A packaged GGUF file is read by llama.cpp alone.",
            hint="Serve it with `engine: auto`, or ask the checkpoint that it was packaged from.",
            field="engine",
        )
    try:
        opened()
    except Unsupported as error:
        raise InvalidModel(f"llama.cpp cannot answer with this file: {error}", field="engine") from error
    return Chosen(LLAMA_CPP, "It is a packaged file.")


def not_llama_cpp(base: Path, *, use_gpu: bool = False) -> str | None:
    """Why llama.cpp does not answer with a base; None where it can. Reads its headers and configuration."""
    if use_gpu:
        return "A GPU is reserved, and the llama.cpp that is installed computes on the processor."
    try:
        opened()
        plan_gguf(base)
    except (Unsupported, NotConvertible) as error:
        return str(error)
    return None


class Engines:
    """Answers with one base and its adapters, each by the engine that can. See `Engine`.

    Args:
        settings: What both are made with.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._chosen: Chosen | None = None
        self._engines: dict[str, Engine] = {}
        self._where: dict[str, str] = {}
        """The engine of weights, the ones used last at the end; what an engine lost may stand here still."""
        self._lock = asyncio.Lock()

    @property
    def name(self) -> str:
        """The base's engine; what was asked for, as long as nothing is loaded."""
        return self._chosen.engine if self._chosen else self._settings.engine

    @property
    def why(self) -> str:
        """Why it is that one; empty as long as nothing is loaded."""
        return self._chosen.why if self._chosen else ""

    @property
    def context_length(self) -> int:
        """See `Engine`."""
        known = [engine.context_length for engine in self._engines.values() if engine.context_length]
        return min(known, default=0)

    @property
    def loaded(self) -> dict[str, int]:
        """See `Engine`."""
        there = {name: engine.loaded for name, engine in self._engines.items()}
        return {
            weights: there[name][weights] for weights, name in self._where.items() if weights in there[name]
        }

    def serving(self, weights: str) -> str:
        """See `Engine`."""
        return self._engines[self._where[weights]].serving(weights)

    async def load(self, model: ServedModel, said: Callable[[str], None] = lambda words: None) -> int:
        """See `Engine`."""
        async with self._lock:
            if self._chosen is None:
                self._chosen = await asyncio.to_thread(choose, self._settings)
            try:
                taken = await self._load(model, said)
            except InvalidModel:
                raise
            except InvalidInput as error:
                raise InvalidModel(error.message, hint=error.hint, problems=error.problems) from error
            self._use(model.weights)
            return taken

    async def _load(self, model: ServedModel, said: Callable[[str], None]) -> int:
        assert self._chosen is not None
        if self._where.get(model.weights) == TRANSFORMERS or self._chosen.engine == TRANSFORMERS:
            return await self._load_by(TRANSFORMERS, model, said)
        try:
            if model.file is None and any(model.training.get(name) for name in _QUANTISED):
                raise NotConvertible("It was trained over a quantised base, which no F16 file is.")
            return await self._load_by(LLAMA_CPP, model, said)
        except (NotConvertible, NotOurs, OSError) as error:
            # Seen only now: a weight that F16 does not hold, a full disk, a file that llama.cpp does not load.
            why = error.message if isinstance(error, TunesmithError) else f"Its file cannot be made: {error}."
            if self._settings.file is not None:
                raise InvalidModel(why, hint="Package it again, or ask the checkpoint.") from error
            if self._settings.engine == LLAMA_CPP:
                raise InvalidModel(why, hint="Serve it with `engine: auto`.", field="engine") from error
            said(f"transformers answers for `{model.name}`: {why}")
            if not model.is_adapter:
                self._chosen = Chosen(TRANSFORMERS, why)
            return await self._load_by(TRANSFORMERS, model, said)

    async def _load_by(self, name: str, model: ServedModel, said: Callable[[str], None]) -> int:
        if name not in self._engines:
            self._engines[name] = await asyncio.to_thread(self._made, name)
        taken = await self._engines[name].load(model, said)
        self._where[model.weights] = name
        return taken

    def _made(self, name: str) -> Engine:
        if name == LLAMA_CPP:
            return LlamaCpp(self._settings)
        let_waiting_threads_sleep(after=0)  # as llama.cpp's do
        from tunesmith_serve.transformers_engine import Transformers

        # What fits one engine's context fits the other's.
        return Transformers(
            dataclasses.replace(
                self._settings, context_length=self.context_length or self._settings.context_length
            )
        )

    def _use(self, weights: str) -> None:
        """Remember that it was used last."""
        self._where[weights] = self._where.pop(weights)

    async def unload(self, weights: str) -> None:
        """See `Engine`."""
        if weights in self._where:
            await self._engines[self._where[weights]].unload(weights)

    async def generate(
        self,
        weights: str,
        prompt: list[int],
        sampling: Sampling,
        ends: frozenset[int],
        grammar: Grammar | None = None,
    ) -> AsyncGenerator[Drawn, None]:
        """See `Engine`."""
        answer = self._engines[self._where[weights]].generate(weights, prompt, sampling, ends, grammar)
        self._use(weights)
        try:
            async for drawn in answer:
                yield drawn
        finally:
            await answer.aclose()

    async def close(self) -> None:
        """See `Engine`."""
        engines, self._engines = self._engines, {}
        self._where.clear()
        for engine in engines.values():
            await engine.close()
