"""The report as one page that needs nothing besides: what was found first, how it was made last."""

import math
from collections.abc import Iterator

from tunesmith.errors import shortened
from tunesmith.evaluation.report import answers, plots
from tunesmith.evaluation.report.facts import Facts, is_lower_better
from tunesmith.evaluation.report.markup import Html, element
from tunesmith.evaluation.report.measured import by_benchmark, by_class
from tunesmith.evaluation.report.parts import (
    LONGEST,
    candidate_row,
    figure,
    heading,
    label,
    name_cell,
    number_cell,
    table,
)
from tunesmith.evaluation.report.style import POLICY, STYLE
from tunesmith.evaluation.report.words import Language, Words
from tunesmith.evaluation.results import (
    COMPOSITE,
    EvaluationResult,
    Pair,
)
from tunesmith.evaluation.scores.info import INFO
from tunesmith.evaluation.sentences import chance, number, range_of, signed

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
    title = shortened(result.name, LONGEST) or words("title")
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
        yield from by_class(facts, words)
        yield from by_benchmark(facts, words)
        yield from _differences(facts, words)
        yield from _over_steps(facts, words)
        yield from _distribution(facts, words)
        yield from answers.extremes(facts, words)
        yield from answers.side_by_side(facts, words)
    yield from _how(facts, words)


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
        cells = [name_cell(facts, words, one)]
        cells += [number_cell(str(one.candidate.step) if one.candidate.step else "–")] if has_steps else []
        mean = estimate.mean if estimate else facts.mean(one, facts.score)
        ends = range_of(estimate.low, estimate.high, words.language) if estimate else "–"
        cells += [number_cell(element("b", figure(facts.score, mean))), number_cell(ends)]
        if has_repeats:
            spread = estimate.repeat_spread if estimate else None
            cells.append(number_cell("–" if spread is None else number(spread)))
        if facts.score == COMPOSITE:
            cells.append(element("td", words(one.band) if one.band else "–"))
        cut = facts.cut(one)
        cells += [
            number_cell("–" if cut is None else f"{100 * cut:.1f} %"),
            number_cell(str(len(one.seen))),
            number_cell(f"{one.seconds:.1f}"),
        ]
        rows.append(candidate_row(facts, one, cells))
    about = words("means", samples=comparison.samples, seen=comparison.seen, lacking=comparison.lacking)
    parts = [heading(words("candidates"), about), table(heads, rows)]
    if others := [name for name in facts.names if name != facts.score]:
        heads = [(words("candidate"), False), *((_with_arrow(name, words), True) for name in others)]
        rows = [
            candidate_row(
                facts,
                one,
                [
                    name_cell(facts, words, one),
                    *(number_cell(figure(name, facts.mean(one, name))) for name in others),
                ],
            )
            for one in facts.result.candidates
        ]
        parts += [element("h3", words("all_scores")), table(heads, rows)]
    return element("section", *parts)


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
        number_cell(signed(pair.difference)),
        number_cell(range_of(pair.low, pair.high, words.language)),
        number_cell(chance(pair.p_value)),
        number_cell(chance(pair.p_adjusted)),
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
                number_cell(f"{weight / total:.2f}"),
                element("td", words.of(INFO[name].about) if name in INFO else "", class_="soft"),
            )
            for name, weight in result.weights.items()
        ]
        parts += [element("h3", words("weights")), table(heads, weighted)]
    yield element("section", *parts)


def _setting(value: bool | int | float | str | None) -> str:
    return (
        "–" if value is None else f"{value:g}" if isinstance(value, float) else shortened(str(value), LONGEST)
    )
