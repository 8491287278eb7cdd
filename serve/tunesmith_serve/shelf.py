"""Which weights are loaded: adapters on demand, several at once, the one that was used longest ago leaves.

A model is what its `weights` say, whatever it is called: the same are loaded once however many ask at a time, and no
question is answered by others. Loads are one after another, so that what one of them takes is seen by the next. Knows
the engine's protocol; knows no HTTP and no text.
"""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from tunesmith.chat.wire import LoadedModel, Refused, ServedModel
from tunesmith.errors import InvalidInput
from tunesmith_serve.answering import Refusal
from tunesmith_serve.engine import Computed, Engine, EngineLost, NoRoom, computed_by

RETRY_SECONDS = 10.0
_NOBODY = Computed("")
_WAITS = "Waits for the load of another model."


@dataclass(frozen=True)
class Change:
    """What became of weights, for whoever follows."""

    state: Literal["loading", "loaded", "unloaded", "failed"]
    model: str
    message: str = ""
    seconds: float | None = None
    bytes: int | None = None
    weights: str = ""
    how: Computed = _NOBODY
    """What answers with it, of what was loaded."""


@dataclass
class Load:
    """What a question waits for until its model is loaded."""

    task: asyncio.Task[None]
    words: Callable[[], str]
    """How far it is."""


class Shelf:
    """The loaded models of an engine.

    Args:
        engine: Loads them.
        max_adapters: So many adapters are loaded at once.
        said: Hears of every change.
    """

    def __init__(
        self, engine: Engine, max_adapters: int, said: Callable[[Change], None] = lambda _: None
    ) -> None:
        self._engine, self._max, self._said = engine, max_adapters, said
        self._order: OrderedDict[str, ServedModel] = OrderedDict()
        """What was loaded here, the one used last at the end."""
        self._leaving: set[str] = set()
        """Loaded adapters that make place for others who came before whoever asks them now."""
        self._progress: dict[str, tuple[str, str]] = {}
        """What is being loaded, by its weights: its name, and how far it is."""
        self._holds: Counter[str] = Counter()
        self._pinned: set[str] = set()
        self._turn = asyncio.Lock()
        """Who loads; others wait in their order, those too who want the same."""
        self._freed = asyncio.Event()
        self._begun: set[asyncio.Task[None]] = set()
        """Loads that the engine is at: they go on when nobody waits any more."""

    @asynccontextmanager
    async def held(self, model: ServedModel) -> AsyncIterator[Load]:
        """Weights that stay loaded for the block once the load's task is done; it raises why they are not.

        Raises:
            Refusal: By the task: they cannot be loaded, or there is no room.
        """
        task = asyncio.create_task(self._ready(model))
        try:
            yield Load(task, lambda: self._progress.get(model.weights, ("", _WAITS))[1])
        finally:
            if task.done():
                if not task.cancelled() and task.exception() is None:
                    self._let_loose(model)
            elif task in self._begun:
                task.add_done_callback(lambda ended: self._left(ended, model))
            else:
                task.cancel()

    def pin(self, weights: str, *, pinned: bool) -> None:
        """Keep weights loaded, or let them go again."""
        (self._pinned.add if pinned else self._pinned.discard)(weights)
        self._freed.set()

    async def unload(self, weights: str) -> None:
        """Let an adapter go now.

        Raises:
            Refusal: It is asked something.
        """
        if self._holds[weights]:
            raise Refusal(
                Refused(
                    code="busy", message="It is answering.", hint="Ask again once it is done.", retry_after=1
                )
            )
        model = self._order.get(weights)
        if model is not None and model.is_adapter:
            await self._let_go(model)

    @property
    def loading(self) -> list[str]:
        """The names of what is being loaded."""
        return [name for name, _ in self._progress.values()]

    @property
    def loaded(self) -> list[LoadedModel]:
        """What is loaded; the one used last comes last."""
        there = self._engine.loaded
        return [
            LoadedModel(
                name=model.name,
                weights=weights,
                bytes=there[weights],
                is_pinned=weights in self._pinned,
                answering=self._holds[weights],
            )
            for weights, model in self._order.items()
            if weights in there
        ]

    async def _ready(self, model: ServedModel) -> None:
        if not self._is_there(model):
            async with self._turn:
                if not self._is_there(model):
                    await self._bring(model)
        self._order.setdefault(model.weights, model)
        self._order.move_to_end(model.weights)
        self._holds[model.weights] += 1

    def _let_loose(self, model: ServedModel) -> None:
        self._holds[model.weights] -= 1
        self._freed.set()

    def _left(self, ended: asyncio.Task[None], model: ServedModel) -> None:
        """A load has ended that nobody waited for any more."""
        if not ended.cancelled() and ended.exception() is None:
            self._let_loose(model)

    def _is_there(self, model: ServedModel) -> bool:
        return model.weights in self._engine.loaded and model.weights not in self._leaving

    async def _bring(self, model: ServedModel) -> None:
        began, task = time.monotonic(), asyncio.current_task()
        assert task is not None
        self._progress[model.weights] = model.name, f"Loading `{model.name}`."
        self._said(Change("loading", model.name))
        try:
            if model.is_adapter:
                await self._make_place(model)
            self._begun.add(task)
            taken = await self._within_memory(model)
        except Refusal as refusal:
            self._said(Change("failed", model.name, refusal.refused.message))
            raise
        except InvalidInput as error:
            self._said(Change("failed", model.name, error.message))
            raise Refusal(
                Refused(code="invalid_input", message=error.message, hint=error.hint, field="model")
            ) from error
        except EngineLost as error:
            self._said(Change("failed", model.name, str(error)))
            raise Refusal(
                Refused(
                    code="failed",
                    message=f"The engine ended while it loaded `{model.name}`: {error}",
                    hint="Ask again.",
                    retry_after=1,
                )
            ) from error
        finally:
            self._begun.discard(task)
            del self._progress[model.weights]
        how = computed_by(self._engine.serving(model.weights), model)
        seconds = time.monotonic() - began
        self._said(Change("loaded", model.name, "", seconds, taken, model.weights, how))

    def _tell(self, model: ServedModel, words: str) -> None:
        """Say how far a load is; what an engine says afterwards is no news."""
        if words and model.weights in self._progress:
            self._progress[model.weights] = model.name, words

    async def _within_memory(self, model: ServedModel) -> int:
        while True:
            try:
                return await self._engine.load(model, lambda words: self._tell(model, words))
            except NoRoom as error:
                other = self._oldest()
                if other is None:
                    raise Refusal(
                        Refused(
                            code="no_memory",
                            message=f"There is no memory for `{model.name}`. {error}",
                            hint="Ask again when others are done, unload a model, or serve with a smaller "
                            "`context_length`.",
                            retry_after=RETRY_SECONDS,
                        )
                    ) from error
                await self._let_go(other)

    async def _make_place(self, model: ServedModel) -> None:
        """Let adapters go until there is place for one more; where all answer, the oldest is waited for."""
        while len(adapters := self._adapters()) >= self._max:
            other = self._oldest() or self._oldest(held=True)
            if other is None:
                raise Refusal(
                    Refused(
                        code="no_memory",
                        message=f"All {len(adapters)} adapters that find place are pinned.",
                        hint="Unpin one, or raise `max_adapters`.",
                        retry_after=RETRY_SECONDS,
                    )
                )
            self._tell(model, f"`{model.name}` waits for `{other.name}` to be done.")
            self._leaving.add(other.weights)
            try:
                while self._holds[other.weights]:
                    self._freed.clear()
                    await self._freed.wait()
                await self._let_go(other)
            finally:
                self._leaving.discard(other.weights)

    def _adapters(self) -> list[str]:
        there = self._engine.loaded
        return [weights for weights, model in self._order.items() if model.is_adapter and weights in there]

    def _oldest(self, *, held: bool = False) -> ServedModel | None:
        """The adapter that was used longest ago, of those that are not pinned, and not asked unless `held`."""
        free = (one for one in self._adapters() if one not in self._pinned and (held or not self._holds[one]))
        found = next(free, None)
        return self._order[found] if found is not None else None

    async def _let_go(self, model: ServedModel) -> None:
        await self._engine.unload(model.weights)
        self._order.pop(model.weights, None)
        self._said(Change("unloaded", model.name))
