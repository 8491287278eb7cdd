"""One figure of several scores: weights, bands, what is missing, and several candidates."""

import math

import pytest
from scored import EN, answer, result, sample

from tunesmith.errors import InvalidInput
from tunesmith.evaluation.comparison import compare
from tunesmith.evaluation.results import COMPOSITE
from tunesmith.evaluation.scores import (
    DEFAULT_WEIGHTS,
    INFO,
    ScoreOptions,
    band,
    check_weights,
    composite,
    means_of,
    recompose,
    score,
    shared_out,
)
from tunesmith.events import Scored


def test_the_composite_is_the_weighted_mean_with_perplexity_turned() -> None:
    values = {"similarity": 0.5, "keyword_coverage": 1.0, "perplexity": math.e, "format": 1.0, "length": 0.0}
    whole, used = composite(values)
    assert whole == pytest.approx(0.35 * 0.5 + 0.2 + 0.2 * 0.5 + 0.15)
    assert used == pytest.approx(dict(DEFAULT_WEIGHTS))
    assert composite({"repetition": 0.25}, {"repetition": 2})[0] == pytest.approx(0.75)


def test_a_missing_score_s_weight_is_shared_out_and_said() -> None:
    values = {"keyword_coverage": 1.0, "perplexity": 1.0, "format": 1.0, "length": 0.0}
    whole, used = composite(values)
    assert sum(used.values()) == pytest.approx(1)
    assert used["keyword_coverage"] == pytest.approx(0.2 / 0.65)
    assert whole == pytest.approx(0.55 / 0.65)
    said = shared_out(DEFAULT_WEIGHTS, used)
    assert said is not None
    assert "Semantic similarity" in said.en
    assert "语义相似度" in said.zh
    assert "0.31" in said.en
    assert shared_out(DEFAULT_WEIGHTS, dict(DEFAULT_WEIGHTS)) is None
    assert composite({}) == (None, {})


def test_every_score_that_enters_the_composite_is_a_share() -> None:
    assert set(DEFAULT_WEIGHTS) <= {name for name, info in INFO.items() if info.is_weighable}
    assert sum(DEFAULT_WEIGHTS.values()) == pytest.approx(1)
    for info in INFO.values():
        assert info.en
        assert info.zh
        assert info.about.en.endswith(".")
        assert info.about.zh.endswith("。")


@pytest.mark.parametrize(
    "weights",
    [
        {},
        {"format": 0},
        {"format": -1},
        {"format": math.nan},
        {"formt": 1},
        {"composite": 1},
        {"format": True},
    ],
)
def test_weights_that_cannot_be_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_weights(weights)
    assert refused.value.problems[0].field == "weights"


def test_weights_may_name_custom_scorers() -> None:
    assert check_weights({"mine": 1, "format": 0}, ["mine"]) == {"mine": 1.0}
    with pytest.raises(InvalidInput, match="formt") as refused:
        check_weights({"formt": 1})
    assert "`format`" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, "excellent"),
        (0.8, "excellent"),
        (0.79, "good"),
        (0.6, "good"),
        (0.4, "average"),
        (0.39, "poor"),
        (0, "poor"),
    ],
)
def test_bands_begin_where_they_are_said_to(value: float, expected: str) -> None:
    assert band(value) == expected


# --- several candidates


def test_a_score_that_one_has_not_counts_for_none_in_the_comparison() -> None:
    """An answer that no embedder can read would win by having no similarity."""
    readable = answer("a", scores={"similarity": 0.1, "format": 0.9})
    unreadable = answer("b", scores={"format": 0.9}, skipped={"similarity": "unknown tokens"})
    first, second = recompose([result("one", readable), result("two", unreadable)])
    assert first.answers[0].scores[COMPOSITE] == second.answers[0].scores[COMPOSITE] == pytest.approx(0.9)
    assert first.means["similarity"] == 0.1
    assert first.band == "excellent"
    (alone,) = recompose([result("one", readable)], {"similarity": 1.0})
    assert alone.answers[0].scores[COMPOSITE] == pytest.approx(0.1)
    assert alone.band == "poor"


def test_a_model_that_is_lost_ends_nothing() -> None:
    """A perplexity of exp(1e6) is cut; what is no number at all is no score. Each figure fits into an event."""
    expected = sample(EN)
    results = []
    for key, nll, near in (("base", 2.0, 0.5), ("lost", 1e6, math.nan)):
        answers = []
        for number in range(20):
            one = answer("Paris.", nll=nll + number, reference_tokens=1)
            scores, skipped = score(
                expected, one, ScoreOptions(given={"similarity": near, "coherence": math.inf})
            )
            assert all(map(math.isfinite, scores.values()))
            assert skipped["coherence"] == "The score is no number."
            assert ("similarity" in skipped) == (key == "lost")
            changed = {"sample_id": f"{number:016x}", "scores": scores, "skipped": skipped}
            answers.append(one.model_copy(update=changed))
        results.append(result(key, *answers))
    for one in recompose(results):
        means, found = means_of(one)
        assert means == one.means
        assert all(map(math.isfinite, means.values()))
        assert found is not None
        Scored(candidate="c", label="c", step=1, answered=20, total=20, cached=0, means=means)
    compared = compare(results, score="perplexity", split=[one.sample_id for one in results[0].answers])
    figures = [figure for pair in compared.pairs for figure in (pair.difference, pair.low, pair.high)]
    figures += [compared.estimates["lost"].mean, compared.estimates["lost"].high]
    assert all(map(math.isfinite, figures))
    assert compared.sentence is not None
    assert len(compared.sentence.en) < 500


def test_a_score_that_is_no_number_is_none() -> None:
    """Of results that were stored, too: one NaN made the candidate's mean, and every comparison, one."""
    answers = [
        answer("a", scores={"format": 0.5, "length": 1.0}),
        answer("b", scores={"format": math.nan, "length": 0.5}).model_copy(update={"sample_id": "b"}),
        answer("c", scores={"format": math.inf, "judge": math.nan}).model_copy(update={"sample_id": "c"}),
    ]
    (found,) = recompose([result("one", *answers)], {"format": 1.0, "length": 1.0})
    assert found.means == {"format": 0.5, "length": 0.75, "composite": pytest.approx(0.625)}
    assert [one.scores.get(COMPOSITE) for one in found.answers] == [0.75, 0.5, None]
