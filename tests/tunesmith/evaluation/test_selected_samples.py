"""Which samples are asked: a selection that stays."""

import pytest

from tunesmith.errors import InvalidInput
from tunesmith.evaluation.results import Sample, Turn
from tunesmith.evaluation.sample_rows import content_id
from tunesmith.evaluation.samples import select


def many(count: int) -> list[Sample]:
    found = []
    for number in range(count):
        turns = (Turn(role="user", content=f"What is {number}?"),)
        found.append(
            Sample(id=content_id(turns, "x"), row=number + 1, turns=turns, reference="x", split="validation")
        )
    return found


@pytest.mark.parametrize(
    ("count", "ratio", "minimum", "maximum", "expected"),
    [
        (200, 1.0, 1, 128, 128),
        (100, 0.3, 5, 20, 20),
        (10, 0.3, 5, 20, 5),
        (3, 0.3, 5, 20, 3),
        (100, 0.07, 1, 50, 7),
        (100, 0.071, 1, 50, 8),
        (0, 0.5, 5, 20, 0),
    ],
)
def test_how_many_are_asked(count: int, ratio: float, minimum: int, maximum: int, expected: int) -> None:
    chosen = select(many(count), ratio=ratio, minimum=minimum, maximum=maximum, seed=42)
    assert len(chosen) == expected
    assert [sample.row for sample in chosen] == sorted(sample.row for sample in chosen)


def test_one_sample_more_changes_one_at_most() -> None:
    every = many(400)
    for ratio, maximum in ((1.0, 128), (0.3, 1000), (0.25, 60)):
        last: set[str] = set()
        for count in range(100, 140):
            # It may be put anywhere: neither its place nor the others' matters.
            samples = [every[count - 1], *every[: count - 1]] if count % 2 else every[:count]
            now = {one.id for one in select(samples, ratio=ratio, minimum=5, maximum=maximum, seed=7)}
            if last:
                assert len(now - last) <= 1
                assert len(last - now) <= 1
            last = now


def test_the_seed_chooses_and_chooses_the_same_again() -> None:
    every = many(100)
    picks = [
        [one.id for one in select(every, ratio=0.2, minimum=1, maximum=50, seed=seed)] for seed in (1, 1, 2)
    ]
    assert picks[0] == picks[1] != picks[2]
    # Written down: the choice is part of what makes results comparable, from one version to the next.
    assert [one.row for one in select(many(10), ratio=0.3, minimum=1, maximum=5, seed=42)] == [3, 9, 10]


def test_only_the_split_is_asked() -> None:
    every = [one.model_copy(update={"split": "train"}) if one.row % 2 else one for one in many(10)]
    chosen = select(every, ratio=1.0, minimum=1, maximum=50, seed=1, split="train")
    assert {one.row % 2 for one in chosen} == {1}


@pytest.mark.parametrize(
    ("ratio", "minimum", "maximum"), [(0.0, 1, 5), (1.5, 1, 5), (0.5, 6, 5), (float("nan"), 1, 5)]
)
def test_contradictions_are_refused(ratio: float, minimum: int, maximum: int) -> None:
    with pytest.raises(InvalidInput):
        select(many(10), ratio=ratio, minimum=minimum, maximum=maximum, seed=1)
