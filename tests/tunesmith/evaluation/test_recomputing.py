"""Statistics and composites are made anew from the scores that are there."""

import numpy as np
import pytest
from scored import sample_ids

from tunesmith.evaluation.comparison import compare
from tunesmith.evaluation.recomputing import recompute
from tunesmith.evaluation.results import (
    Answer,
    Candidate,
    CandidateResult,
    Comparison,
    EvaluationResult,
    Sample,
    Turn,
)

COUNT = 60


def found() -> EvaluationResult:
    """Of two checkpoints one is better by format, the other by similarity; on `train` the other way round."""
    generator = np.random.default_rng(1)
    candidates = []
    for place, (similarity, form) in enumerate([(0.3, 0.3), (0.5, 0.2), (0.2, 0.5)]):
        answers = []
        for number, name in enumerate(sample_ids(COUNT)):
            values = {"similarity": similarity, "format": form, "perplexity": 30.0 - 20 * similarity}
            if number >= COUNT // 2:
                values["similarity"] = 0.7 - similarity
            scores = {key: float(value + generator.normal(0, 0.02)) for key, value in values.items()}
            answers.append(Answer(sample_id=name, text="", tokens=1, finish_reason="stop", scores=scores))
        candidate = Candidate(key=f"c-{place}" if place else "base", label="", step=place, is_base=not place)
        candidates.append(CandidateResult(candidate=candidate, answers=tuple(answers)))
    samples = tuple(
        Sample(
            id=name,
            split="validation" if number < COUNT // 2 else "train",
            turns=(Turn(role="user", content="?"),),
            reference="",
        )
        for number, name in enumerate(sample_ids(COUNT))
    )
    return EvaluationResult(samples=samples, candidates=tuple(candidates), weights={"similarity": 1.0})


def recommended(result: EvaluationResult) -> str | None:
    assert result.comparison is not None
    return result.comparison.recommended


def test_other_weights_recommend_another() -> None:
    by_similarity = recompute(found())
    assert recommended(by_similarity) == "c-1"
    by_format = recompute(by_similarity, weights={"format": 2.0})
    assert recommended(by_format) == "c-2"
    assert by_format.weights == {"format": 2.0}
    one = by_format.candidates[2]
    assert one.means["composite"] == pytest.approx(one.means["format"])
    assert one.band == "average"
    assert recompute(by_format, weights={"similarity": 1.0}) == by_similarity


def test_the_same_again_is_the_same_to_the_last_figure() -> None:
    """With the seed of before: other draws gave other ends of intervals beside the same answers."""
    made = found().model_copy(update={"settings": {"seed": 7}})
    ids = [one.id for one in made.samples if one.split == "validation"]
    compared = compare(recompute(made).candidates, split=ids, seed=7)
    assert recompute(made.model_copy(update={"comparison": compared})).comparison == compared
    assert compared != compare(recompute(made).candidates, split=ids)


def test_of_another_split_nothing_is_recommended() -> None:
    made = found().model_copy(update={"comparison": Comparison(split="train")})
    result = recompute(made)
    assert result.comparison is not None
    assert (result.comparison.split, result.comparison.samples) == ("train", COUNT // 2)
    assert {(one.candidate, one.verdict) for one in result.comparison.pairs} >= {("c-2", "better")}
    assert recommended(result) is None
    assert result.comparison.sentence is not None
    assert "is recommended:" not in result.comparison.sentence.en
    assert "Nothing is recommended, for these samples are of `train`" in result.comparison.sentence.en
    assert "不作推荐" in result.comparison.sentence.zh
    assert recompute(result) == result


def test_less_perplexity_is_better() -> None:
    result = recompute(found(), score="perplexity")
    assert result.comparison is not None
    assert recommended(result) == "c-1"
    pair = result.comparison.pairs[0]
    assert (pair.candidate, pair.verdict) == ("c-1", "better")
    assert pair.difference == pytest.approx(4, abs=0.1)
    assert result.comparison.estimates["c-1"].mean == pytest.approx(20, abs=0.1)


def test_without_weights_composites_stay() -> None:
    made = recompute(found()).model_copy(update={"weights": {}})
    assert recompute(made).candidates == made.candidates
