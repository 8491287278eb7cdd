"""Which candidate is best, whether the difference is real, and whether any is better than the base.

Evaluation is a paired experiment: the same samples for all, so that each pair of candidates is compared by what they
scored on the very same questions. Knows scores and statistics; knows nothing of how an answer is made.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tunesmith.evaluation import statistics
from tunesmith.evaluation.results import (
    COMPOSITE,
    CandidateResult,
    Comparison,
    Estimate,
    Pair,
    Split,
    by_sample,
)
from tunesmith.evaluation.scores.info import INFO
from tunesmith.evaluation.sentences import sentence

_DRAWS_A_PAIR = 200
"""So many draws a pair let the smallest p of a test stay below 5 % after Holm."""
_MOST_DRAWS = 200_000


@dataclass(frozen=True)
class Scores:
    """A score of several candidates on the samples that all of them have it of, and that none was trained on."""

    samples: tuple[str, ...]
    values: Mapping[str, tuple[float, ...]]
    """By candidate, in the order of the samples: the mean over repeats."""
    seen: int
    lacking: int
    sign: Literal[1, -1] = 1
    """-1 where less of the score is better."""

    def differences(self, candidate: str, against: str) -> list[float]:
        """How much better one is than another, sample by sample; 0 where they are equal but for rounding."""
        pairs = zip(self.values[candidate], self.values[against], strict=True)
        found = [self.sign * (one - other) for one, other in pairs]
        return [0.0 if abs(difference) <= statistics.EQUAL else difference for difference in found]


def scores_of(results: Sequence[CandidateResult], score: str, split: Collection[str]) -> Scores:
    """The samples that can be compared, in the order of their ids, with each candidate's score.

    A candidate that has the score of no sample at all is left out, instead of leaving nothing to compare.

    Args:
        results: The candidates.
        score: Which score.
        split: Ids of the samples to use.
    """
    found = {one.candidate.key: by_sample(one, score) for one in results}
    trained_on = {sample for one in results for sample in one.seen}
    usable = sorted(set(split) - trained_on)
    found = {key: values for key, values in found.items() if any(sample in values for sample in usable)}
    common = [sample for sample in usable if all(sample in values for values in found.values())]
    if not found:
        common = []
    return Scores(
        samples=tuple(common),
        values={key: tuple(values[sample] for sample in common) for key, values in found.items()},
        seen=len(set(split) & trained_on),
        lacking=len(usable) - len(common),
        sign=-1 if score in INFO and INFO[score].better == "lower" else 1,
    )


def compare(
    results: Sequence[CandidateResult],
    *,
    score: str = COMPOSITE,
    split: Collection[str],
    of: Split = "validation",
    order: Sequence[str] = (),
    seed: int = 0,
    resamples: int = statistics.RESAMPLES,
) -> Comparison:
    """Compare candidates on the same samples, and say which one to take.

    Each checkpoint is tested against the base, and the one with the best mean against each other checkpoint. Which one
    that is was seen in the data: the best of eight leads the worst of eight also where all are alike. So Holm counts
    every pair of checkpoints that could have become one of these (8 checkpoints and a base: 36, not 15). Simulated with
    128 samples and no difference, something is then found 4 times in 100 with 8 checkpoints and no base, where counting
    only the pairs that are shown finds something 12 times.

    The recommendation: of the checkpoints that are shown to be better than the base, the earliest that is not shown
    to be worse than the best one. An earlier one was trained for less, and has forgotten less. Where none is shown to
    be better than the base, nothing is recommended rather than the base: what is recommended becomes the default of
    chat and packaging, which need a checkpoint, and there the user shall decide. Without a base it is the earliest that
    is not shown to be worse than the best. Of one candidate alone, and of fewer than six samples, nothing is; nor of
    samples of another split than `validation`.

    Args:
        results: The candidates, the base among them or not.
        score: Which score is compared.
        split: Ids of the samples to use; those in any candidate's training rows are left out.
        of: Which split they are of; of another one than `validation` nothing is recommended.
        order: Keys from the earliest to the latest checkpoint; those it does not name come behind, by their steps.
        seed: Of the draws.
        resamples: How many draws an interval and a test take at least.
    """
    scores = scores_of(results, score, split)
    taken = _ordered([one for one in results if one.candidate.key in scores.values], order)
    base = next((one.candidate.key for one in taken if one.candidate.is_base), None)
    checkpoints = [one.candidate.key for one in taken if one.candidate.key != base]
    count = len(scores.samples)
    found = Comparison(score=score, split=of, samples=count, seen=scores.seen, lacking=scores.lacking)
    if count < 2:
        return found.model_copy(update={"sentence": sentence(found, results, None, None)})

    means = {key: scores.sign * math.fsum(values) / count for key, values in scores.values.items()}
    best = max(checkpoints, key=means.__getitem__, default=None)  # of several the earliest
    asked = [(key, base) for key in checkpoints if base is not None]
    asked += [(best, key) for key in checkpoints if best is not None and key != best]
    could_be = math.comb(len(checkpoints), 2) + (len(checkpoints) if base is not None else 0)
    rows = [scores.differences(candidate, against) for candidate, against in asked]
    keys = [one.candidate.key for one in taken]
    intervals = statistics.intervals(
        [*(scores.values[key] for key in keys), *rows], seed=seed, resamples=resamples
    )
    draws = max(resamples, min(_DRAWS_A_PAIR * could_be, _MOST_DRAWS))
    p_values = statistics.p_values(rows, seed=seed, draws=draws) if rows else []
    tested = zip(
        asked, rows, intervals[len(keys) :], p_values, statistics.holm(p_values, could_be), strict=True
    )
    pairs = tuple(_pair(*each) for each in tested)
    level = statistics.LEVEL / max(1, could_be)
    may_recommend = of == "validation" and len(taken) > 1 and count >= statistics.FEWEST
    found = found.model_copy(
        update={
            "estimates": {
                one.candidate.key: Estimate(
                    mean=interval.mean,
                    low=interval.low,
                    high=interval.high,
                    repeat_spread=_repeat_spread(one, score, scores.samples),
                )
                for one, interval in zip(taken, intervals, strict=False)
            },
            "pairs": pairs,
            "smallest_difference": statistics.smallest_difference(_pooled(rows), count, level=level),
            "recommended": _recommended(checkpoints, best, base, pairs) if may_recommend else None,
        }
    )
    return found.model_copy(update={"sentence": sentence(found, results, best, base)})


def _pair(
    asked: tuple[str, str],
    differences: Sequence[float],
    interval: statistics.Interval,
    p_value: float,
    p_adjusted: float,
) -> Pair:
    return Pair(
        candidate=asked[0],
        against=asked[1],
        samples=len(differences),
        difference=interval.mean,
        low=interval.low,
        high=interval.high,
        p_value=p_value,
        p_adjusted=p_adjusted,
        verdict=_verdict(differences, interval.mean, p_adjusted),
    )


def _pooled(rows: Sequence[Sequence[float]]) -> float:
    """The standard deviation of the differences, over those pairs that differ at all."""
    spreads = [statistics.spread(row) for row in rows if not statistics.is_equal(row)]
    return math.sqrt(math.fsum(value**2 for value in spreads) / len(spreads)) if spreads else 0.0


def _ordered(results: Sequence[CandidateResult], order: Sequence[str]) -> list[CandidateResult]:
    places = {key: place for place, key in enumerate(order)}
    return sorted(
        results,
        key=lambda one: (
            not one.candidate.is_base,
            places.get(one.candidate.key, len(places)),
            one.candidate.step,
        ),
    )


def _verdict(
    differences: Sequence[float], mean: float, p_adjusted: float
) -> Literal["better", "worse", "no_difference_found", "equal"]:
    if statistics.is_equal(differences):
        return "equal"
    if p_adjusted > statistics.LEVEL:
        return "no_difference_found"
    return "better" if mean > 0 else "worse"


def _recommended(
    checkpoints: Sequence[str], best: str | None, base: str | None, pairs: Sequence[Pair]
) -> str | None:
    verdicts = {(pair.candidate, pair.against): pair.verdict for pair in pairs}
    for key in checkpoints:  # from the earliest
        beats_base = base is None or verdicts[key, base] == "better"
        is_as_good = key == best or verdicts[best or "", key] != "better"
        if beats_base and is_as_good:
            return key
    return None


def _repeat_spread(result: CandidateResult, score: str, samples: Collection[str]) -> float | None:
    """The standard deviation between repeats of a sample, pooled over samples; None where none was repeated."""
    wanted = set(samples)
    found: dict[str, list[float]] = {}
    for answer in result.answers:
        if answer.sample_id in wanted and score in answer.scores:
            found.setdefault(answer.sample_id, []).append(answer.scores[score])
    several = [values for values in found.values() if len(values) > 1]
    if not several:
        return None
    squares = math.fsum(statistics.spread(values) ** 2 * (len(values) - 1) for values in several)
    return math.sqrt(squares / sum(len(values) - 1 for values in several))
