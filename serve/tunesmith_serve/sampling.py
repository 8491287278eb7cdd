"""How the next token is drawn from the logits of one place of one answer: the same in every engine.

The numbers are those of transformers' own processors, in the order that `tunesmith.chat.settings` says; presence and
frequency count the answer alone, as OpenAI's do. Every answer has a generator of its own and takes one number from it a
token: what is answered beside it leaves its draws as they are. Knows numpy; knows no model.
"""

import collections
import random
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]
"""Of every token at one place, of shape (words,)."""
_BLOCK = 512


class NoNumber(Exception):
    """The model computed no numbers at a place: there is nothing to draw from."""


class Rule(Protocol):
    """What says which tokens may come next: `tunesmith_serve.constraint.Constraint`."""

    def allowed(self, words: int) -> npt.NDArray[np.bool_]:
        """Which tokens may come next, of shape (words,)."""
        ...

    def take(self, token: int) -> None:
        """A token was drawn."""
        ...


class Settings(Protocol):
    """What of `tunesmith.chat.settings.Sampling` decides a draw."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    seed: int | None
    logprobs: int | None
    logit_bias: dict[int, float]


class Token(NamedTuple):
    """A token that was drawn, as `tunesmith_serve.engine.Drawn` says it."""

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Draw:
    """Draws the tokens of one answer, in their order.

    Args:
        how: The settings.
        prompt: The tokens that are answered.
        rule: What the answer is held to; None: nothing.
    """

    def __init__(self, how: Settings, prompt: Sequence[int], rule: Rule | None = None) -> None:
        self._how, self._rule = how, rule
        seed = random.SystemRandom().getrandbits(32) if how.seed is None else how.seed
        self._random = random.Random(seed)  # noqa: S311  (no secret; its numbers are the same in every version)
        self._seen = set(prompt) if how.repetition_penalty != 1 else set()
        self._counts: collections.Counter[int] = collections.Counter()

    def next(self, logits: Logits) -> Token:
        """The next token.

        Raises:
            NoNumber: No logit is a number.
            Stuck: The rule allows no token.
        """
        how = self._how
        if not np.isfinite(logits.max()):
            raise NoNumber(
                "The model computed no numbers: its weights are broken, or too large for their format."
            )
        scores = self._biased(self._penalized(logits))
        if self._rule is not None:
            scores = np.where(self._rule.allowed(len(scores)), scores, np.float32(-np.inf))
        drawn = int(scores.argmax()) if how.temperature == 0 else self._drawn(scores)
        if how.repetition_penalty != 1:
            self._seen.add(drawn)
        self._counts[drawn] += 1
        if self._rule is not None:
            self._rule.take(drawn)
        return Token(drawn) if how.logprobs is None else _told(logits, drawn, how.logprobs)

    def _penalized(self, logits: Logits) -> Logits:
        how = self._how
        if not (self._seen or (self._counts and (how.presence_penalty or how.frequency_penalty))):
            return logits
        scores = logits.copy()
        if self._seen:
            places = np.fromiter(self._seen, np.int64)
            found = scores[places]
            penalty = np.float32(how.repetition_penalty)
            scores[places] = np.where(found < 0, found * penalty, found / penalty)
        if self._counts and (how.presence_penalty or how.frequency_penalty):
            places = np.fromiter(self._counts, np.int64)
            times = np.fromiter(self._counts.values(), np.float32)
            scores[places] -= np.float32(how.presence_penalty) + np.float32(how.frequency_penalty) * times
        return scores

    def _biased(self, scores: Logits) -> Logits:
        found = {token: bias for token, bias in self._how.logit_bias.items() if token < len(scores)}
        if not found:
            return scores
        scores = scores.copy()
        scores[np.fromiter(found, np.int64)] += np.fromiter(found.values(), np.float32)
        return scores

    def _drawn(self, scores: Logits) -> int:
        ids, kept = kept_by(scores, self._how)
        # One number a token, whatever the filters leave: draws stay aligned.
        place = _place(kept, self._random.random())
        return place if ids is None else int(ids[place])


def kept_by(scores: Logits, how: Settings) -> tuple[npt.NDArray[np.int64] | None, Logits]:
    """What temperature, top_k, top_p and min_p leave of the scores.

    In 32 bits, as transformers does it: over a vocabulary of 150 000 tokens 64 take as long as a part of the model.

    Returns:
        The tokens, rising, or None where all are left; and what each weighs: probabilities up to one factor.
    """
    scaled = (scores - scores.max()) / np.float32(how.temperature)
    ids = None
    if 0 < how.top_k < len(scaled):
        least = np.partition(scaled, len(scaled) - how.top_k)[len(scaled) - how.top_k]
        ids = np.flatnonzero(scaled >= least)
        scaled = scaled[ids]
    weights = np.exp(scaled)
    if how.top_p < 1:
        chosen = _nucleus(weights, how.top_p)
        ids, weights = _chosen(ids, chosen), weights[chosen]
    if how.min_p > 0:
        chosen = np.flatnonzero(weights >= np.float32(how.min_p) * weights.max())
        ids, weights = _chosen(ids, chosen), weights[chosen]
    return ids, weights


def _place(weights: Logits, number: float) -> int:
    """Where a number from 0 to 1 falls among weights that are laid end to end; sums are in 64 bits."""
    begins = np.arange(0, len(weights), _BLOCK)  # block by block: a sum at each place of all would take long
    sums = np.add.reduceat(weights, begins, dtype=np.float64).cumsum()
    goal = number * sums[-1]
    block = min(int(np.searchsorted(sums, goal, side="right")), len(sums) - 1)
    part = weights[begins[block] : begins[block] + _BLOCK].cumsum(dtype=np.float64)
    before = sums[block - 1] if block else 0.0
    place = min(int(np.searchsorted(part, goal - before, side="right")), len(part) - 1)
    while (
        part[place] == (part[place - 1] if place else 0.0) and place > 0
    ):  # rounded past the last that weighs
        place -= 1
    return int(begins[block]) + place


def _chosen(ids: npt.NDArray[np.int64] | None, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return places if ids is None else ids[places]


def _nucleus(weights: Logits, top_p: float) -> npt.NDArray[np.int64]:
    """The places of the fewest likeliest tokens that are as likely as `top_p` together; at least one."""
    total = float(weights.sum(dtype=np.float64))
    tail = (1 - top_p) * total
    # Those below this go whatever their order is: all of them together weigh less than the tail. The rest is sorted.
    large = np.flatnonzero(weights >= tail / len(weights))
    rising = large[np.argsort(weights[large], kind="stable")]
    sums = weights[rising].cumsum(dtype=np.float64)
    goes = total - sums[-1] + sums <= tail
    goes[-1] = False
    return np.sort(rising[~goes])


def _told(logits: Logits, drawn: int, count: int) -> Token:
    """A token with its logarithm of probability before any setting, and the likeliest ones'."""
    best = logits.max()
    total = float(best) + float(np.log(np.exp(logits - best).sum(dtype=np.float64)))

    def logprob(token: int) -> float:
        return min(float(logits[token]) - total, 0.0)

    likeliest: list[int] = []
    if count:
        least = np.partition(logits, -count)[-count] if count < len(logits) else -np.inf
        found = np.flatnonzero(logits >= least)
        likeliest = [int(one) for one in found[np.lexsort((found, -logits[found]))][:count]]
    return Token(drawn, logprob(drawn), tuple((one, logprob(one)) for one in likeliest))
