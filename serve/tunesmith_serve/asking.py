"""What becomes of a question from its arrival to its last line: admitted, written, loaded for, answered in its turn.

Knows shelf, prompts, limits and answers; knows no HTTP and no Ray.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Protocol

from tunesmith.chat.wire import Ask, End, Failed, Loading, Piece, Pin, Refused, ReplicaStatus, ServedModel
from tunesmith.errors import InvalidInput
from tunesmith_serve.answering import Prompt, Refusal, answer
from tunesmith_serve.engine import Engine, EngineLost
from tunesmith_serve.fitting import Fitted, fit
from tunesmith_serve.limits import Limits
from tunesmith_serve.shelf import Load, Shelf

LOADING_SECONDS = 1.0
"""How often a question that waits is told so."""
_BEGIN_MESSAGES = "Give either `messages` or a `prompt`."
_log = logging.getLogger("tunesmith_serve.asking")

Said = Loading | Piece | End | Failed


class Writes(Protocol):
    """Writes prompts: `tunesmith_serve.prompts.Prompts`."""

    async def write(self, ask: Ask) -> Prompt:
        """The tokens of a question; raises `Refusal`."""
        ...


class Questions:
    """Answers questions to one base model and its adapters.

    Args:
        engine: Draws the tokens.
        prompts: Writes the prompts.
        shelf: Holds what is loaded.
        limits: How many are taken.
        base: The base model's folder: questions to others do not belong here.
    """

    def __init__(self, engine: Engine, prompts: Writes, shelf: Shelf, limits: Limits, base: str) -> None:
        self._engine, self._prompts, self.shelf, self.limits = engine, prompts, shelf, limits
        self._base = base
        self._is_ending = asyncio.Event()
        self._why = ""
        self.pinned: list[ServedModel] = []
        """What stays loaded, for the replica that comes after."""

    def end(self, why: str) -> None:
        """Take no more questions, and end the answers that are under way with these words."""
        self._why = why
        self._is_ending.set()

    def resume(self) -> None:
        """Take questions again."""
        self._is_ending.clear()

    async def ended(self) -> str:
        """Wait until no more questions are taken; says why."""
        await self._is_ending.wait()
        return self._why

    @property
    def status(self) -> ReplicaStatus:
        """What is done now."""
        loaded = self.shelf.loaded
        return ReplicaStatus(
            engine=self._engine.serving(loaded[-1].weights) if loaded else "",
            loaded=loaded,
            loading=self.shelf.loading,
            running=self.limits.running,
            waiting=self.limits.waiting,
            answered=self.limits.answered,
            tokens_per_second=self.limits.tokens_per_second,
            first_token_seconds=self.limits.first_token_seconds,
        )

    def pin(self, pin: Pin) -> None:
        """Keep an adapter loaded, or let it go again."""
        self.shelf.pin(pin.weights, pinned=pin.pinned)
        self.pinned = [one for one in self.pinned if one.weights != pin.weights]
        if pin.pinned and pin.model is not None:
            self.pinned.append(pin.model)

    async def bring(self, model: ServedModel) -> None:
        """Load a model before anybody asks it.

        Raises:
            Refusal: It cannot be loaded.
        """
        async with self.shelf.held(model) as load:
            await asyncio.shield(load.task)

    async def lines(self, ask: Ask) -> AsyncGenerator[Said, None]:
        """The lines of an answer; closing the generator frees its place and its slot.

        Raises:
            Refusal: Instead of a line, or after those that say that it waits.
        """
        arrived = time.monotonic()
        self._check(ask)
        with self.limits.admitted():
            writing = asyncio.create_task(self._prompts.write(ask))
            try:
                async with self.shelf.held(ask.model) as load:
                    async for waits in _until(writing, arrived, lambda: "Writing the prompt."):
                        yield waits
                    prompt = writing.result()
                    early = await self._fit(ask, prompt)  # what cannot be answered is not loaded for
                    async for waits in _loaded(load, arrived):
                        yield waits
                    fitting = await self._fit(early.ask, early.prompt)
                    dropped = early.dropped + fitting.dropped
                    async with aclosing(self._in_turn(fitting.ask, fitting.prompt, arrived)) as said:
                        async for line in said:
                            is_told = dropped and isinstance(line, End)
                            yield line.model_copy(update={"dropped_turns": dropped}) if is_told else line
            finally:
                writing.cancel()

    async def _fit(self, ask: Ask, prompt: Prompt) -> Fitted:
        return await fit(ask, prompt, self._engine.context_length, self._prompts.write)

    async def _in_turn(self, ask: Ask, prompt: Prompt, arrived: float) -> AsyncGenerator[Said, None]:
        entering = asyncio.create_task(self.limits.enter())
        try:
            async for waits in _until(entering, arrived, self._others):
                yield waits
            async with aclosing(self._answer(ask, prompt, arrived)) as said:
                async for line in said:
                    yield line
        finally:
            # A slot that was given just now is given back, whether anybody still waited for it or not.
            if entering.done() and not entering.cancelled():
                self.limits.leave()
            else:
                entering.cancel()

    async def _answer(self, ask: Ask, prompt: Prompt, arrived: float) -> AsyncGenerator[Said, None]:
        has_said = False
        try:
            async with aclosing(
                answer(self._engine, ask.model.weights, prompt, ask.sampling, arrived)
            ) as lines:
                async for line in lines:
                    if isinstance(line, End):
                        self.limits.ended(line.first_token_seconds, line.seconds, line.completion_tokens)
                    has_said = True
                    yield line
        except (EngineLost, KeyError) as error:
            _log.warning("question %s: the engine was lost: %s", ask.id, error)
            failed = Failed(
                message="The engine ended while it answered.", hint="Ask again: it is started anew."
            )
        except InvalidInput as error:
            failed = Failed(message=error.message, hint=error.hint)
        else:
            return
        if not has_said:
            raise Refusal(Refused(code="failed", message=failed.message, hint=failed.hint, retry_after=1))
        yield failed

    def _others(self) -> str:
        return f"Waits for one of {self.limits.running} questions that came before."

    def _check(self, ask: Ask) -> None:
        if self._is_ending.is_set():
            raise Refusal(
                Refused(code="busy", message=self._why, hint="Ask again in a moment.", retry_after=5)
            )
        if (ask.messages is None) == (ask.prompt is None):
            raise Refusal(Refused(code="invalid_input", message=_BEGIN_MESSAGES, field="messages"))
        if not _is_same(ask.model.base_path, self._base):
            raise Refusal(
                Refused(
                    code="model_not_found",
                    message=f"`{ask.model.name}` belongs to another base than the one that is served here.",
                    field="model",
                )
            )


def _is_same(one: str, other: str) -> bool:
    return one == other or Path(one) == Path(other)


async def _loaded(load: Load, arrived: float) -> AsyncGenerator[Loading, None]:
    """Wait for a load, which goes on when nobody waits for it any more."""
    async for waits in _until(load.task, arrived, load.words):
        yield waits
    try:
        load.task.result()
    except asyncio.CancelledError:
        raise Refusal(
            Refused(code="busy", message="The load was given up.", hint="Ask again.", retry_after=1)
        ) from None


async def _until(
    task: "asyncio.Task[object]", arrived: float, words: Callable[[], str]
) -> AsyncGenerator[Loading, None]:
    """Lines about once a second until a task is done; it is left alone."""
    while not (await asyncio.wait({task}, timeout=LOADING_SECONDS))[0]:
        yield Loading(seconds=time.monotonic() - arrived, message=words())
