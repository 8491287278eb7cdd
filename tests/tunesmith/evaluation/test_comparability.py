"""Results are comparable where all that decides a score is the same."""

from typing import Any

import pytest

from tunesmith.evaluation.comparability import batch_disagreement, comparable_key
from tunesmith.evaluation.results import Answer, Sample, Turn

SETTINGS = {"temperature": 0.0, "max_new_tokens": 32, "seed": 42}


def sample(name: str, **more: Any) -> Sample:
    return Sample(id=name * 16, turns=(Turn(role="user", content=name),), reference=name, **more)


SAMPLES = (sample("a"), sample("b"))


def test_a_key_is_of_the_set_and_of_all_that_decides() -> None:
    key = comparable_key(SAMPLES, "t", SETTINGS, "1")
    assert len(key) == 64
    assert comparable_key(SAMPLES[::-1], "t", dict(reversed(SETTINGS.items())), "1") == key
    others = [
        comparable_key(SAMPLES[:1], "t", SETTINGS, "1"),
        comparable_key((sample("a"), sample("b", split="train")), "t", SETTINGS, "1"),
        comparable_key(SAMPLES, "u", SETTINGS, "1"),
        comparable_key(SAMPLES, "t", {**SETTINGS, "seed": 43}, "1"),
        comparable_key(SAMPLES, "t", SETTINGS, "2"),
    ]
    assert len({key, *others}) == 6


def test_the_share_of_answers_that_another_batch_changes() -> None:
    def answer(sample_id: str, text: str, repeat: int = 0) -> Answer:
        return Answer(sample_id=sample_id, text=text, repeat=repeat, tokens=1, finish_reason="stop")

    batched = [answer("a", "x"), answer("a", "y", 1), answer("b", "z"), answer("c", "w")]
    assert batch_disagreement(batched, batched) == 0
    alone = [answer("a", "x"), answer("a", "x", 1), answer("b", "z"), answer("d", "w")]
    assert batch_disagreement(batched, alone) == pytest.approx(1 / 3)
    assert batch_disagreement(batched, [answer("d", "w")]) is None
