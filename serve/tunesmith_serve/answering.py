"""One answer, whatever the engine: from the tokens of a prompt to the lines that come back.

Knows the engine's protocol, text and the wire; knows no HTTP, no Ray and no chat template.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

from tunesmith.chat.settings import MAX_NEW_TOKENS, Sampling
from tunesmith.chat.tool_forms import CallForm, CallReader
from tunesmith.chat.wire import End, Piece, Refused
from tunesmith_serve.constraint import Grammar
from tunesmith_serve.engine import Engine
from tunesmith_serve.text import AnswerText, Out


class Refusal(Exception):
    """A question is not answered; carries what its caller is told."""

    def __init__(self, refused: Refused, status: int | None = None) -> None:
        super().__init__(refused.message)
        self.refused = refused
        self.status = status
        """Where it is another one than its code's."""


@dataclass(frozen=True)
class Prompt:
    """A question as its model takes it.

    Attributes:
        ids: Its tokens.
        ends: The tokens that end an answer.
        tokenizer: Writes tokens as text; of the `tokenizers` library.
        grammar: What the answer is held to; None: nothing.
        calls: How the model writes the calls of tools, where it may call some; None: it may not.
        names: The tools that it may call.
        calls_one: Whether it may call one alone: the answer ends behind it.
        shown: Control tokens that are a part of the answer's text: the marks of calls and of thoughts.
        thinks: Whether the prompt has opened a thought.
    """

    ids: list[int]
    ends: frozenset[int]
    tokenizer: Any
    grammar: Grammar | None = None
    calls: CallForm | None = None
    names: frozenset[str] = frozenset()
    calls_one: bool = False
    shown: frozenset[int] = frozenset()
    thinks: bool = False


def fitted(prompt: int, sampling: Sampling, context: int) -> Sampling:
    """How an answer is drawn, with a number of tokens for which there is room.

    Args:
        prompt: Tokens of the question.
        sampling: How many tokens the answer may have; all that there is room for where it does not say.
        context: Tokens that the model reads; 0 where that is not known yet.

    Raises:
        Refusal: The question leaves no room for such an answer.
    """
    if not context:
        return sampling
    room = context - prompt
    wanted = sampling.max_new_tokens or max(1, min(room, MAX_NEW_TOKENS))
    if wanted <= room:
        return sampling.model_copy(update={"max_new_tokens": wanted})
    raise Refusal(
        Refused(
            code="context_length_exceeded",
            message=f"{prompt} tokens of the conversation and {wanted} of an answer are more than the "
            f"{context} that the model reads.",
            hint=f"Ask for {room} tokens at most, or leave out the oldest turns: `drop_oldest` does that."
            if room > 0
            else "Leave out the oldest turns (`drop_oldest` does that), or shorten the question.",
            field="max_new_tokens" if room > 0 else "messages",
            prompt_tokens=prompt,
            context_tokens=context,
        )
    )


async def answer(
    engine: Engine, weights: str, prompt: Prompt, sampling: Sampling, arrived: float
) -> AsyncGenerator[Piece | End, None]:
    """Draw an answer; the last line is its `End`. Closing the generator ends the drawing.

    Args:
        engine: It has loaded the weights.
        weights: Which.
        prompt: The question.
        sampling: How to draw.
        arrived: When the question arrived, by `time.monotonic`.
    """
    text = AnswerText(prompt.tokenizer, sampling.stop, sampling.logprobs, prompt.shown)
    calls = _Calls(prompt)
    drawn = reused = 0
    first: float | None = None
    is_shared = False
    reason: Literal["stop", "length", "tool_calls"] = "length"
    name = engine.serving(weights)
    tokens = engine.generate(weights, prompt.ids, sampling, prompt.ends, prompt.grammar)
    async with aclosing(tokens):
        async for token in tokens:
            drawn += 1
            if first is None:
                first, reused = time.monotonic() - arrived, token.reused
            is_shared = is_shared or token.shared
            if token.id in prompt.ends:
                reason = "stop"
                break
            out = text.add(token)
            if out.tokens:
                yield calls.piece(out)
            if text.is_stopped or calls.is_enough:
                reason = "stop"
                break
    if not text.is_stopped:
        out = text.finish()
        if out.tokens:
            yield calls.piece(out)
        if text.is_stopped:
            reason = "stop"
    if (left := calls.end()) is not None:
        yield left
    if calls.count and reason == "stop":
        reason = "tool_calls"
    seconds = time.monotonic() - arrived
    yield End(
        finish_reason=reason,
        prompt_tokens=len(prompt.ids),
        reused_tokens=reused,
        completion_tokens=drawn,
        first_token_seconds=seconds if first is None else first,
        seconds=seconds,
        deterministic=not is_shared,
        engine=name,
    )


class _Calls:
    """Tells what of an answer is text and what is the call of a tool, piece by piece.

    Args:
        prompt: What is answered.
    """

    def __init__(self, prompt: Prompt) -> None:
        self._reader = (
            CallReader(prompt.calls, prompt.names, thinks=prompt.thinks) if prompt.calls is not None else None
        )
        self._calls_one = prompt.calls_one
        self._thinks = prompt.thinks

    @property
    def count(self) -> int:
        """Calls that are whole."""
        return self._reader.count if self._reader is not None else 0

    @property
    def is_enough(self) -> bool:
        """Whether no more may be called."""
        return self._calls_one and self.count > 0

    def piece(self, out: Out) -> Piece:
        """What is given out of some tokens."""
        thinks, self._thinks = self._thinks, False
        if self._reader is None:
            return Piece(text=out.text, tokens=out.tokens, logprobs=out.logprobs, thinks=thinks)
        found = self._reader.take(out.text)
        return Piece(
            text=found.text,
            tokens=out.tokens,
            logprobs=out.logprobs,
            calls=list(found.calls),
            thinks=thinks,
        )

    def end(self) -> Piece | None:
        """What waited; None where nothing did."""
        found = self._reader.end() if self._reader is not None else None
        if found is None or not (found.text or found.calls):
            return None
        return Piece(text=found.text, calls=list(found.calls))
