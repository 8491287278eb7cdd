"""How the next token is drawn, from the logits of one place of one answer.

Every answer has a generator of its own and takes one number from it a token: what else is answered beside it, and
whether a draft was verified, leaves its draws as they are.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import (
    LogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

_SEEDS = 2**64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How answers are generated. The penalties apply to greedy answers too."""

    max_new_tokens: int
    temperature: float = 0.0
    """0: the most likely token each time."""
    top_k: int = 0
    """0: all tokens."""
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    """What the logit of a token of the prompt or the answer is divided by, or multiplied with where it is below 0."""
    presence_penalty: float = 0.0
    """Subtracted once from the logit of each token that the answer so far holds."""
    seeds: Sequence[int] = ()
    """One a prompt; not needed at temperature 0."""
    batch_size: int = 32
    """Answers that are generated at once: memory and speed follow it, the answers do not."""

    @property
    def is_plain(self) -> bool:
        """Whether each token is the most likely one, without any penalty."""
        return self.temperature <= 0 and self.repetition_penalty == 1.0 and self.presence_penalty == 0.0


class Made(NamedTuple):
    """An answer."""

    tokens: list[int]
    """Without the one that ended it."""
    ended: bool
    """Whether it ended by itself; else it was cut at `max_new_tokens`."""


class Draw:
    """Draws the tokens of one answer, in their order.

    Args:
        how: The settings.
        prompt: The tokens that are answered.
        seed: Of the answer's own generator.
    """

    def __init__(self, how: Sampling, prompt: Sequence[int], seed: int = 0) -> None:
        self._how = how
        self._prompt = sorted(set(prompt)) if how.repetition_penalty != 1.0 else []
        self._generator = torch.Generator().manual_seed(seed % _SEEDS) if how.temperature > 0 else None

    @property
    def is_plain(self) -> bool:
        """Whether each token is the most likely one, without any penalty."""
        return self._how.is_plain

    def next(self, logits: torch.Tensor, answer: Sequence[int]) -> int:
        """The next token.

        Args:
            logits: Of every token, of shape (words,).
            answer: The tokens of the answer so far.
        """
        how = self._how
        if how.is_plain:
            return int(logits.argmax())
        scores = logits.float().clone()
        if how.repetition_penalty != 1.0:
            seen = torch.tensor([[*self._prompt, *answer]], device=scores.device)
            scores = RepetitionPenaltyLogitsProcessor(float(how.repetition_penalty))(seen, scores[None])[0]
        if how.presence_penalty and answer:
            scores[torch.tensor(sorted(set(answer)), device=scores.device)] -= how.presence_penalty
        if self._generator is None:
            return int(scores.argmax())
        probabilities = _kept(scores, how)
        # One number a token, whatever the filters leave: draws stay aligned. In float64, on the processor.
        number = torch.rand((), generator=self._generator, dtype=torch.float64)
        sums = probabilities.double().cpu().cumsum(0)
        place = int(torch.searchsorted(sums, number * sums[-1], right=True))
        if place >= len(sums):  # the number was rounded up to the end
            place = int(probabilities.nonzero()[-1])
        return place


def _kept(logits: torch.Tensor, how: Sampling) -> torch.Tensor:
    """Probabilities after temperature, top_k, top_p and min_p, in the order in which transformers applies them."""
    steps: list[LogitsProcessor] = [TemperatureLogitsWarper(float(how.temperature))]
    if how.top_k > 0:
        steps.append(TopKLogitsWarper(how.top_k))
    if how.top_p < 1.0:
        steps.append(TopPLogitsWarper(how.top_p))
    if how.min_p > 0.0:
        steps.append(MinPLogitsWarper(how.min_p))
    scores = logits[None]
    for step in steps:
        scores = step(None, scores)
    return scores[0].softmax(-1)
