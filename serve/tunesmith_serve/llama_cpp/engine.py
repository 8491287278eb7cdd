"""llama.cpp behind `tunesmith_serve.engine.Engine`: one base in F16, adapters over it, and the process that holds them.

Knows files, memory and the process; knows nothing of how tokens are computed.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import NamedTuple

from tunesmith.chat.settings import Sampling
from tunesmith.chat.wire import ServedModel
from tunesmith.errors import InvalidModel
from tunesmith.gguf import ModelPlan, plan_gguf
from tunesmith_jobs.memory import spare_memory
from tunesmith_serve.engine import Drawn, EngineLost, NoRoom
from tunesmith_serve.gguf_files import GgufFiles
from tunesmith_serve.llama_cpp.child import Child

NAME = "llama_cpp"
MOST_CONTEXT = 8192
"""Tokens of a conversation where no other number is given and the model can more: room is taken for all of them."""
_KEY_BYTES = 2
"""Keys and values are kept in F16."""
_BESIDE = 256 * 2**20
"""Bytes of a process beside weights and keys: its libraries and what it computes in."""
_BESIDE_ADAPTER = 8 * 2**20


class _Loaded(NamedTuple):
    file: Path
    bytes: int


class LlamaCpp:
    """Answers with one model and its adapters in a process of its own.

    Args:
        model: The base: what all adapters are over.
        cache_dir: Takes the files that are made once.
        threads: That compute.
        context_length: Tokens of a conversation at most; None: the model's own, up to `MOST_CONTEXT`.
        slots: Conversations that are computed at once, and remembered; more wait.
    """

    def __init__(
        self,
        model: ServedModel,
        cache_dir: Path,
        *,
        threads: int,
        context_length: int | None = None,
        slots: int = 4,
    ) -> None:
        self._base = model
        self._files = GgufFiles(cache_dir)
        self._threads, self._slots = threads, slots
        self._asked_context = context_length
        self._context_length = 0
        self._child: Child | None = None
        self._loaded: dict[str, _Loaded] = {}
        self._lock = asyncio.Lock()

    @property
    def context_length(self) -> int:
        """See `Engine`."""
        assert self._context_length, "nothing is loaded yet"
        return self._context_length

    @property
    def loaded(self) -> dict[str, int]:
        """See `Engine`."""
        if self._child is None or self._child.is_lost:
            return {}
        return {weights: one.bytes for weights, one in self._loaded.items()}

    @property
    def pid(self) -> int | None:
        """The process, where there is one."""
        return self._child.pid if self._child is not None and not self._child.is_lost else None

    @property
    def questions(self) -> int:
        """How many are being answered, or wait."""
        return self._child.questions if self._child is not None else 0

    def serving(self, weights: str) -> str:
        """See `Engine`."""
        if weights not in self.loaded:
            raise KeyError(weights)
        return NAME

    async def load(self, model: ServedModel, said: Callable[[str], None] = lambda words: None) -> int:
        """See `Engine`."""
        self._refuse_stranger(model)
        loop = asyncio.get_running_loop()

        def tell(words: str) -> None:
            loop.call_soon_threadsafe(said, words)

        file: Path | None = None
        if model.weights not in self.loaded and model.is_adapter:
            # Made before it is this one's turn: others are not kept from being loaded.
            file = await asyncio.to_thread(self._files.adapter, model, tell)
        async with self._lock:
            if model.weights in self.loaded:
                return self._used_now(model.weights)
            if self._child is None or self._child.is_lost:
                await self._start(tell)
            if model.is_adapter:
                assert self._child is not None
                file = file or await asyncio.to_thread(self._files.adapter, model, tell)
                need = file.stat().st_size + _BESIDE_ADAPTER
                _require_room(need, f"The adapter `{model.name}`")
                await self._child.load(model.weights, str(file))
                self._loaded[model.weights] = _Loaded(file, file.stat().st_size)
            return self._used_now(model.weights)

    def _refuse_stranger(self, model: ServedModel) -> None:
        is_ours = model.is_adapter or model.weights == self._base.weights
        if not is_ours or Path(model.base_path) != Path(self._base.base_path):
            raise InvalidModel(
                f"`{model.name}` is over `{model.base_path}`, and this engine holds `{self._base.base_path}`."
            )

    def _used_now(self, weights: str) -> int:
        self._loaded[weights] = one = self._loaded.pop(weights)
        return one.bytes

    async def _start(self, tell: Callable[[str], None]) -> None:
        """Start a process with the base; whatever an earlier one had loaded is lost."""
        if self._child is not None:
            await self._child.close()
            self._child = None
        for one in self._loaded.values():
            self._files.release(one.file)
        self._loaded.clear()
        plan = await asyncio.to_thread(plan_gguf, self._base.base_path)
        file = await asyncio.to_thread(self._files.model, self._base, tell)
        own = int(plan.metadata[f"{plan.architecture}.context_length"])  # type: ignore[arg-type]
        self._context_length = min(own, self._asked_context or MOST_CONTEXT)
        need = file.stat().st_size + _keys_bytes(plan, self._context_length) * self._slots + _BESIDE
        _require_room(
            need, f"`{self._base.name}` with {self._slots} conversations of {self._context_length} tokens"
        )
        tell("Starting llama.cpp.")
        self._child = await Child.start(
            file=str(file), slots=self._slots, context_length=self._context_length, threads=self._threads
        )
        self._loaded[self._base.weights] = _Loaded(file, need)

    async def unload(self, weights: str) -> None:
        """See `Engine`."""
        if weights == self._base.weights or weights not in self.loaded:
            return
        assert self._child is not None
        one = self._loaded.pop(weights)
        await self._child.drop(weights)
        if weights not in self._loaded:
            self._files.release(one.file)

    async def generate(
        self, weights: str, prompt: list[int], sampling: Sampling, ends: frozenset[int]
    ) -> AsyncGenerator[Drawn, None]:
        """See `Engine`."""
        if self._child is not None and self._child.is_lost and weights in self._loaded:
            raise EngineLost("The process of llama.cpp ended.")
        if self._child is None or weights not in self._loaded:
            raise KeyError(weights)
        self._used_now(weights)
        adapter = None if weights == self._base.weights else weights
        answer = self._child.ask(adapter, prompt, sampling, ends)
        try:
            async for drawn in answer:
                yield drawn
        finally:
            await answer.aclose()

    async def close(self) -> None:
        """See `Engine`."""
        child, self._child = self._child, None
        self._loaded.clear()
        if child is not None:
            await child.close()


def _keys_bytes(plan: ModelPlan, context_length: int) -> int:
    """Bytes of the keys and values of one conversation."""
    sizes = {
        name: int(plan.metadata[f"{plan.architecture}.{name}"])  # type: ignore[arg-type]
        for name in (
            "block_count",
            "attention.head_count_kv",
            "attention.key_length",
            "attention.value_length",
        )
    }
    width = sizes["attention.key_length"] + sizes["attention.value_length"]
    return context_length * sizes["block_count"] * sizes["attention.head_count_kv"] * width * _KEY_BYTES


def _require_room(need: int, what: str) -> None:
    free = spare_memory()
    if need > free:
        raise NoRoom(
            f"{what} needs {need} bytes of memory, and {free} are free on this node: close another model, or give it "
            "a shorter context or fewer conversations at once."
        )
