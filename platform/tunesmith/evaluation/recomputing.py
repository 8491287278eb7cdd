"""What was found, with other weights or by another score: from the scores that are there, without any model."""

from collections.abc import Mapping, Sequence

from tunesmith.evaluation.comparison import compare
from tunesmith.evaluation.results import COMPOSITE, EvaluationResult
from tunesmith.evaluation.scores.composite import recompose


def recompute(
    result: EvaluationResult,
    *,
    weights: Mapping[str, float] | None = None,
    score: str | None = None,
    order: Sequence[str] = (),
) -> EvaluationResult:
    """Composites, means, bands and the comparison made anew; answers and their other scores stay.

    Over the split, and with the seed, of before: with the weights and the score of before every figure is the same.

    Args:
        result: What was found.
        weights: Of the composite; those it was made with where None.
        score: Which score is compared; the one that was where None.
        order: Keys from the earliest to the latest checkpoint, as `compare` takes them.
    """
    before = result.comparison
    split = before.split if before else "validation"
    seed = result.settings.get("seed")
    used = dict(result.weights if weights is None else weights)
    candidates = recompose(result.candidates, used) if used else result.candidates
    comparison = compare(
        candidates,
        score=score or (before.score if before else COMPOSITE),
        split=[sample.id for sample in result.samples if sample.split == split],
        of=split,
        order=order,
        seed=seed if isinstance(seed, int) else 0,
    )
    return result.model_copy(update={"weights": used, "candidates": candidates, "comparison": comparison})
