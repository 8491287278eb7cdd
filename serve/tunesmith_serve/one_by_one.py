"""Answers of any model that transformers generates with, one at a time: questions take turns, a token each.

For models whose layers keep more than keys and values, so that two conversations do not go side by side. No two
questions are in one batch: an answer depends on its question alone. Knows torch and transformers; knows no text.
"""

from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from tunesmith_jobs.models import build
from tunesmith_jobs.models.loading import UsedModel
from tunesmith_serve.batches import Question, causal_of
from tunesmith_serve.engine import Drawn
from tunesmith_serve.turns import Turns

_MOVING_ROPE = "dynamic"
"""Positions that are turned by the longest sequence that was seen: a module keeps it from token to token."""
_LONGEST_SEEN = "max_seq_len_cached"


def answer_alone(question: Question, used: UsedModel, turns: Turns) -> None:
    """Draw all tokens of an answer, in the thread that it is called in.

    Args:
        question: What is answered; it hears of each token, and of the end.
        used: The model.
        turns: Whose turn it is to compute.
    """
    found: Exception | None = None
    turns.take()
    try:
        if not question.is_left.is_set():
            with torch.no_grad(), used.autocast():
                _generate(question, used, turns)
    except Exception as error:
        found = error
    finally:
        turns.give_back()
    del used
    question.end(found)


def takes_turns(model: Any) -> bool:
    """Whether another question may be computed between two tokens: not where a module keeps what it saw."""
    rope = getattr(causal_of(model).config.get_text_config(), "rope_parameters", None) or {}
    kinds = [rope, *(one for one in rope.values() if isinstance(one, dict))]
    return _MOVING_ROPE not in {str(one.get("rope_type")) for one in kinds}


def _generate(question: Question, used: UsedModel, turns: Turns) -> None:
    passes_on = takes_turns(used.model)
    if not passes_on:
        _forget_longest(used.model)
    has_ended = False

    def take(logits: torch.Tensor) -> int:
        nonlocal has_ended
        token = question.draw.next(logits.float().cpu().numpy())
        question.tell(Drawn(*token))
        has_ended = token.id in question.ends
        if passes_on:
            turns.pass_on()
        return token.id

    ids = torch.tensor([question.prompt], device=used.device)
    used.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        generation_config=GenerationConfig(
            max_new_tokens=question.most,
            do_sample=False,  # the processor has drawn
            pad_token_id=build.pad_id(used.model),
            eos_token_id=None,
        ),
        logits_processor=LogitsProcessorList([_Drawing(take)]),
        stopping_criteria=StoppingCriteriaList([_Ended(lambda: has_ended or question.is_left.is_set())]),
    )


def _forget_longest(model: Any) -> None:
    """Let no earlier question's length turn this one's positions."""
    for module in model.modules():
        for name in [name for name in vars(module) if name.endswith(_LONGEST_SEEN)]:
            setattr(module, name, 0)


class _Drawing(LogitsProcessor):  # type: ignore[misc]
    """Leaves the token that was drawn alone."""

    def __init__(self, take: Callable[[torch.Tensor], int]) -> None:
        self._take = take

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        left = torch.full_like(scores, -torch.inf)
        left[0, self._take(scores[0])] = 0.0
        return left


class _Ended(StoppingCriteria):  # type: ignore[misc]
    def __init__(self, is_ended: Callable[[], bool]) -> None:
        self._is_ended = is_ended

    def __call__(self, input_ids: Any, scores: Any, **more: Any) -> Any:
        return torch.full((len(input_ids),), self._is_ended(), device=input_ids.device)
