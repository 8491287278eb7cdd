"""What the report draws on: the samples that were compared, and what each candidate has of them. Knows no markup."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tunesmith.evaluation.comparison import Scores, scores_of
from tunesmith.evaluation.results import (
    COMPOSITE,
    Answer,
    CandidateResult,
    Comparison,
    EvaluationResult,
    Sample,
    by_sample,
)
from tunesmith.evaluation.scores.classes import Classification
from tunesmith.evaluation.scores.info import INFO
from tunesmith.evaluation.scores.scoring import classification, cut_share


@dataclass(frozen=True)
class Facts:
    """An evaluation, as it is looked at."""

    result: EvaluationResult

    @cached_property
    def comparison(self) -> Comparison:
        """What was compared; nothing yet where that was not done."""
        return self.result.comparison or Comparison()

    @property
    def score(self) -> str:
        """Which score was compared."""
        return self.comparison.score

    @cached_property
    def compared(self) -> Scores:
        """The samples that were compared, with that score."""
        split = [sample.id for sample in self.result.samples if sample.split == self.comparison.split]
        return scores_of(self.result.candidates, self.score, split)

    @cached_property
    def base(self) -> CandidateResult | None:
        """The base, where it was evaluated."""
        return next((one for one in self.result.candidates if one.candidate.is_base), None)

    @cached_property
    def focus(self) -> CandidateResult | None:
        """Whose answers are looked at first: the one that is recommended, else the best; the base only if alone."""
        known = {one.candidate.key: one for one in self.result.candidates}
        if self.comparison.recommended in known:
            return known[self.comparison.recommended]
        others = [one for one in known.values() if not one.candidate.is_base] or list(known.values())
        with_mean = [one for one in others if one.candidate.key in self.compared.values]
        sign = self.compared.sign
        return max(
            with_mean, key=lambda one: sign * self.mean(one, self.score), default=next(iter(others), None)
        )

    @cached_property
    def names(self) -> list[str]:
        """Every score that some answer has, the compared one first, then as tables show them, custom ones last."""
        every = {name for one in self.result.candidates for answer in one.answers for name in answer.scores}
        known = [self.score, COMPOSITE, *INFO]
        ordered = [name for name in dict.fromkeys(known) if name in every]
        return ordered + sorted(every - set(ordered))

    @cached_property
    def _by_sample(self) -> Mapping[str, Mapping[str, float]]:
        return {one.candidate.key: by_sample(one, self.score) for one in self.result.candidates}

    def by_sample(self, one: CandidateResult) -> Mapping[str, float]:
        """A candidate's compared score by samples, those that were left out among them."""
        return self._by_sample[one.candidate.key]

    @cached_property
    def _means(self) -> Mapping[tuple[str, str], float]:
        wanted = set(self.compared.samples)
        found = {}
        for one in self.result.candidates:
            for name in self.names:
                values = [value for sample, value in by_sample(one, name).items() if sample in wanted]
                if values:
                    found[one.candidate.key, name] = math.fsum(values) / len(values)
        return found

    def mean(self, one: CandidateResult, score: str) -> float:
        """A candidate's mean over the samples that were compared; NaN where it has none of that score."""
        return self._means.get((one.candidate.key, score), math.nan)

    def classes(self, one: CandidateResult) -> Classification | None:
        """How its answers to these samples name their classes; None where none has one."""
        wanted = set(self.compared.samples)
        answers = [answer for answer in one.answers if answer.sample_id in wanted]
        return classification(self.result.samples, answers, is_exact=self.result.sorts)

    def cut(self, one: CandidateResult) -> float | None:
        """The share of its answers to these samples that were cut at the limit."""
        wanted = set(self.compared.samples)
        return cut_share([answer for answer in one.answers if answer.sample_id in wanted])

    @cached_property
    def answers(self) -> Mapping[tuple[str, str], Sequence[Answer]]:
        """By candidate and sample: its answers, the first repeat first."""
        found: dict[tuple[str, str], list[Answer]] = {}
        for one in self.result.candidates:
            for answer in one.answers:
                found.setdefault((one.candidate.key, answer.sample_id), []).append(answer)
        return {key: sorted(answers, key=lambda answer: answer.repeat) for key, answers in found.items()}

    def extremes(self, most: int = 5) -> tuple[list[Sample], list[Sample]]:
        """The samples on which the focus scores best, and those on which worst: as many of each, none twice."""
        focus = self.focus
        if focus is None or focus.candidate.key not in self.compared.values:
            return [], []
        values = dict(zip(self.compared.samples, self.compared.values[focus.candidate.key], strict=True))
        sign = self.compared.sign
        ranked = sorted(
            (sample for sample in self.result.samples if sample.id in values),
            key=lambda sample: (-sign * values[sample.id], sample.row, sample.id),
        )
        count = min(most, len(ranked) // 2)
        return ranked[:count], ranked[::-1][:count]


def is_lower_better(score: str) -> bool:
    """Whether less of a score is better: perplexity, repetition."""
    return score in INFO and INFO[score].better == "lower"
