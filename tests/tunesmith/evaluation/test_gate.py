"""A release gate: passes only what is shown to lose no more than the margin, and says what would tell."""

import numpy as np
import pytest
from scored import sample_ids, scored

from tunesmith.errors import InvalidInput, NotFound
from tunesmith.evaluation.gate import GateResult, gate

COUNT = 128
HARD = np.random.default_rng(1).normal(0.5, 0.3, 4000)


def gated(difference: float, spread: float, count: int = COUNT, margin: float = 0.02) -> GateResult:
    """Scores whose differences have exactly this mean and deviation."""
    noise = np.random.default_rng(2).normal(0, 1, count)
    noise = (noise - noise.mean()) / noise.std(ddof=1) * spread
    results = [scored("base", HARD[:count]), scored("c-1", HARD[:count] + difference + noise)]
    return gate(results, "c-1", "base", margin, split=sample_ids(count))


def test_a_loss_over_the_margin_is_excluded() -> None:
    for difference in (0.1, 0.0, -0.01):
        found = gated(difference, 0.05)
        assert (found.verdict, found.exit_code, found.samples_needed) == ("pass", 0, None)
        assert found.low is not None
        assert found.low >= -0.02
        assert found.sentence.en.startswith("Pass")


def test_a_loss_over_the_margin_is_shown() -> None:
    found = gated(-0.1, 0.2)
    assert (found.verdict, found.exit_code, found.samples_needed) == ("loss", 1, None)
    assert found.high is not None
    assert found.high < -0.02


def test_between_it_cannot_tell_and_says_how_many_would() -> None:
    found = gated(0.0, 0.35)
    assert (found.verdict, found.exit_code) == ("cannot_tell", 2)
    assert found.samples_needed == pytest.approx((2.8016 * 0.35 / 0.02) ** 2, rel=0.01)
    assert f"some {found.samples_needed} samples would" in found.sentence.en
    assert f"约需 {found.samples_needed} 个样本" in found.sentence.zh
    assert gated(0.0, 0.35, count=found.samples_needed).verdict == "pass"


def test_a_loss_that_may_lie_within_the_margin_is_not_told_yet() -> None:
    """More samples would tell, so it is no verdict; but it is said."""
    found = gated(-0.025, 0.1)
    assert found.high is not None
    assert found.high < 0
    assert found.verdict == "cannot_tell"
    assert "a loss is shown, but not that it is over the margin" in found.sentence.en


def test_equal_answers_pass_without_a_margin() -> None:
    found = gated(0.0, 0.0, margin=0.0)
    assert (found.verdict, found.difference) == ("pass", 0)


def test_a_difference_on_the_margin_needs_no_number() -> None:
    found = gated(-0.02, 0.3)
    assert (found.verdict, found.samples_needed) == ("cannot_tell", None)
    assert "no number of samples would tell" in found.sentence.en


@pytest.mark.parametrize("count", [0, 1, 5])
def test_too_few_samples_pass_nothing(count: int) -> None:
    """Five equal answers show no more than five answers can."""
    results = [scored(key, HARD[:count]) for key in ("base", "c-1")]
    found = gate(results, "c-1", "base", split=sample_ids(count))
    assert (found.exit_code, found.samples_needed) == (2, 6)


def test_samples_of_the_training_rows_of_the_two_are_left_out_and_only_theirs() -> None:
    ids = sample_ids(COUNT)
    results = [
        scored("base", HARD[:COUNT]),
        scored("c-1", [*(HARD[:50] + 1), *(HARD[50:COUNT] - 0.1)], seen=ids[:50]),
        scored("c-2", HARD[:COUNT], seen=ids),
    ]
    found = gate(results, "c-1", "base", split=ids)
    assert (found.samples, found.verdict) == (78, "loss")


def test_what_is_asked_wrongly_is_refused() -> None:
    results = [scored("base", HARD[:9]), scored("c-1", HARD[:9])]
    for margin in (-0.01, float("nan"), float("inf")):
        with pytest.raises(InvalidInput, match="margin"):
            gate(results, "c-1", "base", margin, split=sample_ids(9))
    with pytest.raises(InvalidInput, match="against itself"):
        gate(results, "c-1", "c-1", split=sample_ids(9))
    with pytest.raises(NotFound, match="c-9") as refused:
        gate(results, "c-9", "base", split=sample_ids(9))
    assert refused.value.hint == "There are: `base`, `c-1`."
