"""What is measured of candidates once all of their answers are there: a judge's ratings, and benchmarks.

Both are somebody else's work: they cost their figures when they fail, and never the evaluation. Knows who is asked and
what is said of it; knows nothing of how.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from tunesmith.activity import ActivityKind, Unit
from tunesmith.evaluation.document import EvaluationDocument
from tunesmith.evaluation.results import Sample
from tunesmith.evaluation.scores import recompose
from tunesmith.spec.evaluation import EvaluateSpec
from tunesmith_jobs.evaluate.benchmarks import Benchmarks
from tunesmith_jobs.evaluate.entrants import Entrant
from tunesmith_jobs.evaluate.fan import Fan
from tunesmith_jobs.evaluate.finishing import Scorer
from tunesmith_jobs.evaluate.judging import Judging
from tunesmith_jobs.model_work import Work

_SWAYED = 0.2
"""A judge that looks at the order of more of its verdicts than this share is warned of."""
_MOST_FAILED = 5
"""Benchmarks without figures of which the reasons are told."""


class Further:
    """Measures what does not come from answers and references alone.

    Args:
        work: What it was handed, and whom it reports to.
        spec: The task's parameters.
        document: As it is in `work`.
        fan: Has work done.
        folder: Where what was found is kept.
        warn: Takes a warning's code and words.
    """

    def __init__(
        self,
        work: Work,
        spec: EvaluateSpec,
        document: EvaluationDocument,
        fan: Fan,
        folder: Path,
        warn: Callable[[str, str], None],
    ) -> None:
        self._work, self._spec, self._document = work, spec, document
        self._folder, self._warn = folder, warn
        self._benchmarks = Benchmarks(spec, document, fan, folder, work.scratch)
        self.benchmarked_by = ""
        """The version of lm-eval; empty where no benchmark was taken."""

    def look(self) -> None:
        """See, before anything is computed, that all benchmarks are there.

        Raises:
            InvalidInput: One is not.
        """
        if self._benchmarks.each:
            self._benchmarks.look(self._work.check)

    def rate(self, entrants: Sequence[Entrant], samples: Sequence[Sample], scorer: Scorer) -> None:
        """Have a judge rate the answers, where one is wanted: all at once, since nothing else waits for it."""
        if self._spec.judge_base_url is None:
            return
        settings = self._document.judge
        if settings is None:
            self._warn(
                "judge_away", "The judge is on the administrator's list no more: there is no such score."
            )
            return
        rated = [one for one in entrants if one.result is not None]
        results = [one.result for one in rated if one.result is not None]
        judging = Judging(settings, self._folder, results, samples)
        with self._work.outlet.activities.doing(ActivityKind.JUDGING, Unit.ROWS, judging.total) as doing:
            judged = judging.run(self._work.check, doing)
        for entrant, result in zip(rated, recompose(judged.results, scorer.weights), strict=True):
            entrant.result = result
            self._work.outlet.emit(entrant.standing())
        scorer.judge_seconds = judged.seconds
        if judged.rated:
            scorer.judge = settings.told
        if judged.unrated:
            every = judged.rated + judged.unrated
            self._warn(
                "judge_away",
                f"Answers that the judge has not rated: {judged.unrated} of {every}. {judged.problem}",
            )
        if judged.swayed > _SWAYED * judged.rated:
            self._warn(
                "judge_swayed",
                "Answers of which the judge's verdict turned with their order, and which count as ties: "
                f"{judged.swayed} of {judged.rated}.",
            )

    def benchmark(self, entrants: Sequence[Entrant], handed: Callable[[Entrant], str]) -> None:
        """Have candidates take the benchmarks, where some are wanted.

        Args:
            entrants: The candidates.
            handed: Writes the document that a candidate's work is handed.
        """
        if not self._benchmarks.each:
            return
        those = [one for one in entrants if one.result is not None]
        total = self._benchmarks.each * len(those)
        self.benchmarked_by = self._benchmarks.version  # of a stop too
        with self._work.outlet.activities.doing(ActivityKind.BENCHMARKING, Unit.BENCHMARKS, total) as doing:
            failed = self._benchmarks.take(those, handed, self._work.check, doing)
        for entrant in those:
            self._work.outlet.emit(entrant.standing())
        if len(failed) == total:
            self.benchmarked_by = ""
        for name, why in list(failed.items())[:_MOST_FAILED]:
            self._warn("benchmark_failed", f"No figures of a benchmark, `{name}`: {why}")
        if len(failed) > _MOST_FAILED:
            self._warn(
                "benchmark_failed", f"Further benchmarks without figures: {len(failed) - _MOST_FAILED}."
            )
