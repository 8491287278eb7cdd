"""Answers and likelihoods of any model that transformers can generate with, one sample at a time.

The slow way, which assumes nothing of the architecture: a sample that is alone cannot depend on its neighbours. It is
taken where the fast way (`tiles`) was seen not to give the model's own numbers.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
)

from tunesmith_jobs.evaluate.engine.sampling import Draw, Made, Sampling
from tunesmith_jobs.models import build as models


class _Drawn(LogitsProcessor):  # type: ignore[misc]
    """Leaves the token that was drawn alone."""

    def __init__(self, draw: Draw, length: int) -> None:
        self._draw, self._length = draw, length

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        token = self._draw.next(scores[0], input_ids[0, self._length :].tolist())
        left = torch.full_like(scores, -torch.inf)
        left[0, token] = 0.0
        return left


def answer(
    model: Any,
    prompt: Sequence[int],
    how: Sampling,
    draw: Draw,
    stops: frozenset[int],
) -> Made:
    """The answer to one prompt."""
    settings = GenerationConfig(
        max_new_tokens=how.max_new_tokens,
        do_sample=False,  # the processor has drawn
        pad_token_id=models.pad_id(model),
        eos_token_id=sorted(stops) or None,
    )
    causal = causal_of(model)
    for one in {id(model): model, id(causal): causal}.values():
        one.generation_config = settings  # what is left open would be filled in from the model's
    ids = torch.tensor([list(prompt)], device=causal.device)
    made = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        generation_config=settings,
        logits_processor=LogitsProcessorList([_Drawn(draw, len(prompt))]),
    )
    tokens = made[0, len(prompt) :].tolist()
    end = next((place for place, token in enumerate(tokens) if token in stops), None)
    return Made(tokens[:end], end is not None)


def likelihood(model: Any, first: Sequence[int], second: Sequence[int]) -> float:
    """Summed negative log-likelihood of `second` after `first`, in nats."""
    ids = [*first, *second]
    goals = torch.tensor(ids[max(len(first), 1) :])  # nothing says how likely the very first token is
    if not len(goals):
        return 0.0
    return summed_loss(last_logits(model, ids, len(goals) + 1)[:-1], goals)


def last_logits(model: Any, ids: Sequence[int], count: int) -> torch.Tensor:
    """The logits of the last places, of shape (places, words)."""
    causal = causal_of(model)
    takes_count = "logits_to_keep" in inspect.signature(causal.forward).parameters
    more = {"logits_to_keep": count} if takes_count else {}
    found: torch.Tensor = model(
        input_ids=torch.tensor([list(ids)], device=causal.device), use_cache=False, **more
    ).logits[0, -count:]
    return found


def causal_of(model: Any) -> Any:
    """The model below an adapter, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def summed_loss(logits: torch.Tensor, goals: torch.Tensor) -> float:
    """The sum of negative log-likelihoods of tokens: log-softmax in fp32, the sum in float64."""
    found = logits.float().log_softmax(-1).gather(1, goals[:, None].to(logits.device))
    return -float(found.double().sum())
