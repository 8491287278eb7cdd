"""Intervals, tests and sizes against values that are known, and against their own promises by simulation."""

import itertools
import math
import random
from collections.abc import Sequence

import numpy as np
import pytest

from tunesmith.evaluation import statistics


def p_value(row: Sequence[float], **more: int) -> float:
    (found,) = statistics.p_values([row], **more)
    return found


@pytest.mark.parametrize(
    ("freedom", "share", "value"),
    [
        (1, 0.975, 12.7062), (2, 0.975, 4.3027), (3, 0.975, 3.1824), (5, 0.8, 0.9195),
        (9, 0.975, 2.2622), (10, 0.95, 1.8125), (127, 0.975, 1.9788), (10_000, 0.975, 1.9602),
    ],
)  # fmt: skip
def test_students_t_is_as_in_the_tables(freedom: int, share: float, value: float) -> None:
    assert statistics.student(share, freedom) == pytest.approx(value, abs=3e-4)


def test_few_samples_are_tested_exactly() -> None:
    """Against every assignment of signs, written out."""
    differences = [0.3, -0.1, 0.25, 0.0, 0.4, 0.05, 0.31]
    signs = list(itertools.product((1, -1), repeat=len(differences)))
    far = sum(
        abs(sum(map(math.prod, zip(sign, differences, strict=True)))) >= abs(sum(differences)) - 1e-12
        for sign in signs
    )
    assert p_value(differences) == pytest.approx(far / len(signs))
    assert p_value([0.1] * 5) == 2 / 32
    assert p_value([0.1] * 8) == p_value([-0.1] * 8) == 2 / 256


def test_drawn_signs_agree_with_all_of_them() -> None:
    generator = np.random.default_rng(5)
    row = generator.normal(0.1, 0.35, 16)
    signs = np.array(list(itertools.product((1, -1), repeat=16)))
    exact = float((np.abs(signs @ row) >= abs(row.sum()) - 1e-12).mean())
    assert p_value(row.tolist()) == pytest.approx(exact, abs=0.015)


def test_where_no_sample_differs_nothing_is_nan() -> None:
    """The t test and BCa answer NaN there, a corrected McNemar 0."""
    for count in (2, 5, 128):
        assert p_value([0.0] * count) == 1
        assert statistics.interval([0.0] * count) == (0, 0, 0)
        assert statistics.is_equal([0.0] * count)
    assert statistics.is_equal([0.1 + 0.2 - 0.3])
    assert not statistics.is_equal([0.0, 1e-6])


def test_the_same_difference_everywhere_has_no_width_and_is_found() -> None:
    found = statistics.interval([0.1] * 20)
    assert found == pytest.approx((0.1, 0.1, 0.1))
    assert p_value([0.1] * 20) < 0.001


def test_draws_are_seeded() -> None:
    row = np.random.default_rng(1).normal(0.05, 0.3, 40).tolist()
    assert statistics.interval(row, seed=3) == statistics.interval(row, seed=3)
    assert statistics.interval(row, seed=3) != statistics.interval(row, seed=4)
    assert p_value(row, seed=3) == p_value(row, seed=3)


def test_rows_together_are_as_each_alone() -> None:
    rows = np.random.default_rng(2).normal(0.05, 0.3, (3, 40)).tolist()
    alone = [statistics.interval(row) for row in rows]
    for one, together in zip(alone, statistics.intervals(rows), strict=True):
        assert one == pytest.approx(together)
    assert statistics.p_values(rows) == [p_value(row) for row in rows]


@pytest.mark.parametrize("count", [8, 40])
def test_an_interval_holds_the_true_mean(count: int) -> None:
    """95 times in 100; the plain percentile interval of 8 samples does so 87 times."""
    generator = np.random.default_rng(7)
    rows = generator.normal(0, 0.35, (600, count)).tolist()
    found = statistics.intervals(rows, resamples=1500)
    share = sum(one.low <= 0 <= one.high for one in found) / len(found)
    assert 0.92 <= share <= 0.98


def test_an_interval_leans_with_the_skew() -> None:
    row = np.random.default_rng(1).exponential(1, 60)
    found = statistics.interval(row.tolist())
    assert found.high - found.mean > 1.05 * (found.mean - found.low)


def test_holm_is_as_in_its_paper() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.01, 0.04], among=10) == pytest.approx([0.1, 0.36])
    assert statistics.holm([0.9, 0.8]) == [1, 1]
    assert statistics.holm([]) == []


def test_the_smallest_difference_is_found_four_times_in_five() -> None:
    generator = np.random.default_rng(11)
    least = statistics.smallest_difference(0.35, 60)
    assert least is not None
    rows = generator.normal(least, 0.35, (500, 60)).tolist()
    found = sum(p <= 0.05 for p in statistics.p_values(rows, draws=999)) / len(rows)
    assert 0.75 <= found <= 0.85


def test_nothing_is_said_of_what_cannot_be_found() -> None:
    assert statistics.smallest_difference(0.35, 5) is None
    assert statistics.smallest_difference(0.35, 6, level=0.05 / 15) is None
    assert statistics.smallest_difference(0.0, 128) is None


def test_as_many_samples_as_are_needed_suffice() -> None:
    count = statistics.samples_needed(0.35, 0.05)
    assert count is not None
    assert count == pytest.approx((2.8016 * 0.35 / 0.05) ** 2, rel=0.01)
    rows = np.random.default_rng(13).normal(0.05, 0.35, (300, count)).tolist()
    shown = sum(one.low > 0 for one in statistics.intervals(rows, resamples=800)) / 300
    assert 0.73 <= shown <= 0.87
    assert statistics.samples_needed(0.35, 0.0) is None


def test_many_samples_are_drawn_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded, and every draw is made."""
    row = np.random.default_rng(3).normal(0.02, 0.3, 100).tolist()
    whole = statistics.interval(row, resamples=999), p_value(row, draws=999)
    monkeypatch.setattr(statistics, "_BLOCK", 1000)
    parts = statistics.interval(row, resamples=999), p_value(row, draws=999)
    assert parts[0] == pytest.approx(whole[0], abs=1e-9)
    assert parts[1] == pytest.approx(whole[1], abs=0.06)


def test_of_very_many_samples_intervals_and_tests_are_those_of_each_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some are drawn together, which must change nothing but the time."""
    draw = random.Random(5)
    rows = [[draw.gauss(shift, 0.3) for _ in range(7_001)] for shift in (0.0, 0.0075, 0.5)]
    grouped, tests = statistics.intervals(rows, seed=1), statistics.p_values(rows, seed=1)
    monkeypatch.setattr(statistics, "_MOST_UNITS", 10_000)
    alone, each = statistics.intervals(rows, seed=1), statistics.p_values(rows, seed=1)
    for one, other in zip(grouped, alone, strict=True):
        assert one.mean == pytest.approx(other.mean, abs=1e-12)
        assert one.high - one.low == pytest.approx(other.high - other.low, rel=0.08)
        assert one.low == pytest.approx(other.low, abs=0.001)
    assert tests == pytest.approx(each, abs=0.05)


def test_samples_that_are_drawn_together_keep_the_level() -> None:
    found = 0
    for trial in range(200):
        draw = random.Random(trial)
        row = [draw.choice((-1.0, 0.0, 0.0, 1.0)) for _ in range(2_501)]
        found += p_value(row, seed=trial, draws=400) < 0.05
    assert found <= 18
