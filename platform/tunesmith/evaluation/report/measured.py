"""The report's sections on what is measured in other ways than by scores of answers: classes, benchmarks."""

from collections.abc import Iterator

from tunesmith.errors import shortened
from tunesmith.evaluation.report.facts import Facts
from tunesmith.evaluation.report.markup import Html, element
from tunesmith.evaluation.report.parts import (
    LONGEST,
    candidate_row,
    heading,
    label,
    name_cell,
    number_cell,
    table,
)
from tunesmith.evaluation.report.words import Words
from tunesmith.evaluation.results import BENCHMARK_PREFIX, BenchmarkScore
from tunesmith.evaluation.sentences import number

_MOST_CLASSES = 30
"""Of more classes no matrix is shown: nobody would find their way in it."""


def by_class(facts: Facts, words: Words) -> Iterator[Html]:
    """Which classes were taken for which, where samples have a class."""
    found = [(one, of) for one in facts.result.candidates if (of := facts.classes(one)) is not None]
    if not found:
        return
    heads = [(words("candidate"), False), (words.score("accuracy"), True), (words("macro_f1"), True)]
    rows = [
        candidate_row(
            facts,
            one,
            [
                name_cell(facts, words, one),
                number_cell(f"{100 * of.accuracy:.1f} %"),
                number_cell(number(of.macro_f1)),
            ],
        )
        for one, of in found
    ]
    parts = [heading(words("classes"), words("classes_about")), table(heads, rows)]
    for one, of in found:
        if len(of.labels) > _MOST_CLASSES:
            continue
        names = [shortened(name, LONGEST) for name in of.labels]
        heads = [(words("expected"), False), *((name, True) for name in [*names, words("no_class")])]
        rows = [
            element("tr", element("td", name), *(number_cell(str(count)) for count in counts))
            for name, counts in zip(names, of.confusion, strict=True)
        ]
        parts.append(element("details", element("summary", label(one)), table(heads, rows)))
    yield element("section", *parts)


def by_benchmark(facts: Facts, words: Words) -> Iterator[Html]:
    """What benchmarks say of each candidate, and how each was taken."""
    every = {one.name: one for result in facts.result.candidates for one in result.benchmarks}
    if not every:
        return
    heads = [(words("candidate"), False)]
    heads += [(f"{name.removeprefix(BENCHMARK_PREFIX)}{_arrow(one)}", True) for name, one in every.items()]
    rows = []
    for result in facts.result.candidates:
        own = {one.name: one for one in result.benchmarks}
        cells = [number_cell(_with_error(own[name]) if name in own else "–") for name in every]
        rows.append(candidate_row(facts, result, [name_cell(facts, words, result), *cells]))
    how_heads = [(words("benchmark"), False), (words("version"), False), (words("shots"), True)]
    how_heads += [(words("samples"), True), (words("limit"), True)]
    how = {one.benchmark: one for one in every.values()}
    how_rows = [
        element(
            "tr",
            element("td", shortened(one.benchmark, LONGEST)),
            element("td", shortened(one.version, LONGEST)),
            number_cell(str(one.shots)),
            number_cell("–" if one.samples is None else str(one.samples)),
            number_cell("–" if one.limit is None else str(one.limit)),
        )
        for one in how.values()
    ]
    about = words("benchmarks_about", version=facts.result.benchmarked_by)
    yield element(
        "section", heading(words("benchmarks"), about), table(heads, rows), table(how_heads, how_rows)
    )


def _arrow(one: BenchmarkScore) -> str:
    return "" if one.higher_is_better is None else f"\u00a0{'↑' if one.higher_is_better else '↓'}"


def _with_error(one: BenchmarkScore) -> str:
    return f"{number(one.value)} ± {number(one.error)}" if one.error is not None else number(one.value)
