"""The composite: one figure of several scores, by weights that may be changed. Knows names and numbers."""

import math
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from tunesmith.errors import InvalidInput
from tunesmith.evaluation.results import COMPOSITE, CandidateResult, Text, by_sample
from tunesmith.evaluation.scores.info import INFO
from tunesmith.evaluation.scores.likelihood import perplexity_share
from tunesmith.spec.problems import did_you_mean

DEFAULT_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"similarity": 0.35, "keyword_coverage": 0.20, "perplexity": 0.20, "format": 0.15, "length": 0.10}
)
Band = Literal["excellent", "good", "average", "poor"]
BANDS: Mapping[Band, float] = MappingProxyType({"excellent": 0.8, "good": 0.6, "average": 0.4, "poor": 0.0})
"""From which composite on a band begins."""
NOTHING_WEIGHTED = "None of the scores that have a weight is there."
_TURNED = frozenset({"repetition"})


def check_weights(weights: Mapping[str, float], custom: Collection[str] = ()) -> dict[str, float]:
    """Weights that can be used: those above 0, as they are given.

    Args:
        weights: A name of a score or of a custom scorer, and its weight; they need not add up to 1.
        custom: Names of custom scorers.

    Raises:
        InvalidInput: A name is unknown, a weight is no number or below 0, or none is above 0.
    """
    known = [*(name for name, info in INFO.items() if info.is_weighable), *custom]
    for name, weight in weights.items():
        if name not in known:
            meant = did_you_mean(name, known)
            raise InvalidInput(
                f"There is no score `{name[:100]}` that could have a weight.",
                field="weights",
                hint=(f"Did you mean `{meant}`? " if meant else "") + f"Known: {', '.join(known)}.",
            )
        if (
            isinstance(weight, bool)
            or not isinstance(weight, int | float)
            or not math.isfinite(weight)
            or weight < 0
        ):
            raise InvalidInput(f"The weight of `{name}` must be a number from 0 on.", field="weights")
    used = {name: float(weight) for name, weight in weights.items() if weight > 0}
    if not used:
        raise InvalidInput("At least one weight must be above 0.", field="weights")
    return used


def share(name: str, value: float) -> float:
    """A score as it enters the composite: in [0, 1], higher is better."""
    if name == "perplexity":
        return perplexity_share(value)
    return min(max(1 - value if name in _TURNED else value, 0.0), 1.0)


def composite(
    values: Mapping[str, float], weights: Mapping[str, float] = DEFAULT_WEIGHTS
) -> tuple[float | None, dict[str, float]]:
    """The weighted mean of the scores that are there, and the weights that it was made with.

    sum(w_i s_i) / sum(w_i), s_i as `share` has it. Range [0, 1]; higher is better. The weight of a score that is
    missing is shared out among the others in proportion; the weights that are returned add up to 1. Source: our own.

    Returns:
        None and no weights where no score that has a weight is there.
    """
    there = {
        name: weight
        for name, weight in weights.items()
        if weight > 0 and math.isfinite(values.get(name, math.nan))
    }
    total = sum(there.values())
    if not total:
        return None, {}
    used = {name: weight / total for name, weight in there.items()}
    return math.fsum(weight * share(name, values[name]) for name, weight in used.items()), used


def shared_out(weights: Mapping[str, float], used: Mapping[str, float]) -> Text | None:
    """What is to be said where weights were shared out; None where every score was there."""
    missing = [name for name, weight in weights.items() if weight > 0 and name not in used]
    if not missing:
        return None
    if not used:
        return Text(
            en="There is no composite: none of the scores that have a weight was measured.",
            zh="没有综合分：有权重的指标均未测得。",
        )
    en = [INFO[name].en if name in INFO else name for name in missing]
    zh = [INFO[name].zh if name in INFO else name for name in missing]
    return Text(
        en=f"Not measured: {', '.join(en)}. What weight that had was shared out in proportion: "
        + ", ".join(
            f"{INFO[name].en if name in INFO else name} {weight:.2f}" for name, weight in used.items()
        )
        + ".",
        zh=f"未测得：{'、'.join(zh)}。其权重已按比例分给其余指标："
        + "、".join(
            f"{INFO[name].zh if name in INFO else name} {weight:.2f}" for name, weight in used.items()
        )
        + "。",
    )


def band(value: float) -> Band:
    """The band of a composite: excellent from 0.8 on, good from 0.6, average from 0.4, else poor."""
    # A sum of shares may miss 0.8 by the last digit.
    return next((name for name, least in BANDS.items() if value >= least - 1e-9), "poor")


def recompose(
    results: Sequence[CandidateResult], weights: Mapping[str, float] = DEFAULT_WEIGHTS
) -> tuple[CandidateResult, ...]:
    """Results with their composites, means and bands made anew, for other weights or for a comparison.

    Of a sample, the scores that some candidate's answer has not count for none of them: else an answer that an embedder
    cannot read would be compared without the score that it would have lost by.
    """
    there: dict[str, set[str]] = {}
    for result in results:
        for answer in result.answers:
            has = {name for name, value in answer.scores.items() if math.isfinite(value)}
            there.setdefault(answer.sample_id, set(weights)).intersection_update(has)
    return tuple(_recomposed(result, there, weights) for result in results)


def _recomposed(
    result: CandidateResult, there: Mapping[str, Collection[str]], weights: Mapping[str, float]
) -> CandidateResult:
    answers = []
    for answer in result.answers:
        common = {name: value for name, value in answer.scores.items() if name in there[answer.sample_id]}
        whole, _ = composite(common, weights)
        scores = {name: value for name, value in answer.scores.items() if name != COMPOSITE}
        skipped = {name: reason for name, reason in answer.skipped.items() if name != COMPOSITE}
        if whole is None:
            skipped[COMPOSITE] = NOTHING_WEIGHTED
        else:
            scores[COMPOSITE] = whole
        answers.append(answer.model_copy(update={"scores": scores, "skipped": skipped}))
    changed = result.model_copy(update={"answers": tuple(answers)})
    return changed.model_copy(update=dict(zip(("means", "band"), means_of(changed), strict=True)))


def means_of(result: CandidateResult) -> tuple[dict[str, float], Band | None]:
    """The mean of each score over samples (repeats of a sample first), and the composite's band."""
    every = {name for answer in result.answers for name in answer.scores}
    means = {}
    for name in sorted(every):
        if values := by_sample(result, name).values():
            means[name] = math.fsum(values) / len(values)
    return means, band(means[COMPOSITE]) if COMPOSITE in means else None
