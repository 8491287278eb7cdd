"""Answers that are classes: which one was said, and accuracy, macro F1 and the confusion matrix of many.

Knows texts and labels; knows no model.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.evaluation.scores.overlap import squad_tokens
from tunesmith.evaluation.scores.text import names


class Classification(BaseModel):
    """How well answers name the expected classes."""

    model_config = ConfigDict(frozen=True)

    accuracy: float = Field(description="Right answers / all; an answer that names no class is wrong.")
    macro_f1: float = Field(description="The mean over classes of 2 TP / (2 TP + FP + FN).")
    labels: tuple[str, ...] = Field(description="Classes, in the order of the matrix.")
    confusion: tuple[tuple[int, ...], ...] = Field(
        description="A row an expected class, a column a named one; the last column counts those that name none."
    )


def label_of(answer: str, labels: Sequence[str]) -> str | None:
    """The class that an answer names: the one that it equals, else the only one that it holds; None for neither.

    Of labels within each other (`positive`, `very positive`) the longest counts. Capitals and punctuation do not count.
    """
    if answer in labels:
        return answer  # two labels may differ by what does not count
    said = squad_tokens(answer)
    for label in labels:
        if squad_tokens(label) == said:
            return label
    held = [label for label in labels if names(answer, label)]
    held = [label for label in held if not any(label != other and names(other, label) for other in held)]
    return held[0] if len(held) == 1 else None


def classify(expected_and_named: Iterable[tuple[str, str | None]]) -> Classification | None:
    """Accuracy, macro F1 and confusion of answers; None where there is none.

    Accuracy and F1 are in [0, 1], higher is better. The mean of F1 is over the classes that are expected or named, as
    scikit-learn's `f1_score(average="macro")` takes it. An answer that names no class is missed for its class, and
    false for none.
    """
    found = list(expected_and_named)
    if not found:
        return None
    labels = sorted({expected for expected, _ in found} | {named for _, named in found if named is not None})
    counted = Counter(found)
    scores = []
    for label in labels:
        hits = counted[label, label]
        missed = sum(count for (expected, named), count in counted.items() if expected == label != named)
        false = sum(count for (expected, named), count in counted.items() if named == label != expected)
        scores.append(2 * hits / (2 * hits + missed + false))
    return Classification(
        accuracy=sum(expected == named for expected, named in found) / len(found),
        macro_f1=sum(scores) / len(scores),
        labels=tuple(labels),
        confusion=tuple(tuple(counted[expected, named] for named in [*labels, None]) for expected in labels),
    )
