"""The report as one page that needs nothing besides: what was found first, how it was made last."""

import math
from collections.abc import Iterator, Sequence

from tunesmith.errors import shortened
from tunesmith.evaluation.report import answers, plots
from tunesmith.evaluation.report.facts import Facts, is_lower_better
from tunesmith.evaluation.report.markup import Html, element, together
from tunesmith.evaluation.report.style import POLICY, STYLE
from tunesmith.evaluation.report.words import Language, Words
from tunesmith.evaluation.results import (
    BENCHMARK_PREFIX,
    COMPOSITE,
    BenchmarkScore,
    CandidateResult,
    EvaluationResult,
    Pair,
)
from tunesmith.evaluation.scores.info import INFO
from tunesmith.evaluation.sentences import chance, number, range_of, signed

_LONGEST = 200
"""Characters of a name that are shown."""
_MOST_CLASSES = 30
"""Of more classes no matrix is shown: nobody would find their way in it."""
_SIGNS = {"better": "good", "worse": "bad"}


def html(result: EvaluationResult, language: Language = "en") -> str:
    """The report of an evaluation: one page, without a script, that loads nothing from anywhere.

    Every text in it is escaped, and marks that a reader would not see are spelled out; a policy in the page forbids
    all but its own style sheet. It is read in light, in dark and on paper.

    Args:
        result: What was found.
        language: `en` or `zh`.
    """
    words, facts = Words(language), Facts(result)
    title = shortened(result.name, _LONGEST) or words("title")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"/>'),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        Html(f"<style>{STYLE}</style>"),
    )
    body = element(
        "body",
        element("header", *_header(facts, words, title)),
        element("main", *_sections(facts, words)),
    )
    return (
        "<!DOCTYPE html>\n" + element("html", head, body, lang="zh-CN" if language == "zh" else "en") + "\n"
    )


def _header(facts: Facts, words: Words, title: str) -> Iterator[Html]:
    result, comparison = facts.result, facts.comparison
    lead = words("lead", candidates=len(result.candidates), samples=comparison.samples)
    yield element("h1", title)
    yield element("p", f"{words('title')} · {lead}" if title != words("title") else lead, class_="soft")
    if comparison.sentence is not None:
        chosen = next((one for one in result.candidates if one.candidate.key == comparison.recommended), None)
        head = words("nothing") if chosen is None else f"{words('recommended')}: {label(chosen)}"
        yield element(
            "div",
            element("strong", head),
            element("p", words.of(comparison.sentence)),
            class_="card none" if chosen is None else "card",
        )
    if result.warnings:
        listed = [element("li", words.of(warning)) for warning in result.warnings]
        yield element("div", element("strong", words("warnings")), element("ul", *listed), class_="card warn")


def _sections(facts: Facts, words: Words) -> Iterator[Html]:
    if facts.result.candidates:
        yield _candidates(facts, words)
        yield from _classes(facts, words)
        yield from _benchmarks(facts, words)
        yield from _differences(facts, words)
        yield from _over_steps(facts, words)
        yield from _distribution(facts, words)
        yield from answers.extremes(facts, words)
        yield from answers.side_by_side(facts, words)
    yield from _how(facts, words)


def label(one: CandidateResult) -> str:
    """What people call a candidate."""
    return shortened(one.candidate.label or one.candidate.key, _LONGEST)


def figure(score: str, value: float) -> str:
    """A score as tables show it: a share as percent."""
    if math.isnan(value):
        return "–"
    return f"{100 * value:.1f} %" if score in INFO and INFO[score].is_percent else number(value)


def heading(text: str, about: str = "") -> Html:
    """A section's title, and a line on what it shows."""
    return together(element("h2", text), element("p", about, class_="soft") if about else None)


def table(heads: Sequence[tuple[str, bool]], rows: Sequence[Html]) -> Html:
    """A table that scrolls where it is too wide; each column's title, and whether it holds numbers."""
    titles = [
        element("th", text, scope="col", class_="n" if is_number else None) for text, is_number in heads
    ]
    return element(
        "div",
        element("table", element("thead", element("tr", *titles)), element("tbody", *rows)),
        class_="scroll",
    )


def _number(*children: str | Html | None, class_: str = "") -> Html:
    return element("td", *children, class_=f"n {class_}".strip())


def _candidates(facts: Facts, words: Words) -> Html:
    comparison = facts.comparison
    has_steps = any(one.candidate.step for one in facts.result.candidates)
    has_repeats = any(one.repeat_spread is not None for one in comparison.estimates.values())
    heads = [(words("candidate"), False)]
    heads += [(words("step"), True)] if has_steps else []
    heads += [(_with_arrow(facts.score, words), True), (words("interval"), True)]
    heads += [(words("spread"), True)] if has_repeats else []
    heads += [(words("band"), False)] if facts.score == COMPOSITE else []
    heads += [(words("cut"), True), (words("seen"), True), (words("seconds"), True)]
    rows = []
    for one in facts.result.candidates:
        estimate = comparison.estimates.get(one.candidate.key)
        cells = [_name(facts, words, one)]
        cells += [_number(str(one.candidate.step) if one.candidate.step else "–")] if has_steps else []
        mean = estimate.mean if estimate else facts.mean(one, facts.score)
        ends = range_of(estimate.low, estimate.high, words.language) if estimate else "–"
        cells += [_number(element("b", figure(facts.score, mean))), _number(ends)]
        if has_repeats:
            spread = estimate.repeat_spread if estimate else None
            cells.append(_number("–" if spread is None else number(spread)))
        if facts.score == COMPOSITE:
            cells.append(element("td", words(one.band) if one.band else "–"))
        cut = facts.cut(one)
        cells += [
            _number("–" if cut is None else f"{100 * cut:.1f} %"),
            _number(str(len(one.seen))),
            _number(f"{one.seconds:.1f}"),
        ]
        rows.append(_row(facts, one, cells))
    about = words("means", samples=comparison.samples, seen=comparison.seen, lacking=comparison.lacking)
    parts = [heading(words("candidates"), about), table(heads, rows)]
    if others := [name for name in facts.names if name != facts.score]:
        heads = [(words("candidate"), False), *((_with_arrow(name, words), True) for name in others)]
        rows = [
            _row(
                facts,
                one,
                [
                    _name(facts, words, one),
                    *(_number(figure(name, facts.mean(one, name))) for name in others),
                ],
            )
            for one in facts.result.candidates
        ]
        parts += [element("h3", words("all_scores")), table(heads, rows)]
    return element("section", *parts)


def _classes(facts: Facts, words: Words) -> Iterator[Html]:
    """Which classes were taken for which, where samples have a class."""
    found = [(one, of) for one in facts.result.candidates if (of := facts.classes(one)) is not None]
    if not found:
        return
    heads = [(words("candidate"), False), (words.score("accuracy"), True), (words("macro_f1"), True)]
    rows = [
        _row(
            facts,
            one,
            [_name(facts, words, one), _number(f"{100 * of.accuracy:.1f} %"), _number(number(of.macro_f1))],
        )
        for one, of in found
    ]
    parts = [heading(words("classes"), words("classes_about")), table(heads, rows)]
    for one, of in found:
        if len(of.labels) > _MOST_CLASSES:
            continue
        names = [shortened(name, _LONGEST) for name in of.labels]
        heads = [(words("expected"), False), *((name, True) for name in [*names, words("no_class")])]
        rows = [
            element("tr", element("td", name), *(_number(str(count)) for count in counts))
            for name, counts in zip(names, of.confusion, strict=True)
        ]
        parts.append(element("details", element("summary", label(one)), table(heads, rows)))
    yield element("section", *parts)


def _benchmarks(facts: Facts, words: Words) -> Iterator[Html]:
    """What benchmarks say of each candidate, and how each was taken."""
    every = {one.name: one for result in facts.result.candidates for one in result.benchmarks}
    if not every:
        return
    heads = [(words("candidate"), False)]
    heads += [(f"{name.removeprefix(BENCHMARK_PREFIX)}{_arrow(one)}", True) for name, one in every.items()]
    rows = []
    for result in facts.result.candidates:
        own = {one.name: one for one in result.benchmarks}
        cells = [_number(_with_error(own[name]) if name in own else "–") for name in every]
        rows.append(_row(facts, result, [_name(facts, words, result), *cells]))
    how_heads = [(words("benchmark"), False), (words("version"), False), (words("shots"), True)]
    how_heads += [(words("samples"), True), (words("limit"), True)]
    how = {one.benchmark: one for one in every.values()}
    how_rows = [
        element(
            "tr",
            element("td", shortened(one.benchmark, _LONGEST)),
            element("td", shortened(one.version, _LONGEST)),
            _number(str(one.shots)),
            _number("–" if one.samples is None else str(one.samples)),
            _number("–" if one.limit is None else str(one.limit)),
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


def _name(facts: Facts, words: Words, one: CandidateResult) -> Html:
    is_chosen = one.candidate.key == facts.comparison.recommended
    return element(
        "td",
        element("bdi", label(one)),
        element("span", words("base"), class_="tag") if one.candidate.is_base else None,
        element("span", words("recommended"), class_="tag accent") if is_chosen else None,
        class_="name",
    )


def _row(facts: Facts, one: CandidateResult, cells: Sequence[Html]) -> Html:
    is_chosen = one.candidate.key == facts.comparison.recommended
    return element("tr", *cells, class_="chosen" if is_chosen else None)


def _with_arrow(score: str, words: Words) -> str:
    return f"{words.score(score)}\u00a0{'↓' if is_lower_better(score) else '↑'}"


def _differences(facts: Facts, words: Words) -> Iterator[Html]:
    pairs, smallest = facts.comparison.pairs, facts.comparison.smallest_difference
    if not pairs:
        return
    labels = {one.candidate.key: label(one) for one in facts.result.candidates}
    base = facts.base.candidate.key if facts.base else None
    drawn = [pair for pair in pairs if pair.against == base] if base else []
    bars = [
        plots.Bar(
            labels.get(pair.candidate if drawn else pair.against, "?"),
            pair.difference,
            pair.low,
            pair.high,
            pair.verdict,
        )
        for pair in drawn or pairs
    ]
    title = words("differences_base")
    if not drawn:
        title = words("differences_best", candidate=labels.get(pairs[0].candidate, "?"))
    about = words("differences_about")
    if smallest is not None:
        about += " " + words("smallest", value=number(smallest), samples=facts.comparison.samples)
    heads = [(words("pair"), False), (words("difference"), True), (words("interval"), True)]
    heads += [(words("p"), True), (words("p_adjusted"), True), (words("verdict"), False)]
    rows = [_pair(pair, labels, words) for pair in pairs]
    yield element(
        "section",
        heading(title, about),
        plots.forest(bars, title, smallest),
        element("details", element("summary", words("all_pairs")), table(heads, rows)),
    )


def _pair(pair: Pair, labels: dict[str, str], words: Words) -> Html:
    names = [labels.get(key, key) for key in (pair.candidate, pair.against)]
    return element(
        "tr",
        element("td", words("against", candidate=names[0], against=names[1])),
        _number(signed(pair.difference)),
        _number(range_of(pair.low, pair.high, words.language)),
        _number(chance(pair.p_value)),
        _number(chance(pair.p_adjusted)),
        element("td", words(pair.verdict), class_=_SIGNS.get(pair.verdict)),
    )


def _over_steps(facts: Facts, words: Words) -> Iterator[Html]:
    estimates = facts.comparison.estimates
    lines: dict[str, list[plots.Point]] = {}
    for one in facts.result.candidates:
        estimate = estimates.get(one.candidate.key)
        if estimate is not None and not one.candidate.is_base:
            point = plots.Point(one.candidate.step, estimate.mean, estimate.low, estimate.high)
            lines.setdefault(one.candidate.task_id or "", []).append(point)
    if len({point.step for line in lines.values() for point in line}) < 2:
        return
    base = None
    if facts.base is not None and (found := estimates.get(facts.base.candidate.key)) is not None:
        base = plots.Bar(label(facts.base), found.mean, found.low, found.high)
    title = words("over_steps", score=words.score(facts.score))
    drawn = [(task, sorted(line)) for task, line in lines.items()]
    yield element(
        "section",
        heading(title, words("over_steps_about" if base else "over_steps_alone")),
        plots.over_steps(drawn, base, title),
    )


def _distribution(facts: Facts, words: Words) -> Iterator[Html]:
    values = facts.compared.values
    rows = [
        (label(one), values[one.candidate.key])
        for one in facts.result.candidates
        if values.get(one.candidate.key)
    ]
    if not rows:
        return
    every = [value for _, row in rows for value in row]
    info = INFO.get(facts.score)
    low = min(*every, info.low) if info else min(every)
    high = max(*every, info.high) if info and info.high is not None else max(every)
    title = words("distribution", score=words.score(facts.score))
    yield element(
        "section",
        heading(title, words("distribution_about")),
        plots.distributions(rows, title, low, high if high > low else low + 1),
    )


def _how(facts: Facts, words: Words) -> Iterator[Html]:
    result = facts.result
    counts = {split: sum(one.split == split for one in result.samples) for split in ("train", "validation")}
    lines = [
        (words("task"), result.task_id),
        (words("samples"), words("number_of", train=counts["train"], validation=counts["validation"])),
        *((words.setting(name), _setting(value)) for name, value in result.settings.items()),
        (words("scorers"), result.scorers),
    ]
    if result.batch_disagreement is not None:
        lines.append((words("batch"), f"{100 * result.batch_disagreement:.1f} %"))
    rows = [
        element("tr", element("th", name, scope="row"), element("td", value, class_="mono"))
        for name, value in lines
        if value
    ]
    if result.comparable_by:
        mark = element("div", result.comparable_by, class_="mono")
        about = element("div", words("comparable_about"), class_="soft")
        rows.append(
            element("tr", element("th", words("comparable"), scope="row"), element("td", mark, about))
        )
    parts = [
        heading(words("how")),
        element("h3", words("settings")),
        element("table", element("tbody", *rows)),
    ]
    if result.weights:
        total = math.fsum(result.weights.values()) or 1.0
        heads = [(words("score"), False), (words("weight"), True), (words("meaning"), False)]
        weighted = [
            element(
                "tr",
                element("td", words.score(name)),
                _number(f"{weight / total:.2f}"),
                element("td", words.of(INFO[name].about) if name in INFO else "", class_="soft"),
            )
            for name, weight in result.weights.items()
        ]
        parts += [element("h3", words("weights")), table(heads, weighted)]
    yield element("section", *parts)


def _setting(value: bool | int | float | str | None) -> str:
    return (
        "–"
        if value is None
        else f"{value:g}"
        if isinstance(value, float)
        else shortened(str(value), _LONGEST)
    )
