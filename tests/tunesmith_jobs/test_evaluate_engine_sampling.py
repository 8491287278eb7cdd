"""How a token is drawn: as transformers filters, with penalties as they are commonly meant."""

import math

import pytest
import torch

from tunesmith_jobs.evaluate.engine.sampling import Draw, Sampling, _kept

LOGITS = 3 * torch.randn(50, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p"),
    [(0, 1.0, 0.0), (7, 1.0, 0.0), (0, 0.8, 0.0), (0, 1.0, 0.1), (20, 0.9, 0.02), (1, 0.1, 0.9)],
)
def test_each_filter_leaves_what_its_name_says_of_what_the_one_before_left(
    top_k: int, top_p: float, min_p: float
) -> None:
    how = Sampling(max_new_tokens=1, temperature=0.7, top_k=top_k, top_p=top_p, min_p=min_p)
    weights = {token: math.exp(logit / 0.7) for token, logit in enumerate(LOGITS.tolist())}
    ordered = sorted(weights, key=lambda token: -weights[token])
    left = ordered[: top_k or None]
    total, mass, nucleus = sum(weights[token] for token in left), 0.0, []
    for token in left:
        if mass < top_p * total:
            nucleus.append(token)
        mass += weights[token]
    left = [token for token in nucleus if weights[token] >= min_p * weights[ordered[0]]]
    assert (len(left) < len(ordered)) == bool(top_k or top_p < 1 or min_p)
    total = sum(weights[token] for token in left)
    wanted = torch.zeros(len(LOGITS)).scatter(
        0, torch.tensor(left), torch.tensor([weights[token] / total for token in left])
    )
    torch.testing.assert_close(_kept(LOGITS, how), wanted)


def test_tokens_come_as_often_as_they_are_likely() -> None:
    how = Sampling(max_new_tokens=1, temperature=1.0)
    draw, count = Draw(how, [1], seed=3), 4000
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()
    times = torch.bincount(torch.tensor([draw.next(logits, []) for _ in range(count)]), minlength=4) / count
    assert (times - torch.tensor([0.1, 0.2, 0.3, 0.4])).abs().max() < 4 * math.sqrt(0.25 / count)


def test_a_seed_decides_the_draws() -> None:
    how = Sampling(max_new_tokens=1, temperature=1.0)

    def draws(seed: int) -> list[int]:
        draw = Draw(how, [1], seed)
        return [draw.next(LOGITS / 4, []) for _ in range(12)]

    assert draws(5) == draws(5)
    assert draws(5) != draws(6)


def test_repetition_divides_once_and_in_the_prompt_too() -> None:
    """Of tokens of the prompt and of the answer, whatever the sign of their logits."""
    how = Sampling(max_new_tokens=1, repetition_penalty=1.7)
    for seed in range(20):
        logits = torch.randn(30, generator=torch.Generator().manual_seed(seed))
        prompt, answer = [1, 2, 3, 3], [int(logits.argmax()), 5, 5]
        wanted = [
            one if token not in (*prompt, *answer) else one / 1.7 if one > 0 else one * 1.7
            for token, one in enumerate(logits.tolist())
        ]
        assert Draw(how, prompt).next(logits, answer) == wanted.index(max(wanted))


def test_presence_counts_once_and_in_the_answer_alone() -> None:
    how = Sampling(max_new_tokens=1, presence_penalty=1.0)
    logits = torch.tensor([2.0, 1.2, 0.1, 0.0])
    assert Draw(how, [0, 0, 0]).next(logits, []) == 0
    assert Draw(how, []).next(logits, [0]) == 1
    assert Draw(how, []).next(torch.tensor([2.0, 0.9, 0.1, 0.0]), [0, 0, 0]) == 0, (
        "once, however often it came"
    )
    assert Draw(Sampling(max_new_tokens=1, presence_penalty=-1.0), []).next(logits, [1]) == 1
