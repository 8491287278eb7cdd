"""All scores of one answer, and those that it has not, each with the reason. Knows which score needs what."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tunesmith.evaluation.results import COMPOSITE, Answer, Sample
from tunesmith.evaluation.scores.checks import parse_checks, passed
from tunesmith.evaluation.scores.classes import Classification, classify, label_of
from tunesmith.evaluation.scores.composite import DEFAULT_WEIGHTS, NOTHING_WEIGHTED, composite
from tunesmith.evaluation.scores.form import (
    format_match,
    keyword_coverage,
    keywords_of,
    length_ratio,
    repetition,
)
from tunesmith.evaluation.scores.likelihood import perplexity
from tunesmith.evaluation.scores.overlap import exact_match, rouge_l, token_f1
from tunesmith.evaluation.scores.text import units

NO_EMBEDDER = "There is no embedder."
NO_REFERENCE = "The reference answer is empty."
NO_WORDS = "The reference answer has no word."
NO_NUMBER = "The score is no number."
NOT_MEASURED = "The likelihood of the reference answer was not measured."

Scorer = Callable[[Sample, Answer], float | str]
"""A custom scorer: a score in [0, 1], or the reason why there is none."""


@dataclass(frozen=True)
class ScoreOptions:
    """What scoring needs besides a sample and its answer."""

    weights: Mapping[str, float] = field(default_factory=lambda: DEFAULT_WEIGHTS)
    """Of the composite; see `check_weights`."""
    given: Mapping[str, float | str] = field(default_factory=dict)
    """Scores of this answer that others measured (`similarity`, `coherence`, `judge`), or the reason why not."""
    custom: Mapping[str, Scorer] = field(default_factory=dict)
    """Custom scorers by name."""
    named_only: frozenset[str] = frozenset()
    """Those of them that score only samples whose `checks` name them."""
    labels: tuple[str, ...] = ()
    """The classes, where answers are classes; each sample's own label is one of them."""


_DEFAULTS = ScoreOptions()


def score(
    sample: Sample, answer: Answer, options: ScoreOptions = _DEFAULTS
) -> tuple[dict[str, float], dict[str, str]]:
    """The scores of an answer, the composite among them, and for those that it has not the reason.

    A pure function of what it is given but for custom scorers. `INFO` says what each score is. Every score is finite:
    what an embedder or a scorer gave as NaN is skipped, since one such number would make every mean one.

    Raises:
        InvalidInput: The sample names a check that does not exist. Whoever reads samples refuses them before.
    """
    found: dict[str, float | str] = {"similarity": NO_EMBEDDER, "coherence": NO_EMBEDDER, **options.given}
    found |= _against_the_reference(sample, answer)
    found["perplexity"] = _perplexity(answer)
    found["repetition"] = repetition(answer.text)
    found["finished"] = float(answer.finish_reason == "stop")
    if checks := parse_checks(sample.checks, options.custom):
        found["instructions"] = passed(answer.text, checks)
    if sample.label is not None:
        found["accuracy"] = float(_named(sample, answer, options.labels) == sample.label)
    for name, scorer in options.custom.items():
        if name not in options.named_only or name in sample.checks:
            found[name] = scorer(sample, answer)
    scores, skipped = dict[str, float](), dict[str, str]()
    for name, value in found.items():
        if isinstance(value, str):
            skipped[name] = value
        elif math.isfinite(value):
            scores[name] = float(value)
        else:
            skipped[name] = NO_NUMBER
    whole, _ = composite(scores, options.weights)
    if whole is None:
        skipped[COMPOSITE] = NOTHING_WEIGHTED
    else:
        scores[COMPOSITE] = whole
    return scores, skipped


def class_score(sample: Sample, answer: Answer) -> tuple[dict[str, float], dict[str, str]]:
    """The scores of a classifier's answer, which is the name of a class and nothing else.

    The composite is the accuracy: there is nothing to weigh. `perplexity` is 1 / the probability of the expected class.
    """
    accuracy = float(answer.text == sample.label)
    scores, skipped = {"accuracy": accuracy, COMPOSITE: accuracy}, dict[str, str]()
    measured = _perplexity(answer)
    if isinstance(measured, str):
        skipped["perplexity"] = measured
    elif math.isfinite(measured):
        scores["perplexity"] = measured
    else:
        skipped["perplexity"] = NO_NUMBER
    return scores, skipped


def classification(
    samples: Sequence[Sample], answers: Sequence[Answer], *, is_exact: bool = False
) -> Classification | None:
    """Accuracy, macro F1 and the confusion matrix of a candidate's answers; None where no sample has a label.

    Args:
        samples: All that were asked: their labels are the classes that an answer may name.
        answers: To all or some of them.
        is_exact: Whether an answer is the name of a class and nothing else, as a classifier's is.
    """
    by_id = {sample.id: sample for sample in samples if sample.label is not None}
    known = sorted({sample.label for sample in by_id.values() if sample.label is not None})
    pairs = []
    for answer in answers:
        sample = by_id.get(answer.sample_id)
        if sample is not None and sample.label is not None:
            named = answer.text if is_exact else _named(sample, answer, known)
            pairs.append((sample.label, named))
    return classify(pairs)


def cut_share(answers: Sequence[Answer]) -> float | None:
    """The share of answers that were cut at the limit, without a token that ends them; None where there is none.

    cut / all. Range [0, 1]; lower is better. The mean of `finished` is 1 minus this.
    """
    return sum(one.finish_reason == "length" for one in answers) / len(answers) if answers else None


def _against_the_reference(sample: Sample, answer: Answer) -> dict[str, float | str]:
    found: dict[str, float | str] = {}
    text, reference = answer.text, sample.reference
    keywords = sample.keywords if sample.keywords is not None else keywords_of(reference)
    found["keyword_coverage"] = keyword_coverage(text, keywords) if keywords else "There is no keyword."
    if not reference.strip():
        return found | dict.fromkeys(("format", "exact_match", "length", "rouge_l", "token_f1"), NO_REFERENCE)
    found |= {"format": format_match(text, reference), "exact_match": exact_match(text, reference)}
    if not units(reference):
        return found | dict.fromkeys(("length", "rouge_l", "token_f1"), NO_WORDS)
    return found | {
        "length": length_ratio(text, reference),
        "rouge_l": rouge_l(text, reference),
        "token_f1": token_f1(text, reference),
    }


def _perplexity(answer: Answer) -> float | str:
    if answer.nll is None or not answer.reference_tokens:
        return NOT_MEASURED
    try:
        return perplexity(answer.nll, answer.reference_tokens)
    except ValueError:
        return "The likelihood of the reference answer is no number."


def _named(sample: Sample, answer: Answer, labels: Sequence[str]) -> str | None:
    assert sample.label is not None
    return label_of(answer.text, labels if sample.label in labels else [*labels, sample.label])
