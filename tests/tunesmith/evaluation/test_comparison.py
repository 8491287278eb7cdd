"""What is said of candidates: who is held against whom, which samples count, and that noise is called noise."""

from collections.abc import Iterator

import numpy as np
import pytest
from scored import sample_ids, scored

from tunesmith.evaluation import statistics
from tunesmith.evaluation.comparison import compare
from tunesmith.evaluation.results import CandidateResult, Comparison

COUNT = 128


def drawn(seed: int, *means: float, count: int = COUNT) -> list[list[float]]:
    """Scores of candidates on the same samples: marginal deviation 0.35, correlation 0.5."""
    generator = np.random.default_rng(seed)
    hard = generator.normal(0, 0.35 * 0.5**0.5, count)
    return [(0.5 + mean + hard + generator.normal(0, 0.35 * 0.5**0.5, count)).tolist() for mean in means]


def verdicts(comparison: Comparison) -> dict[tuple[str, str], str]:
    return {(pair.candidate, pair.against): pair.verdict for pair in comparison.pairs}


def test_each_against_the_base_and_the_best_against_each_other() -> None:
    rows = drawn(1, 0, 0.1, 0.4, 0.2)
    keys = ["base", "c-1", "c-2", "c-3"]
    found = compare([scored(key, row) for key, row in zip(keys, rows, strict=True)], split=sample_ids(COUNT))
    assert set(verdicts(found)) == {
        ("c-1", "base"), ("c-2", "base"), ("c-3", "base"), ("c-2", "c-1"), ("c-2", "c-3"),
    }  # fmt: skip
    pair = next(one for one in found.pairs if (one.candidate, one.against) == ("c-2", "base"))
    assert pair.difference == pytest.approx(np.mean(rows[2]) - np.mean(rows[0]))
    assert pair.low < pair.difference < pair.high
    assert pair.verdict == "better"
    assert found.recommended == "c-2"
    assert found.estimates["c-2"].mean == pytest.approx(np.mean(rows[2]))


def test_holm_counts_every_pair_of_which_the_best_was_chosen() -> None:
    """The best of eight leads the worst of eight also where all are alike."""
    rows = drawn(2, *[0.0] * 9)
    keys = ["base", *(f"c-{number}" for number in range(8))]
    found = compare([scored(key, row) for key, row in zip(keys, rows, strict=True)], split=sample_ids(COUNT))
    assert len(found.pairs) == 15
    least = min(found.pairs, key=lambda pair: pair.p_value)
    assert least.p_adjusted == pytest.approx(min(1, 36 * least.p_value))


def test_a_lead_that_is_noise_goes_to_the_earlier() -> None:
    hard = np.random.default_rng(3).normal(0, 0.3, COUNT)
    small = np.random.default_rng(4).normal(0, 0.1, COUNT)
    results = [
        scored("base", 0.3 + hard),
        scored("c-30", 0.601 + hard + small),
        scored("c-20", 0.6 + hard),
        scored("c-10", 0.35 + hard + small),
    ]
    found = compare(results, split=sample_ids(COUNT), order=["c-10", "c-20", "c-30"])
    assert found.recommended == "c-20"
    assert found.sentence is not None
    assert "c-20 is recommended" in found.sentence.en
    assert "c-30 has the best mean, but its lead over c-20 may be chance" in found.sentence.en
    assert "推荐 c-20" in found.sentence.zh


def test_the_order_decides_which_is_earlier() -> None:
    hard = np.random.default_rng(3).normal(0, 0.3, COUNT)
    small = np.random.default_rng(4).normal(0, 0.1, COUNT)
    results = [scored("a-20", 0.6 + hard + small), scored("b-10", 0.6 + hard)]
    assert compare(results, split=sample_ids(COUNT), order=["a-20", "b-10"]).recommended == "a-20"
    assert compare(results, split=sample_ids(COUNT), order=["b-10", "a-20"]).recommended == "b-10"
    assert compare(results, split=sample_ids(COUNT)).recommended == "b-10"  # by their steps


def test_an_earlier_one_that_does_not_beat_the_base_is_passed_over() -> None:
    """It may not be worse than the best by what is found; yet only what is shown to be better is recommended."""
    noise = np.random.default_rng(0).normal(0, 1, (2, COUNT))
    noise = (noise - noise.mean(axis=1, keepdims=True)) / noise.std(axis=1, keepdims=True) * 0.3
    hard = np.random.default_rng(3).normal(0, 0.3, COUNT)
    results = [
        scored("base", hard),
        scored("c-1", hard + 0.04 + noise[0]),
        scored("c-2", hard + 0.1 + noise[1]),
    ]
    found = compare(results, split=sample_ids(COUNT))
    assert verdicts(found) == {
        ("c-1", "base"): "no_difference_found",
        ("c-2", "base"): "better",
        ("c-2", "c-1"): "no_difference_found",
    }
    assert found.recommended == "c-2"


def test_where_none_beats_the_base_that_is_said() -> None:
    for worse, words in (
        (0.0, "No checkpoint is shown to be better"),
        (0.4, "even the best, c-1, is worse by"),
    ):
        rows = drawn(5, 0, -worse, -worse - 0.3)
        results = [scored(key, row) for key, row in zip(["base", "c-1", "c-2"], rows, strict=True)]
        found = compare(results, split=sample_ids(COUNT))
        assert found.recommended is None
        assert found.sentence is not None
        assert words in found.sentence.en


def test_where_no_sample_differs_they_are_equal() -> None:
    row = drawn(6, 0)[0]
    found = compare(
        [scored(key, row) for key in ("base", "c-1", "c-2")], split=sample_ids(COUNT), order=["c-1", "c-2"]
    )
    assert set(verdicts(found).values()) == {"equal"}
    assert {(pair.difference, pair.low, pair.high, pair.p_value) for pair in found.pairs} == {(0, 0, 0, 1)}
    assert found.recommended is None
    assert found.smallest_difference is None
    assert found.sentence is not None
    assert "scores the same on each of the 128 samples" in found.sentence.en


def test_samples_of_any_ones_training_rows_are_left_out_for_all() -> None:
    ids = sample_ids(COUNT)
    rows = drawn(7, 0, 0)
    learnt = [*(value + 5 for value in rows[1][:40]), *rows[1][40:]]
    results = [scored("base", rows[0]), scored("c-1", learnt, seen=ids[:40])]
    found = compare(results, split=ids)
    assert (found.samples, found.seen) == (88, 40)
    assert found.recommended is None
    assert compare([results[0], scored("c-1", learnt)], split=ids).recommended == "c-1"


def test_only_samples_that_all_have_a_score_of() -> None:
    ids = sample_ids(20)
    results = [scored("base", drawn(8, 0, count=20)[0]), scored("c-1", drawn(9, 0, count=12)[0])]
    found = compare(results, split=ids[:16])
    assert (found.samples, found.lacking) == (12, 4)
    assert compare([scored("base", [0.5, float("nan"), 0.5])], split=ids[:3]).samples == 2


def test_a_candidate_without_any_score_does_not_hide_the_others() -> None:
    rows = drawn(10, 0, 0.3)
    results = [scored("base", rows[0]), scored("c-1", rows[1]), scored("c-2", [])]
    found = compare(results, split=sample_ids(COUNT))
    assert found.recommended == "c-1"
    assert found.sentence is not None
    assert found.sentence.en.endswith("left out, having no composite: c-2.")


def test_one_alone_gets_scores_and_no_recommendation() -> None:
    found = compare([scored("c-1", drawn(11, 0)[0])], split=sample_ids(COUNT))
    assert found.recommended is None
    assert found.pairs == ()
    assert found.estimates["c-1"].low < found.estimates["c-1"].mean < found.estimates["c-1"].high
    assert found.sentence is not None
    assert "nothing is recommended, since there is nothing to compare it with" in found.sentence.en


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_too_few_samples_show_nothing(count: int) -> None:
    results = [scored("base", [0.1] * count), scored("c-1", [0.9] * count)]
    found = compare(results, split=sample_ids(count))
    assert found.recommended is None
    assert found.samples == count
    assert "better" not in verdicts(found).values()
    assert found.sentence is not None
    assert found.sentence.en.startswith("Nothing ")


def test_nothing_at_all_is_no_error() -> None:
    assert compare([], split=[]).recommended is None
    assert compare([scored("base", [])], split=sample_ids(3)).samples == 0


def test_repeats_are_averaged_before_the_test_and_their_spread_is_told() -> None:
    rows = drawn(12, 0, 0.2)
    noise = np.random.default_rng(13).normal(0, 0.1, (COUNT, 4))
    repeated = [
        (value + noise[number] - noise[number].mean()).tolist() for number, value in enumerate(rows[1])
    ]
    once = compare([scored("base", rows[0]), scored("c-1", rows[1])], split=sample_ids(COUNT))
    several = compare([scored("base", rows[0]), scored("c-1", repeated)], split=sample_ids(COUNT))
    assert several.pairs[0].difference == pytest.approx(once.pairs[0].difference)
    assert several.pairs[0].p_value == once.pairs[0].p_value
    assert several.pairs[0].samples == COUNT
    assert several.estimates["c-1"].repeat_spread == pytest.approx(0.1, rel=0.15)
    assert once.estimates["c-1"].repeat_spread is None


def test_the_order_of_candidates_and_answers_changes_no_figure() -> None:
    rows = drawn(14, 0, 0.1, 0.12)
    results = [scored(key, row) for key, row in zip(["base", "c-1", "c-2"], rows, strict=True)]
    turned = [one.model_copy(update={"answers": one.answers[::-1]}) for one in reversed(results)]
    assert compare(results, split=sample_ids(COUNT)) == compare(turned, split=set(sample_ids(COUNT)))


def test_a_comparison_says_the_smallest_difference_it_can_find() -> None:
    found = compare(
        [scored(key, row) for key, row in zip(["base", "c-1"], drawn(15, 0, 0), strict=True)],
        split=sample_ids(COUNT),
    )
    assert found.smallest_difference == pytest.approx(2.82 * 0.35 / COUNT**0.5, rel=0.15)
    assert found.sentence is not None
    assert f"a difference below {found.smallest_difference:.3f} is often not found" in found.sentence.en


def simulated(
    difference: float, sets: int, *, others: int = 0, base: bool = True
) -> Iterator[list[CandidateResult]]:
    for seed in range(sets):
        rows = drawn(1000 + seed, *[0.0] * (others + 1), difference)
        keys = ["base" if base else "c-0", *(f"c-{number}" for number in range(1, others + 2))]
        yield [scored(key, row) for key, row in zip(keys, rows, strict=True)]


def winners(sets: Iterator[list[CandidateResult]], resamples: int) -> int:
    """In how many sets any is called better than another."""
    found = (compare(results, split=sample_ids(COUNT), resamples=resamples) for results in sets)
    return sum(any(pair.verdict == "better" for pair in one.pairs) for one in found)


def test_noise_is_not_called_a_winner_and_a_difference_is_found() -> None:
    """Of 200 sets without a difference at most 18 have a winner; of 200 with one of 0.1 at least 160."""
    assert winners(simulated(0.0, 200), 250) <= 18
    assert winners(simulated(0.1, 200), 250) >= 160


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("base", [True, False])
def test_the_same_with_every_draw_and_with_eight_checkpoints(base: bool) -> None:
    """Where only the pairs that are shown are counted, eight checkpoints alone have a winner in 24 of 200."""
    assert winners(simulated(0.0, 200, base=base), statistics.RESAMPLES) <= 18
    assert winners(simulated(0.1, 200, base=base), statistics.RESAMPLES) >= 160
    assert winners(simulated(0.0, 200, others=7 if base else 6, base=base), 1000) <= 18
