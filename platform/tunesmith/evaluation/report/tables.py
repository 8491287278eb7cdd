"""The report for programs: two tables as CSV that a spreadsheet may open. As JSON the result tells itself."""

import csv
import io
import math
from collections.abc import Iterable, Iterator

from tunesmith.evaluation.report.facts import Facts
from tunesmith.evaluation.results import EvaluationResult

Cell = str | int | float | None
_FORMULA = tuple("=+-@＝＋－＠\t\r\n")
_BLOCK = 500


def cell(value: Cell) -> Cell:
    """A cell that no spreadsheet takes for a formula: a text that begins like one begins with an apostrophe.

    What models answer is hostile input: `=WEBSERVICE(...)` would be computed where the table is opened (OWASP, CSV
    Injection). Numbers stay numbers, below 0 too.
    """
    if isinstance(value, str):
        value = value.encode("utf-8", "replace").decode()
        if value.startswith(_FORMULA) or value.lstrip(" \u00a0\u3000\ufeff").startswith(_FORMULA):
            return "'" + value
    return value


def answers_csv(result: EvaluationResult) -> Iterator[str]:
    """One row a candidate, sample and repeat, in parts: what was asked, expected and answered, with every score."""
    names = Facts(result).names
    samples = {sample.id: sample for sample in result.samples}
    heads = [
        "candidate",
        "label",
        "task_id",
        "step",
        "sample_id",
        "split",
        "row",
        "repeat",
        "question",
        "reference",
    ]
    heads += ["answer", "tokens", "finish_reason", "is_seen", "nll", "reference_tokens"]

    def rows() -> Iterator[list[Cell]]:
        for one in result.candidates:
            seen, candidate = set(one.seen), one.candidate
            for answer in one.answers:
                sample = samples.get(answer.sample_id)
                yield [
                    *(candidate.key, candidate.label, candidate.task_id, candidate.step, answer.sample_id),
                    *((sample.split, sample.row) if sample else (None, None)),
                    answer.repeat,
                    sample.turns[-1].content if sample and sample.turns else None,
                    sample.reference if sample else None,
                    *(answer.text, answer.tokens, answer.finish_reason, int(answer.sample_id in seen)),
                    *(answer.nll, answer.reference_tokens),
                    *(answer.scores.get(name) for name in names),
                ]

    return _csv([*heads, *names], rows())


def candidates_csv(result: EvaluationResult) -> Iterator[str]:
    """One row a candidate: its means over the compared samples, and how it stands to the base."""
    facts = Facts(result)
    comparison, base = facts.comparison, facts.base
    against = {
        pair.candidate: pair for pair in comparison.pairs if base and pair.against == base.candidate.key
    }
    heads = ["candidate", "label", "task_id", "step", "is_base", "is_recommended", "band", "samples", "seen"]
    heads += [f"{facts.score}_low", f"{facts.score}_high", "repeat_spread", "cut_share", "seconds"]
    heads += [f"against_base_{name}" for name in ("difference", "low", "high", "p", "p_holm", "verdict")]

    taken = list(dict.fromkeys(score.name for one in result.candidates for score in one.benchmarks))
    benchmarks = [head for name in taken for head in (name, f"{name}_stderr")]

    def rows() -> Iterator[list[Cell]]:
        for one in result.candidates:
            own = {score.name: score for score in one.benchmarks}
            candidate, pair = one.candidate, against.get(one.candidate.key)
            estimate = comparison.estimates.get(candidate.key)
            means = [facts.mean(one, name) for name in facts.names]
            yield [
                *(candidate.key, candidate.label, candidate.task_id, candidate.step, int(candidate.is_base)),
                *(int(candidate.key == comparison.recommended), one.band, comparison.samples, len(one.seen)),
                *((estimate.low, estimate.high, estimate.repeat_spread) if estimate else (None, None, None)),
                *(facts.cut(one), one.seconds),
                *((pair.difference, pair.low, pair.high) if pair else (None, None, None)),
                *((pair.p_value, pair.p_adjusted, pair.verdict) if pair else (None, None, None)),
                *(None if math.isnan(mean) else mean for mean in means),
                *(
                    figure
                    for name in taken
                    for figure in ((own[name].value, own[name].error) if name in own else (None, None))
                ),
            ]

    return _csv([*heads, *facts.names, *benchmarks], rows())


def _csv(heads: list[str], rows: Iterable[list[Cell]]) -> Iterator[str]:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([cell(head) for head in heads])
    for number, row in enumerate(rows, 1):
        writer.writerow([cell(value) for value in row])
        if number % _BLOCK == 0:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()
