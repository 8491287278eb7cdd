"""What an engine does: loads a model and its adapters, and draws tokens. Texts are nobody's business here.

Prompts arrive as tokens, written by the same encoder as in training, and answers leave as tokens: so every engine reads
and says exactly what the training's tokenizer does. Knows no HTTP and no Ray.
"""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tunesmith.chat.proof import ENGINE
from tunesmith.chat.settings import Sampling
from tunesmith.chat.wire import PackagedGguf, ServedModel
from tunesmith.errors import InvalidInput
from tunesmith_serve.constraint import Grammar

TRANSFORMERS = "transformers"
PACKAGE = "xllamacpp"
F16 = "F16"
"""What llama.cpp's files of a base are made as; adapters are laid over one."""


@dataclass(frozen=True)
class Drawn:
    """A token of an answer.

    Attributes:
        id: The token.
        logprob: Its natural logarithm of probability before any setting changed it; None where none was asked for.
        top: The likeliest tokens there with theirs, the likeliest first.
        shared: Whether it, or a token of this answer before it, was computed in one batch with other questions: what is
            computed beside a token changes its last bits, and they stay in what is remembered of it.
        reused: At the first token: how many tokens of the prompt were known from before.
    """

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = field(default=())
    shared: bool = False
    reused: int = 0


class Computed(NamedTuple):
    """What answers with weights, and what they are stored as: what a proof is about, beside the weights."""

    engine: str
    version: str = ""
    file_type: str = ""


def computed_by(engine: str, model: ServedModel) -> Computed:
    """What answers with a model.

    Args:
        engine: See `Engine.serving`.
        model: What is loaded.
    """
    if engine != ENGINE:
        return Computed(engine, version("transformers") if engine == TRANSFORMERS else "")
    return Computed(engine, version(PACKAGE), model.file.type if model.file is not None else F16)


class NoRoom(Exception):
    """There is not the memory to load it. Its words name what is needed and what is free, in bytes."""


class EngineLost(Exception):
    """The engine's process ended; what it was answering is lost, and the next `load` starts another."""


@dataclass(frozen=True)
class EngineSettings:
    """What an engine is made with. `tunesmith_serve.choosing.engine_for(settings)` makes one; it loads nothing yet.

    Attributes:
        engine: `auto`, `llama_cpp` or `transformers`.
        base: The base model's folder.
        training: See `ModelDocument.training`.
        threads: How many may compute.
        use_gpu: Whether a GPU is reserved.
        context_length: Tokens of a prompt and its answer at most; None: what the model was made for.
        max_running: How many questions it computes at once at most; of more that are asked, some take turns or wait.
        max_adapters: How many adapters are loaded at once at most.
        cache: Folder for files that are made once and outlive the engine, such as GGUF.
        scratch: Folder of its own, gone with it.
        owner: Whose that folder is, see `tunesmith.removal.claim`.
        file: A packaged file that is served; `base` is where it lies.
    """

    engine: str
    base: Path
    training: dict[str, Any]
    threads: int
    use_gpu: bool
    context_length: int | None
    max_running: int
    max_adapters: int
    cache: Path
    scratch: Path
    owner: str
    file: PackagedGguf | None = None


class Engine(Protocol):
    """Answers with one base model and adapters over it. Methods are called from one event loop; none blocks it."""

    name: str
    """`transformers`, `llama_cpp`: what most weights are answered by."""

    def serving(self, weights: str) -> str:
        """The name of the engine that answers these weights, shown with every answer.

        It is asked for weights since one replica may hold two engines: an adapter that llama.cpp cannot hold is
        answered by transformers, beside others over the same base.

        Raises:
            KeyError: The weights are not loaded.
        """
        ...

    async def load(self, model: ServedModel, said: Callable[[str], None]) -> int:
        """Make weights ready to answer; at once where they are. Others go on answering meanwhile.

        Args:
            model: The base itself or an adapter over it.
            said: Takes words on how far it is.

        Returns:
            The bytes of memory that it takes.

        Raises:
            NoRoom: There is not the memory.
            InvalidModel: What lies there cannot be loaded; `NotConvertible` where only this engine cannot.
        """
        ...

    async def unload(self, weights: str) -> None:
        """Let an adapter go: it is no longer loaded at once, and gone when no question uses it any more.

        Nothing where it is not loaded. A load meanwhile takes it back.
        """
        ...

    @property
    def loaded(self) -> dict[str, int]:
        """What is loaded, by `ServedModel.weights`, with the bytes of each; the one used last comes last."""
        ...

    @property
    def context_length(self) -> int:
        """Tokens of a prompt and its answer at most; 0 while nothing is loaded and it is not known."""
        ...

    def generate(
        self,
        weights: str,
        prompt: list[int],
        sampling: Sampling,
        ends: frozenset[int],
        grammar: Grammar | None = None,
    ) -> AsyncGenerator[Drawn, None]:
        """Draw an answer, token by token, up to and with the first of `ends`, `max_new_tokens`, or a full context.

        Closing the generator ends the drawing at once and frees its slot. Stop texts are the caller's business. Errors
        come with the first token, or later.

        Args:
            weights: `ServedModel.weights` of what is loaded.
            prompt: At least one token, and fewer than `context_length`.
            sampling: A question with a seed reads its whole prompt anew: the same answer, warm or cold.
            ends: Tokens that end it. The engine knows no others.
            grammar: What it is held to, until it is whole.

        Raises:
            KeyError: The weights are not loaded.
            InvalidInput: The prompt is empty, leaves no room in the context, or holds what is no token.
            InvalidModel: The model computes no numbers.
            EngineLost: See there.
        """
        ...

    async def close(self) -> None:
        """End everything that it started."""
        ...


def require_room(prompt: list[int], context_length: int) -> None:
    """See that a prompt leaves room for an answer.

    Raises:
        InvalidInput: It does not, or is empty.
    """
    if not prompt:
        raise InvalidInput("The prompt is empty.", field="prompt")
    if len(prompt) >= context_length:
        raise InvalidInput(
            f"The prompt is {len(prompt)} tokens, of {context_length} for it and its answer.", field="prompt"
        )
