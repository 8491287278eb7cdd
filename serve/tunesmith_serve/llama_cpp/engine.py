"""llama.cpp behind `tunesmith_serve.engine.Engine`: one base in F16, adapters over it, and the process that holds them.

Knows files, memory and the process; knows nothing of how tokens are computed.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from tunesmith.chat.settings import Sampling
from tunesmith.chat.wire import ServedModel
from tunesmith.errors import InvalidModel
from tunesmith.gguf.header import numbers_of
from tunesmith.gguf.split import parts_beside
from tunesmith_jobs.memory import spare_memory
from tunesmith_serve.constraint import Grammar
from tunesmith_serve.engine import Drawn, EngineSettings, NoRoom, require_room
from tunesmith_serve.gguf_files import GgufFiles
from tunesmith_serve.llama_cpp.child import Child

NAME = "llama_cpp"
MOST_CONTEXT = 8192
"""Tokens of a conversation where no other number is given and the model can more: room is taken for all of them."""
_KEY_BYTES = 2
"""Keys and values are kept in F16."""
_BESIDE = 256 * 2**20
"""Bytes of a process beside weights and keys: its libraries and what it computes in."""
_NEEDED = {"context_length", "block_count", "embedding_length", "attention.head_count"}
_BESIDE_ADAPTER = 8 * 2**20


class _Loaded(NamedTuple):
    file: Path
    bytes: int
    is_base: bool = False


class LlamaCpp:
    """Answers with one model and its adapters in a process of its own.

    Args:
        settings: What it is made with. So many questions as it is asked at once at most are computed together and
            remembered, as far as there is memory for so many conversations; others wait.
    """

    name = NAME

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._files = GgufFiles(settings.cache, settings.scratch)
        self._context_length = 0
        self._child: Child | None = None
        self._base: _Loaded | None = None
        self._loaded: dict[str, _Loaded] = {}
        self._lock = asyncio.Lock()

    @property
    def context_length(self) -> int:
        """See `Engine`."""
        return self._context_length

    @property
    def loaded(self) -> dict[str, int]:
        """See `Engine`."""
        return {weights: one.bytes for weights, one in self._loaded.items()} if self.pid else {}

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
        if Path(model.base_path) != self._settings.base:
            raise InvalidModel(
                f"`{model.name}` is over `{model.base_path}`, and this engine holds `{self._settings.base}`."
            )
        loop = asyncio.get_running_loop()

        def tell(words: str) -> None:
            loop.call_soon_threadsafe(said, words)

        async with self._lock:
            if self.pid is None:
                await self._start(tell)
            if model.weights not in self._loaded:
                assert self._base is not None
                self._loaded[model.weights] = (
                    await self._load_adapter(model, tell) if model.is_adapter else self._base
                )
            self._use(model.weights)
            return self._loaded[model.weights].bytes

    async def _load_adapter(self, model: ServedModel, tell: Callable[[str], None]) -> _Loaded:
        assert self._child is not None
        file = await asyncio.to_thread(self._files.adapter, model, tell)
        size = file.stat().st_size
        _require_room(size + _BESIDE_ADAPTER, f"The adapter `{model.name}`", spare_memory())
        await self._child.load(model.weights, str(file))
        return _Loaded(file, size)

    def _use(self, weights: str) -> None:
        """Remember that it was used last."""
        self._loaded[weights] = self._loaded.pop(weights)

    async def _start(self, tell: Callable[[str], None]) -> None:
        """Start a process with the base; whatever an earlier one had loaded is lost."""
        if self._child is not None:
            await self._child.close()
            self._child = None
        for one in self._loaded.values():
            self._files.release(one.file)
        self._loaded.clear()
        settings = self._settings
        file, sizes = await asyncio.to_thread(self._file, tell)
        size = sum(part.stat().st_size for part in parts_beside(file))
        own = sizes["context_length"]
        self._context_length = min(own, settings.context_length or MOST_CONTEXT)
        keys = _keys_bytes(sizes, self._context_length)
        free = spare_memory()
        _require_room(
            size + keys + _BESIDE, f"The base with a conversation of {self._context_length} tokens", free
        )
        # Of what is free then, others want some too.
        slots = 1 + min(settings.max_running - 1, (free - size - keys - _BESIDE) // 2 // keys)
        tell("Starting llama.cpp.")
        self._child = await Child.start(
            file=str(file), slots=slots, context_length=self._context_length, threads=settings.threads
        )
        self._base = _Loaded(file, size + keys * slots + _BESIDE, is_base=True)

    def _file(self, tell: Callable[[str], None]) -> tuple[Path, dict[str, int]]:
        """The base's file, and what it says of its sizes."""
        settings = self._settings
        file = (
            self._files.model(settings.base, tell)
            if settings.file is None
            else self._files.packaged(settings.file, tell)
        )
        sizes = numbers_of(file)
        if missing := _NEEDED - sizes.keys():
            raise InvalidModel(f"`{file.name}` does not say its `{min(missing)}`.")
        return file, sizes

    async def unload(self, weights: str) -> None:
        """See `Engine`."""
        if weights not in self.loaded or self._loaded[weights].is_base:
            return
        assert self._child is not None
        one = self._loaded.pop(weights)
        await self._child.drop(weights)
        if weights not in self._loaded:
            self._files.release(one.file)

    async def generate(
        self,
        weights: str,
        prompt: list[int],
        sampling: Sampling,
        ends: frozenset[int],
        grammar: Grammar | None = None,
    ) -> AsyncGenerator[Drawn, None]:
        """See `Engine`."""
        if self._child is None or weights not in self._loaded:
            raise KeyError(weights)
        require_room(prompt, self._context_length)
        self._use(weights)
        adapter = None if self._loaded[weights].is_base else weights
        answer = self._child.ask(adapter, prompt, sampling, ends, grammar)
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


def _keys_bytes(sizes: Mapping[str, int], context_length: int) -> int:
    """Bytes of the keys and values of one conversation.

    Args:
        sizes: What a file says of its architecture.
        context_length: Tokens of it.
    """
    heads = sizes["attention.head_count"]
    width = sizes["embedding_length"] // max(1, heads)  # where a file does not say it is llama.cpp's rule
    both = sizes.get("attention.key_length", width) + sizes.get("attention.value_length", width)
    return (
        context_length
        * sizes["block_count"]
        * sizes.get("attention.head_count_kv", heads)
        * both
        * _KEY_BYTES
    )


def _require_room(need: int, what: str, free: int) -> None:
    if need > free:
        raise NoRoom(f"{what} needs {need} bytes of memory, and {free} are free on this node.")
