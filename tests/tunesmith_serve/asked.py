"""Small models, engines over them, and questions. No test itself."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import engine_cases
import small_models
import torch
from transformers import AutoModelForCausalLM

from tunesmith.chat.settings import Sampling
from tunesmith.chat.wire import ServedModel
from tunesmith_serve.constraint import Grammar
from tunesmith_serve.engine import Drawn, Engine, EngineSettings

PROMPTS = engine_cases.prompts(6, low=20, high=70)


def make_model(folder: Path, kind: str = "llama") -> Path:
    """A small random model that is sure of what it says, whose matrices F16 holds as they are."""
    more = {"tie_word_embeddings": False} if kind == "llama" else {}
    small_models.model_of(kind, folder, **more)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(weight.half().float())
            if name in ("model.norm.weight", "transformer.ln_f.weight"):
                weight.mul_(8)
    model.save_pretrained(folder)
    return folder


def make_adapter(base: Path, folder: Path, seed: int, **config: Any) -> Path:
    """An adapter that says something else."""
    return engine_cases.make_adapter(base, folder, seed, 0.1, **config)


def served(base: Path, adapter: str | None = None, **training: Any) -> ServedModel:
    """What is loaded: the base, or an adapter in a folder beside it."""
    folder = base.parent / adapter if adapter else None
    document = engine_cases.document(base, folder, **training)
    return ServedModel(
        name=adapter or "base",
        weights=f"print of {adapter or 'base'} of {base.parent.name}",
        model_uri=str(folder or base),
        base_path=str(base),
        is_adapter=adapter is not None,
        training=document.training,
        encoder_path=str(base),
    )


def settings(base: Path, place: Path, **more: Any) -> EngineSettings:
    """What an engine over a base is made with."""
    given: dict[str, Any] = {
        "engine": "auto", "base": base, "training": served(base).training, "threads": 1, "use_gpu": False,
        "context_length": None, "max_running": 3, "max_adapters": 4, "cache": place / "cache",
        "scratch": place / "scratch", "owner": "task-1",
    }  # fmt: skip
    return EngineSettings(**given | more)


class Answer(NamedTuple):
    """A whole answer."""

    ids: list[int]
    tokens: list[Drawn]

    @property
    def shared(self) -> bool:
        return self.tokens[-1].shared


def how(**given: Any) -> Sampling:
    """Greedy, where nothing else is said."""
    return Sampling(**{"temperature": 0, "max_new_tokens": 12} | given)


async def ask(
    engine: Engine,
    model: ServedModel,
    prompt: list[int],
    ends: frozenset[int] = frozenset(),
    grammar: Grammar | None = None,
    **given: Any,
) -> Answer:
    """A whole answer."""
    answer = engine.generate(model.weights, prompt, how(**given), ends, grammar)
    tokens = [drawn async for drawn in answer]
    return Answer([drawn.id for drawn in tokens], tokens)


class Live:
    """An engine, and the loop that its methods are called from."""

    def __init__(self, make: Callable[[], Engine]) -> None:
        self.runner = asyncio.Runner()
        self.runner.get_loop()
        self.engine: Any = self.run(_made(make))

    def run(self, work: Coroutine[Any, Any, Any], seconds: float = 60) -> Any:
        return self.runner.run(asyncio.wait_for(work, seconds))

    def load(self, *models: ServedModel) -> None:
        for model in models:
            self.run(self.engine.load(model, lambda words: None))

    def ask(self, *given: Any, **more: Any) -> Answer:
        return self.run(ask(self.engine, *given, **more))

    def close(self) -> None:
        self.run(self.engine.close())
        self.runner.close()


async def _made(make: Callable[[], Engine]) -> Engine:
    return make()


def written(model: Any, prompt: list[int], count: int = 12, **more: Any) -> list[int]:
    """What the library itself writes, always the likeliest."""
    ids = torch.tensor([prompt])
    with torch.no_grad():
        made = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False, eos_token_id=None,
            pad_token_id=0, **more,
        )  # fmt: skip
    return made[0, len(prompt) :].tolist()


def library_model(base: Path, adapter: str | None = None) -> Any:
    """The model as transformers and peft load it."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, base.parent / adapter)
    return model.eval()
