"""Which turns of a conversation fit into what its model reads.

The oldest are left out whole, a question with its answers; system messages and the last question stay. Only whoever
writes prompts knows how long one is, so it is asked about halves: a dozen prompts at most are written. Knows prompts
and numbers; knows no engine.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from tunesmith.chat.wire import Ask, Message
from tunesmith_serve.answering import Prompt, Refusal, fitted

LEAST_ROOM = 256
"""Tokens that are kept free for an answer whose length nobody named, where turns are left out; see `_room`."""


class Fitted(NamedTuple):
    """A question that fits.

    Attributes:
        ask: With the turns that are left, and a number of tokens for which there is room.
        prompt: Its tokens.
        dropped: How many turns were left out.
    """

    ask: Ask
    prompt: Prompt
    dropped: int = 0


async def fit(ask: Ask, prompt: Prompt, context: int, write: Callable[[Ask], Awaitable[Prompt]]) -> Fitted:
    """A question that fits into a context; where it does not, the oldest turns go, if that was asked for.

    Args:
        ask: The question.
        prompt: Its tokens.
        context: Tokens that the model reads; 0 where that is not known yet.
        write: Writes a prompt.

    Raises:
        Refusal: It does not fit, and no turns may be left out, or the last question alone is too long.
    """
    most = len(turns_of(ask.messages or ())) - 1
    if not (ask.drop_oldest and context and most > 0 and not _has_room(ask, prompt, context)):
        return Fitted(_drawn(ask, prompt, context), prompt)
    low, high, found = 1, most, Fitted(without(ask, most), await write(without(ask, most)), most)
    while low < high and _has_room(ask, found.prompt, context):
        middle = (low + high) // 2
        tried = Fitted(without(ask, middle), await write(without(ask, middle)), middle)
        if _has_room(ask, tried.prompt, context):
            found, high = tried, middle
        else:
            low = middle + 1
    return found._replace(ask=_drawn(found.ask, found.prompt, context))


def turns_of(messages: Sequence[Message]) -> list[list[int]]:
    """The places of a conversation's turns: each begins with a question. System messages belong to none."""
    turns: list[list[int]] = []
    for place, message in enumerate(messages):
        if message.role == "system":
            continue
        if message.role == "user" or not turns:
            turns.append([])
        turns[-1].append(place)
    return turns


def without(ask: Ask, dropped: int) -> Ask:
    """A question without so many of its oldest turns."""
    gone = {place for turn in turns_of(ask.messages or ())[:dropped] for place in turn}
    left = [message for place, message in enumerate(ask.messages or ()) if place not in gone]
    return ask.model_copy(update={"messages": left})


def _has_room(ask: Ask, prompt: Prompt, context: int) -> bool:
    wanted = ask.sampling.max_new_tokens or min(LEAST_ROOM, context // 4)
    return len(prompt.ids) + wanted <= context


def _drawn(ask: Ask, prompt: Prompt, context: int) -> Ask:
    try:
        sampling = fitted(len(prompt.ids), ask.sampling, context)
    except Refusal as refusal:
        if not ask.drop_oldest:
            raise
        words = "The last question leaves no room for such an answer: shorten it, or ask for fewer tokens."
        raise Refusal(refusal.refused.model_copy(update={"hint": words})) from None
    return ask.model_copy(update={"sampling": sampling})
