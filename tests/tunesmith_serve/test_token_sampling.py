"""The settings mean what transformers' own processors mean by them, and are applied in the order that is said."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from tunesmith.chat.settings import Sampling
from tunesmith_serve.sampling import Draw, NoNumber, _place, kept_by

WORDS = 500
SETTINGS = [
    {"temperature": 1.0},
    {"temperature": 0.3},
    {"temperature": 2.0, "top_k": 7},
    {"top_p": 0.9},
    {"top_p": 0.05},
    {"top_p": 0.999},
    {"min_p": 0.1},
    {"min_p": 1.0},
    {"temperature": 1.5, "top_k": 50, "top_p": 0.8, "min_p": 0.05},
    {"top_k": 1000},
]


def logits(seed: int, spread: float = 3.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(WORDS) * spread).astype(np.float32)


def by_the_library(scores: np.ndarray, how: Sampling) -> np.ndarray:
    steps = LogitsProcessorList([TemperatureLogitsWarper(float(how.temperature))])
    if how.top_k:
        steps.append(TopKLogitsWarper(how.top_k))
    if how.top_p < 1:
        steps.append(TopPLogitsWarper(how.top_p))
    if how.min_p:
        steps.append(MinPLogitsWarper(how.min_p))
    return steps(None, torch.from_numpy(scores)[None].double())[0].softmax(-1).numpy()


@pytest.mark.parametrize("given", SETTINGS, ids=str)
def test_what_is_kept_is_what_the_library_keeps(given: dict[str, float]) -> None:
    how = Sampling(**given)
    for seed in range(20):
        scores = logits(seed, 1.0 + seed / 4)
        ids, weights = kept_by(scores, how)
        wanted = by_the_library(scores, how)
        ids = np.arange(WORDS) if ids is None else ids
        kept = dict(zip(ids.tolist(), (weights / weights.sum()).tolist(), strict=True))
        # What is hardly a number any more in 32 bits is as good as none.
        assert {one for one, weight in kept.items() if weight > 1e-30} == set(np.flatnonzero(wanted > 1e-30))
        assert [kept.get(one, 0.0) for one in range(WORDS)] == pytest.approx(
            wanted.tolist(), rel=1e-4, abs=1e-20
        )


def test_equal_scores_are_kept_together() -> None:
    scores = np.zeros(WORDS, np.float32)
    scores[:3] = 1
    assert len(kept_by(scores, Sampling(temperature=1.0, top_k=2))[0]) == 3
    assert len(kept_by(scores, Sampling(temperature=1.0, top_p=1e-6))[0]) == 1


def test_a_number_falls_where_the_weights_say() -> None:
    weights = np.random.default_rng(1).random(1300).astype(np.float32)
    weights[400:900] = 0
    sums = weights.astype(np.float64).cumsum()
    for number in [*np.random.default_rng(2).random(300), 0.0, sums[399] / sums[-1], 1 - 1e-16]:
        place = _place(weights, float(number))
        assert weights[place] > 0
        assert abs(place - np.searchsorted(sums, number * sums[-1], side="right")) <= 1 or 399 <= place <= 900
    assert _place(np.array([3.0], np.float32), 0.999999999) == 0


def test_draws_are_as_frequent_as_they_are_likely() -> None:
    scores = logits(1)
    how = Sampling(temperature=0.8, top_k=5, seed=1)
    draw = Draw(how, [])
    counts = Counter(draw.next(scores).id for _ in range(4000))
    wanted = by_the_library(scores, how)
    assert set(counts) == set(np.flatnonzero(wanted))
    for token, count in counts.items():
        assert count / 4000 == pytest.approx(wanted[token], abs=0.03)


def test_a_seed_gives_its_draws_and_no_seed_others() -> None:
    def draws(seed: int | None) -> list[int]:
        draw = Draw(Sampling(temperature=2.0, seed=seed), [])
        return [draw.next(logits(1)).id for _ in range(20)]

    assert draws(5) == draws(5)
    assert draws(5) != draws(6)
    assert draws(None) != draws(None)


@pytest.mark.parametrize("penalty", [1.3, 0.7])
def test_a_repetition_penalty_is_the_librarys_over_prompt_and_answer(penalty: float) -> None:
    prompt = [3, 4, 4, 9]
    draw = Draw(Sampling(temperature=0, repetition_penalty=penalty), prompt)
    seen = list(prompt)
    for seed in range(30):
        scores = logits(seed)
        scores[seen] += 6 if penalty > 1 else 0
        wanted = RepetitionPenaltyLogitsProcessor(penalty)(
            torch.tensor([seen]), torch.from_numpy(scores)[None]
        )
        token = draw.next(scores).id
        assert token == int(wanted.argmax())
        seen.append(token)


def test_presence_and_frequency_count_the_answer_alone() -> None:
    scores = np.zeros(WORDS, np.float32)
    scores[[7, 8, 9]] = 1.0, 0.75, 0.5

    def answer(**given: float) -> list[int]:
        draw = Draw(Sampling(temperature=0, **given), [7] * 10)
        return [draw.next(scores).id for _ in range(6)]

    assert answer() == [7] * 6
    assert answer(presence_penalty=0.3) == [7, 8, 7, 7, 7, 7], "once a token, however often"
    assert answer(frequency_penalty=0.3) == [7, 8, 7, 9, 8, 7], "each time anew"
    assert answer(presence_penalty=-1, frequency_penalty=-1) == [7] * 6


def test_penalties_come_before_the_temperature() -> None:
    scores = np.zeros(WORDS, np.float32)
    scores[[7, 8]] = 10.0, 9.0
    draw = Draw(Sampling(temperature=0.01, presence_penalty=1.5, seed=1), [])
    assert [draw.next(scores).id for _ in range(2)] == [7, 8]


def test_logprobs_are_those_before_any_setting() -> None:
    scores = logits(3)
    wanted = torch.from_numpy(scores).double().log_softmax(-1)
    drawn = Draw(Sampling(temperature=2.0, top_k=3, repetition_penalty=1.5, logprobs=4, seed=1), [1]).next(
        scores
    )
    assert drawn.logprob == pytest.approx(float(wanted[drawn.id]))
    found = wanted.topk(4)
    assert [token for token, _ in drawn.top] == found.indices.tolist()
    assert [value for _, value in drawn.top] == pytest.approx(found.values.tolist())
    assert Draw(Sampling(temperature=0, logprobs=0), []).next(scores).top == ()
    assert Draw(Sampling(temperature=0), []).next(scores).logprob is None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_is_not_drawn_from(bad: float) -> None:
    scores = logits(1)
    scores[5] = bad
    with pytest.raises(NoNumber):
        Draw(Sampling(temperature=0), []).next(scores)
