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


class NoNumber(Exception):
    """The model computed no numbers at a place: there is nothing to draw from."""


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
    """

    def __init__(self, how: Settings, prompt: Sequence[int]) -> None:
        self._how = how
        seed = random.SystemRandom().getrandbits(32) if how.seed is None else how.seed
        self._random = random.Random(seed)  # noqa: S311  (no secret; its numbers are the same in every version)
        self._seen = set(prompt) if how.repetition_penalty != 1 else set()
        self._counts: collections.Counter[int] = collections.Counter()

    def next(self, logits: Logits) -> Token:
        """The next token.

        Raises:
            NoNumber: No logit is a number.
        """
        how = self._how
        if not np.isfinite(logits.max()):
            raise NoNumber(
                "The model computed no numbers: its weights are broken, or too large for their format."
            )
        scores = self._penalized(logits)
        drawn = int(scores.argmax()) if how.temperature == 0 else self._drawn(scores)
        if how.repetition_penalty != 1:
            self._seen.add(drawn)
        self._counts[drawn] += 1
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

    def _drawn(self, scores: Logits) -> int:
        ids, kept = kept_by(scores, self._how)
        # One number a token, whatever the filters leave: draws stay aligned.
        number = self._random.random()
        sums = kept.cumsum()
        place = int(np.searchsorted(sums, number * sums[-1], side="right"))
        return int(ids[min(place, len(ids) - 1)])


def kept_by(scores: Logits, how: Settings) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """What temperature, top_k, top_p and min_p leave of the scores.

    Returns:
        The tokens, rising, and what each weighs: probabilities up to one factor.
    """
    scaled = scores.astype(np.float64) / how.temperature
    ids = np.arange(len(scaled))
    if 0 < how.top_k < len(scaled):
        least = np.partition(scaled, len(scaled) - how.top_k)[len(scaled) - how.top_k]
        ids = np.flatnonzero(scaled >= least)
    weights = np.exp(scaled[ids] - scaled[ids].max())
    if how.top_p < 1:
        chosen = _nucleus(weights / weights.sum(), how.top_p)
        ids, weights = ids[chosen], weights[chosen]
    if how.min_p > 0:
        chosen = weights >= how.min_p * weights.max()
        ids, weights = ids[chosen], weights[chosen]
    return ids, weights


def _nucleus(probabilities: npt.NDArray[np.float64], top_p: float) -> npt.NDArray[np.int64]:
    """The places of the fewest likeliest tokens that are as likely as `top_p` together; at least one."""
    tail = 1 - top_p
    # Those below this go whatever their order is: all of them together weigh less than the tail. The rest is sorted.
    large = np.flatnonzero(probabilities >= tail / len(probabilities))
    rising = large[np.argsort(probabilities[large], kind="stable")]
    before = 1 - probabilities[large].sum()
    goes = before + probabilities[rising].cumsum() <= tail
    goes[-1] = False
    return np.sort(rising[~goes])


def _told(logits: Logits, drawn: int, count: int) -> Token:
    """A token with its logarithm of probability before any setting, and the likeliest ones'."""
    wide = logits.astype(np.float64)
    total = float(wide.max() + np.log(np.exp(wide - wide.max()).sum()))
    likeliest: list[int] = []
    if count:
        count = min(count, len(wide))
        found = np.argpartition(wide, len(wide) - count)[len(wide) - count :]
        likeliest = [int(one) for one in found[np.lexsort((found, -wide[found]))]]
    return Token(
        drawn,
        min(float(wide[drawn]) - total, 0.0),
        tuple((one, min(float(wide[one]) - total, 0.0)) for one in likeliest),
    )
