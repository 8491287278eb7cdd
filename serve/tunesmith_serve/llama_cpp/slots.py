"""Which question is computed where and when: slots, queues, and what a slot remembers. Knows no library."""

import dataclasses
from collections.abc import Iterable, Sequence

from tunesmith_serve.sampling import Draw

LEAST_REUSED = 16
"""Tokens that two prompts must begin with alike for the second to go on from the first."""


@dataclasses.dataclass
class Question:
    """One question and how far it is."""

    id: int
    adapter: str | None
    prompt: list[int]
    draw: Draw
    ends: frozenset[int]
    most: int
    """Tokens of the answer."""
    is_fresh: bool
    """Whether its whole prompt is read, whatever is remembered."""
    answered: int = 0
    next: int | None = None
    """The token that was drawn last and is not computed yet; None before the first."""
    shared: bool = False
    reused: int = 0
    turn: int = 0
    """Tokens that were drawn while others waited for a slot."""


@dataclasses.dataclass
class Slot:
    """Room for one conversation."""

    number: int
    tokens: list[int] = dataclasses.field(default_factory=list)
    """Those that are computed and remembered."""
    adapter: str | None = None
    """With which they were."""
    question: Question | None = None
    used: int = 0
    """When it was given to a question last: a larger number is later."""


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    most = min(len(one), len(other))
    return next((place for place in range(most) if one[place] != other[place]), most)


def choose_slot(slots: Iterable[Slot], question: Question) -> tuple[Slot, int] | None:
    """A free slot, and how many tokens of it the question goes on from; None where all are taken.

    What was computed with another adapter is nothing to go on from. A question that remembers nothing takes the slot
    that was not used for longest. At least the prompt's last token is computed: its logits are wanted.
    """
    free = [slot for slot in slots if slot.question is None]
    if not free:
        return None
    if not question.is_fresh:
        alike = [
            (common_length(slot.tokens, question.prompt[:-1]), slot)
            for slot in free
            if slot.adapter == question.adapter
        ]
        count, best = max(alike, key=lambda one: (one[0], -one[1].used), default=(0, free[0]))
        if count >= LEAST_REUSED:
            return best, count
    return min(free, key=lambda slot: (bool(slot.tokens), slot.used)), 0
