"""An engine that says what it is told to, and what makes questions to it. No test itself."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

from tunesmith.chat.settings import Sampling
from tunesmith.chat.wire import Ask, ServedModel
from tunesmith_serve.answering import Prompt
from tunesmith_serve.constraint import Grammar
from tunesmith_serve.engine import Drawn, NoRoom

BASE = "/models/base"


class FakeEngine:
    """Says the tokens of `script`, one each time `step` is released; loads when `gate` is open."""

    def __init__(self, script: list[int | Drawn], room: int = 100, context: int = 512) -> None:
        self.script, self.room, self.context_length = script, room, context
        self.loaded: dict[str, int] = {}
        self.gate, self.step = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.step.set()
        self.loads: list[str] = []
        self.unloads: list[str] = []
        self.open = self.most = 0
        self.asked: list[str] = []
        self.error: Exception | None = None

    def serving(self, weights: str) -> str:
        self.loaded[weights]
        return "fake"

    async def load(self, model: ServedModel, said: Callable[[str], None]) -> int:
        said(f"reading {model.name}")
        await self.gate.wait()
        if model.weights not in self.loaded:
            if len(self.loaded) >= self.room:
                raise NoRoom("1000 bytes are needed, 10 are free.")
            self.loads.append(model.weights)
            self.loaded[model.weights] = 1000
        return 1000

    async def unload(self, weights: str) -> None:
        self.unloads.append(weights)
        self.loaded.pop(weights, None)

    async def generate(
        self,
        weights: str,
        prompt: list[int],
        sampling: Sampling,
        ends: frozenset[int],
        grammar: Grammar | None = None,
    ) -> AsyncGenerator[Drawn, None]:
        self.loaded[weights]
        self.open += 1
        self.most = max(self.most, self.open)
        self.asked.append(weights)
        try:
            for one in self.script[: sampling.max_new_tokens]:
                await self.step.wait()
                await asyncio.sleep(0)
                if self.error is not None:
                    raise self.error
                drawn = one if isinstance(one, Drawn) else Drawn(one)
                yield drawn
                if drawn.id in ends:
                    return
        finally:
            self.open -= 1

    async def close(self) -> None:
        self.loaded.clear()


class FakePrompts:
    """Writes every question as the same tokens."""

    def __init__(self, prompt: Prompt) -> None:
        self.prompt = prompt

    async def write(self, ask: Ask) -> Prompt:
        return self.prompt


def served(weights: str = "base", *, is_adapter: bool = False) -> ServedModel:
    return ServedModel(
        name=f"name of {weights}",
        weights=weights,
        model_uri=BASE if not is_adapter else f"/adapters/{weights}",
        base_path=BASE,
        is_adapter=is_adapter,
        training={},
        encoder_path=BASE,
    )


def adapter(weights: str) -> ServedModel:
    return served(weights, is_adapter=True)


def ask(model: ServedModel | None = None, **more: Any) -> Ask:
    messages = {} if "prompt" in more else {"messages": [{"role": "user", "content": "Hello."}]}
    return Ask.model_validate({"id": "q", "model": (model or served()).model_dump()} | messages | more)
