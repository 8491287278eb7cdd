"""Any model that transformers generates with, and adapters of every form; questions take turns, a token each.

The way that assumes nothing of the architecture: the model is loaded and computed as the trainer did, in the precision
that it was trained in. Each adapter is a model of its own over the base's matrices, so several are there at once and
none sees another. Answers of one model are computed together where its layers allow it (`batches`); else questions take
turns, a token each. Knows torch; knows nothing of prompts' texts.
"""

import asyncio
import gc
import hashlib
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import GenerationConfig

from tunesmith.chat.settings import Sampling
from tunesmith.chat.wire import ServedModel
from tunesmith.errors import InvalidInput, InvalidModel
from tunesmith.model_folder import ADAPTER_WEIGHTS, check_model_folder
from tunesmith.model_folder.safetensors import read_safetensors_header
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.memory import spare_memory
from tunesmith_jobs.models import build
from tunesmith_jobs.models.fetch import fetch_folder
from tunesmith_jobs.models.loading import UsedModel
from tunesmith_jobs.models.lora_linear import use_fused_lora
from tunesmith_jobs.models.precision import Choice, choose
from tunesmith_jobs.models.shared_weights import copy_over_weights
from tunesmith_serve.batches import Batches, causal_of, is_plain
from tunesmith_serve.constraint import Constraint, Constraints, Grammar, Stuck
from tunesmith_serve.engine import Drawn, EngineSettings, NoRoom, require_room
from tunesmith_serve.one_by_one import answer_alone, takes_turns
from tunesmith_serve.sampling import Draw, NoNumber
from tunesmith_serve.turns import Turns

NAME = "transformers"
MOST_CONTEXT = 8192
"""Tokens of a conversation where neither the settings nor the model say a number."""
_ITEM_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
_BESIDE = 512 * 2**20
"""Bytes beside the weights: what is computed in, keys and values."""


class _Loaded(NamedTuple):
    used: UsedModel
    bytes: int
    is_base: bool
    is_plain: bool
    """Whether its answers are computed together."""


class _How(NamedTuple):
    """What decides how a base is held: adapters that were trained over it otherwise have one of their own."""

    choice: Choice
    in_4bit: bool
    in_8bit: bool


class Transformers:
    """Answers with one base and its adapters, in this process.

    Args:
        settings: What it is made with.
    """

    name = NAME

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._bases: dict[_How, Any] = {}
        self._loaded: dict[str, _Loaded] = {}
        self._lock = asyncio.Lock()
        self._context_length = 0
        # A thread a question, of which one computes at a time; more questions wait in their order.
        self._workers = ThreadPoolExecutor(
            settings.max_running, "answers", torch.set_num_threads, (settings.threads,)
        )
        self._turns = Turns()
        self._batches = Batches(self._turns, settings.threads, settings.max_running)
        self._running: set[_Answer] = set()
        self._constraints: Constraints | None = None

    @property
    def context_length(self) -> int:
        """See `Engine`."""
        return self._context_length

    @property
    def loaded(self) -> dict[str, int]:
        """See `Engine`."""
        return {weights: one.bytes for weights, one in self._loaded.items()}

    @property
    def questions(self) -> int:
        """How many are being answered, or wait."""
        return len(self._running)

    def serving(self, weights: str) -> str:
        """See `Engine`."""
        if weights not in self._loaded:
            raise KeyError(weights)
        return NAME

    # --- loading

    async def load(self, model: ServedModel, said: Callable[[str], None] = lambda words: None) -> int:
        """See `Engine`."""
        if Path(model.base_path) != self._settings.base:
            raise InvalidModel(
                f"`{model.name}` is over `{model.base_path}`, and this engine holds `{self._settings.base}`."
            )
        async with self._lock:
            if model.weights not in self._loaded:
                said(f"Loading `{model.name}`.")
                self._loaded[model.weights] = await asyncio.to_thread(self._read, model)
            self._use(model.weights)
            return self._loaded[model.weights].bytes

    def _read(self, model: ServedModel) -> _Loaded:
        torch.set_num_threads(self._settings.threads)
        spec = _spec_of(model, self._settings)
        facts = check_model_folder(self._settings.base, needs_tokenizer=False)
        own = facts.context_length or MOST_CONTEXT
        self._context_length = min(own, self._settings.context_length or own)
        how = _How(choose(spec), spec.load_in_4bit, spec.load_in_8bit)
        whole = facts.parameters * _ITEM_BYTES[how.choice.precision]
        if not model.is_adapter:
            return self._made(self._base(how, spec, whole), how, whole, is_base=True)
        # Checkpoints of two runs may have one name.
        place = hashlib.sha256(model.weights.encode()).hexdigest()[:16]
        folder = fetch_folder(model.model_uri, self._settings.scratch / place)
        spec = spec.model_copy(update={"attach_lora_path": str(folder)})
        sizes = _tensor_bytes(folder)
        is_own = how.in_4bit or how.in_8bit or not all(".lora_" in name for name in sizes)
        size = sum(sizes.values())
        if is_own:
            # It changes weights that are the base's: peft writes them where they are, under everybody's feet.
            _require_room(whole + size, model.name)
            base, size = build.load_frozen(self._settings.base, spec, how.choice), whole + size
            if not (how.in_4bit or how.in_8bit):
                base = base.to(how.choice.device)
        else:
            base, _ = copy_over_weights(self._base(how, spec, whole))
            _require_room(size, model.name)
        tuned = build.with_adapter(base, self._settings.base, spec)
        use_fused_lora(tuned)
        return self._made(tuned, how, size, is_base=False)

    def _made(self, model: Any, how: _How, size: int, *, is_base: bool) -> _Loaded:
        used = self._used(model, how)
        return _Loaded(used, size, is_base, is_plain(model) and takes_turns(model))

    def _base(self, how: _How, spec: TrainSpec, size: int) -> Any:
        """The base as it was trained over."""
        if how not in self._bases:
            _require_room(size + _BESIDE, "the base")
            base = build.load_frozen(self._settings.base, spec, how.choice)
            if not (how.in_4bit or how.in_8bit):
                base = base.to(how.choice.device)
            self._bases[how] = base.requires_grad_(False).eval()
        return self._bases[how]

    def _used(self, model: Any, how: _How) -> UsedModel:
        used = UsedModel(model.requires_grad_(False).eval(), how.choice)
        causal = causal_of(model)
        for one in {id(model): model, id(causal): causal}.values():
            one.generation_config = (
                GenerationConfig()
            )  # what is left open would be filled in from the model's
        return used

    def _use(self, weights: str) -> None:
        """Remember that it was used last."""
        self._loaded[weights] = self._loaded.pop(weights)

    async def unload(self, weights: str) -> None:
        """See `Engine`."""
        if weights not in self._loaded or self._loaded[weights].is_base:
            return
        del self._loaded[weights]
        # A question that uses it holds it until its end.
        await asyncio.to_thread(gc.collect)

    # --- answering

    async def generate(
        self,
        weights: str,
        prompt: list[int],
        sampling: Sampling,
        ends: frozenset[int],
        grammar: Grammar | None = None,
    ) -> AsyncGenerator[Drawn, None]:
        """See `Engine`."""
        loaded = self._loaded[weights]
        used = loaded.used
        require_room(prompt, self._context_length)
        words = len(used.model.get_input_embeddings().weight)
        if not all(0 <= token < words for token in prompt):
            raise InvalidInput(
                f"The prompt holds what is none of the model's {words} tokens.", field="prompt"
            )
        self._use(weights)
        most = min(sampling.max_new_tokens, self._context_length - len(prompt))
        rule = await self._rule(grammar, ends, words) if grammar is not None else None
        answer = _Answer(prompt, ends, most, Draw(sampling, prompt, rule), self._running)
        if loaded.is_plain:
            self._batches.ask(answer, used)
        else:
            asyncio.get_running_loop().run_in_executor(self._workers, answer_alone, answer, used, self._turns)
        del loaded, used  # what is let go meanwhile is gone with its last answer
        try:
            while (item := await answer.drawn.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            answer.is_left.set()

    async def _rule(self, grammar: Grammar, ends: frozenset[int], words: int) -> Constraint:
        if self._constraints is None:
            self._constraints = Constraints(words)
        try:
            return await asyncio.to_thread(self._constraints.made, grammar, ends)
        except Stuck as error:
            raise InvalidInput(str(error), field="response_format") from error

    async def close(self) -> None:
        """See `Engine`."""
        for answer in self._running:
            answer.is_left.set()
        self._loaded.clear()
        self._bases.clear()
        await asyncio.to_thread(self._workers.shutdown)
        await asyncio.to_thread(self._batches.close)


class _Answer:
    """One question, answered in another thread and read in the loop's. See `batches.Question`.

    Args:
        prompt: Tokens.
        ends: Tokens that end it.
        most: Tokens of the answer.
        draw: Draws them.
        running: Where it stands until it is answered.
    """

    def __init__(
        self, prompt: list[int], ends: frozenset[int], most: int, draw: Draw, running: "set[_Answer]"
    ) -> None:
        self.prompt, self.ends, self.most, self.draw = prompt, ends, most, draw
        self.drawn: asyncio.Queue[Drawn | Exception | None] = asyncio.Queue()
        self.is_left = threading.Event()
        """Nobody reads it any more."""
        self._loop, self._running = asyncio.get_running_loop(), running
        running.add(self)

    def tell(self, drawn: Drawn) -> None:
        """See `batches.Question`."""
        _call(self._loop, self.drawn.put_nowait, drawn)

    def end(self, error: Exception | None) -> None:
        """See `batches.Question`."""
        _call(
            self._loop,
            self._ended,
            InvalidModel(str(error)) if isinstance(error, NoNumber | Stuck) else error,
        )

    def _ended(self, error: Exception | None) -> None:
        self._running.discard(self)
        self.drawn.put_nowait(error)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: Any) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(function, *args)


def _spec_of(model: ServedModel, settings: EngineSettings) -> TrainSpec:
    """The training that loads it: the model's own, of an adapter with it attached."""
    given = model.training or settings.training
    spec = TrainSpec.stored(given | {"model_name_or_path": str(settings.base)})
    own: dict[str, Any] = {
        "use_lora": model.is_adapter,
        "peft_config_path": None,
        "merge_lora_after_training": False,
    }
    if model.is_adapter:
        own |= {"attach_lora": True, "attach_lora_path": model.model_uri}
    return spec.model_copy(update=own)


def _tensor_bytes(folder: Path) -> dict[str, int]:
    """The bytes of an adapter's tensors, by their names."""
    header = read_safetensors_header(folder / ADAPTER_WEIGHTS)
    return {name: tensor.data_offsets[1] - tensor.data_offsets[0] for name, tensor in header.items()}


def _require_room(need: int, name: str) -> None:
    free = spare_memory()
    if need > free:
        raise NoRoom(f"`{name}` needs {need} bytes of memory, and {free} are free on this node.")
