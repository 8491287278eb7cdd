"""From answers to what a user reads: scores, means, comparison, report, tables, in the storage as one folder.

Knows the pure parts of an evaluation and the storage; knows nothing of models.
"""

import contextlib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Any

from tunesmith.artifacts import EVALUATION
from tunesmith.evaluation.comparability import comparable_key
from tunesmith.evaluation.comparison import compare
from tunesmith.evaluation.report import answers_csv, candidates_csv, html
from tunesmith.evaluation.results import (
    COMPOSITE,
    METRIC_PREFIX,
    RESULT_FILE,
    Answer,
    Candidate,
    CandidateResult,
    EvaluationResult,
    Sample,
    Text,
)
from tunesmith.evaluation.scores import (
    DEFAULT_WEIGHTS,
    SCORERS_VERSION,
    ScoreOptions,
    check_weights,
    class_score,
    classification,
    composite,
    degenerate,
    means_of,
    recompose,
    score,
    shared_out,
)
from tunesmith.evaluation.scores.custom import CustomScorers
from tunesmith.events import EvaluationMade, Metrics
from tunesmith.removal import remove_own
from tunesmith.spec.evaluation import EvaluateSpec
from tunesmith_jobs.artifact_store import ArtifactStore, Owner
from tunesmith_jobs.evaluate import likeness
from tunesmith_jobs.evaluate.fan import Fan, spread
from tunesmith_jobs.failures import StorageFailed
from tunesmith_jobs.model_work import Work

ACCURACY = "accuracy"
_NOT_IN_A_NAME = re.compile(r"[^\w./-]", re.ASCII)
"""What MLflow takes in no metric's name."""


class Scorer:
    """Scores candidates' answers, the same way each.

    Args:
        samples: What was asked.
        spec: The task's parameters.
        fan: Has the embedder's work done.
        check: Raises where the work is not wanted any more.
        cache: Where what an embedder said is kept.
        custom: Scorers of its user's.
        sorts: Whether candidates sort texts into classes, and answer nothing.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        spec: EvaluateSpec,
        fan: Fan,
        check: Callable[[], None],
        cache: Path,
        custom: CustomScorers | None = None,
        *,
        sorts: bool = False,
    ) -> None:
        self._sorts = sorts
        self._cache, self.custom = cache, custom or CustomScorers(())
        self._samples = {sample.id: sample for sample in samples}
        self._spec, self._fan, self._check = spec, fan, check
        given = spec.composite_weights
        self.weights = check_weights(given, tuple(self.custom.scorers)) if given else dict(DEFAULT_WEIGHTS)
        if sorts:
            self.weights = {ACCURACY: 1.0}
        """Of the composite."""
        self.embedder = "no embedder"
        """What tells the embedder that was used."""
        self.judge = ""
        """What tells the judge, where one rated answers."""
        self.judge_seconds: float | None = None
        """What passed for one of its verdicts."""
        self.warnings: list[Text] = []

    def score(
        self, candidate: Candidate, answers: Sequence[Answer], *, seen: tuple[str, ...], seconds: float
    ) -> CandidateResult:
        """A candidate's answers with their scores, and the means.

        Args:
            candidate: Which one.
            answers: All of its answers.
            seen: Ids of the samples that its training rows hold.
            seconds: What its answers took.
        """
        if self._sorts:
            return self._sorted(candidate, answers, seen=seen, seconds=seconds)
        found = []
        for answer, given in zip(answers, self._likeness(answers), strict=True):
            options = ScoreOptions(
                weights=self.weights,
                given=given,
                custom=self.custom.scorers,
                named_only=self.custom.named_only,
            )
            scores, skipped = score(self._samples[answer.sample_id], answer, options)
            found.append(answer.model_copy(update={"scores": scores, "skipped": skipped}))
        made = CandidateResult(candidate=candidate, answers=tuple(found), seen=seen, seconds=seconds)
        means, composite_band = means_of(made)
        return made.model_copy(update={"means": means, "band": composite_band})

    def _sorted(
        self, candidate: Candidate, answers: Sequence[Answer], *, seen: tuple[str, ...], seconds: float
    ) -> CandidateResult:
        """The same of a classifier's answers."""
        found = []
        for answer in answers:
            scores, skipped = class_score(self._samples[answer.sample_id], answer)
            found.append(answer.model_copy(update={"scores": scores, "skipped": skipped}))
        classes = classification(list(self._samples.values()), found, is_exact=True)
        made = CandidateResult(
            candidate=candidate,
            answers=tuple(found),
            seen=seen,
            seconds=seconds,
            macro_f1=classes.macro_f1 if classes else None,
        )
        means, composite_band = means_of(made)
        return made.model_copy(update={"means": means, "band": composite_band})

    def _likeness(self, answers: Sequence[Answer]) -> list[dict[str, float | str]]:
        """How alike each answer and its reference are, as far as there is an embedder."""
        if self._spec.embedder == "none":
            return [{} for _ in answers]
        order: dict[str, Any] = {
            "embedder": self._spec.embedder,
            "answers": [answer.text for answer in answers],
            "references": [self._samples[answer.sample_id].reference for answer in answers],
            "samples": [sample.reference for sample in self._samples.values()],
        }
        kept = self._cache / f"{likeness.key_of(order)}.json"
        found = _read_json(kept)
        if found is None:
            ((_, found),) = spread(self._fan, iter([("likeness", likeness.run, order)]), self._check)
            _keep_json(kept, found)
        self.embedder = found["version"]
        self.warnings += [said for one in found["warnings"] if (said := Text(**one)) not in self.warnings]
        return list(found["scores"])


def _read_json(file: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return found


def _keep_json(file: Path, value: dict[str, Any]) -> None:
    """Keep it. What could not be written whole is no JSON, and computed the next time."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value))


def finish(
    work: Work,
    spec: EvaluateSpec,
    made: EvaluationResult,
    scorer: Scorer,
    *,
    is_partial: bool,
    answer_seconds: float | None,
) -> str:
    """Compare, and bring everything to the storage; returns what is said of it.

    Args:
        work: What it was handed, and whom it reports to.
        spec: The task's parameters.
        made: The candidates with their scores.
        scorer: What scored them.
        is_partial: Whether it was stopped before all were scored.
        answer_seconds: What passed for an answer; None where none was computed.

    Raises:
        StorageFailed: The storage did not take it.
    """
    result = _whole(spec, made, scorer)
    folder = work.scratch / EVALUATION
    remove_own(folder, work.document.task_id)
    folder.mkdir(parents=True)
    data = result.model_dump_json(indent=1).encode()
    (folder / RESULT_FILE).write_bytes(data)
    for name, parts in (("answers.csv", answers_csv(result)), ("candidates.csv", candidates_csv(result))):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            file.writelines(parts)
    for language in ("en", "zh"):
        (folder / f"report-{language}.html").write_text(html(result, language), encoding="utf-8")
    uri = _store(work, folder)
    comparison = result.comparison
    recommended = comparison.recommended if comparison else None
    chosen = result.of(recommended).candidate if recommended else None
    sentence = comparison.sentence if comparison else None
    for step, values in curves(result):
        work.outlet.emit(Metrics(step=step, values=values))
    work.outlet.emit(
        EvaluationMade(
            uri=uri,
            sha256=hashlib.sha256(data).hexdigest(),
            comparable_by=result.comparable_by,
            recommended=recommended,
            task_id=chosen.task_id if chosen else None,
            step=chosen.step if chosen and chosen.task_id else None,
            means={one.candidate.key: one.figures for one in result.candidates},
            sentence={"en": sentence.en, "zh": sentence.zh} if sentence else {},
            is_partial=is_partial,
            answer_seconds=answer_seconds or None,
            judge_seconds=scorer.judge_seconds or None,
        )
    )
    # What may be said of the differences stands in the result, in both languages.
    asked = f"Candidates: {len(result.candidates)}; samples: {len(result.samples)}."
    words = f"Recommended: `{chosen.label}`." if chosen else "None of them is recommended."
    return f"{asked} {words} The report lies in `{uri}`."


def curves(result: EvaluationResult) -> list[tuple[int, dict[str, float]]]:
    """The candidates' means as points of curves: their steps, and values by name.

    Those of one task are a curve a score. Of several tasks, and of folders, steps mean nothing to each other: each has
    curves of its own, told by its task or name. The base is no point of a curve.
    """
    ranked = [one for one in result.candidates if one.means and not one.candidate.is_base]
    points = Counter((one.candidate.task_id, one.candidate.step) for one in ranked)
    is_one_curve = len({task for task, _ in points}) == 1 and max(points.values()) == 1
    found = []
    for one in ranked:
        candidate = one.candidate
        own = candidate.task_id if points[candidate.task_id, candidate.step] == 1 else None
        own = own or _NOT_IN_A_NAME.sub("_", "/".join(PurePath(candidate.key).parts[-2:]).lstrip("/"))
        prefix = METRIC_PREFIX if is_one_curve else f"{METRIC_PREFIX}{own}/"
        found.append((candidate.step, {f"{prefix}{name}": value for name, value in one.figures.items()}))
    return found


def _whole(spec: EvaluateSpec, made: EvaluationResult, scorer: Scorer) -> EvaluationResult:
    weights = scorer.weights
    warnings: list[Text] = [*made.warnings, *scorer.warnings, *degenerate(made.candidates, made.samples)]
    means = made.candidates[0].means if made.candidates else {}
    _, used = composite(means, weights)
    if said := shared_out(weights, used):
        warnings.append(said)
    own = [scorer.custom.version] if scorer.custom.definitions else []
    scorers = "; ".join([SCORERS_VERSION, scorer.embedder, *own, *([scorer.judge] if scorer.judge else [])])
    template = str(made.settings.get("template", ""))
    result = made.model_copy(
        update={
            "weights": weights,
            "candidates": recompose(made.candidates, weights),
            "scorers": scorers,
            "warnings": tuple(warnings),
            "comparable_by": comparable_key(made.samples, template, made.settings, scorers),
        }
    )
    compared = compare(
        result.candidates,
        score=ACCURACY if made.sorts else COMPOSITE,
        split=[sample.id for sample in result.samples if sample.split == spec.split],
        of=spec.split,
        order=[one.candidate.key for one in result.candidates],
        seed=spec.seed,
    )
    return result.model_copy(update={"comparison": compared})


def _store(work: Work, folder: Path) -> str:
    document = work.document
    assert document.artifact_uri is not None
    owner = Owner(document.task_id, document.attempt, document.origin.base, None)
    store = ArtifactStore(
        document.artifact_uri,
        owner,
        Path(document.output_dir) if document.output_dir else None,
        activities=work.outlet.activities,
    )
    try:
        _, uri = store.put(folder, EVALUATION, document.step, kind="evaluation")
    except OSError as error:
        raise StorageFailed(f"The report could not be stored: {error}") from error
    return str(uri)
