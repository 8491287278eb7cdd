"""How a report on a data file, and rows under the microscope, look on a terminal."""

from collections.abc import Iterable, Iterator, Mapping

from rich.console import Console
from rich.text import Text

from tunesmith.cli.format import plain, size
from tunesmith.cli.output import COLOURS, facts, out, say, signs_fit
from tunesmith.dataset_views import (
    Count,
    DataPreview,
    DataReport,
    Example,
    Finding,
    PreviewToken,
    RowPreview,
    TokenKind,
    TokenReport,
    Verdict,
)
from tunesmith.language import tr
from tunesmith.lifecycle import State

_VERDICTS = {
    Verdict.FINE: COLOURS[State.COMPLETED],
    Verdict.SKIPS: COLOURS[State.STOPPING],
    Verdict.REFUSED: COLOURS[State.FAILED],
}
_WORDS = {
    Verdict.FINE: "fine",
    Verdict.SKIPS: "fine without its bad rows, which are within what is allowed",
    Verdict.REFUSED: "cannot be trained on as it is",
}
_STYLES = {
    TokenKind.TRAINED: f"bold {COLOURS[State.RUNNING]}",
    TokenKind.CONTEXT: "",
    TokenKind.CUT: f"strike {COLOURS[State.FAILED]}",
}
_SHOWN_REASONS = 10
_BAR = 30


def print_report(report: DataReport) -> None:
    """What a file holds, and what is wrong with it."""
    console = out()
    console.print(facts(_report_facts(report)))
    if report.tokens is not None:
        _print_histogram(console, report.tokens)
    for part in (report, report.evaluation):
        if part is not None:
            _print_bad(part)
    if report.evaluation is not None:
        say(
            f"{report.evaluation.file}: {tr(f'{report.evaluation.rows} rows')}, "
            f"{tr(_WORDS[report.evaluation.verdict])}"
        )
    print_findings(report.findings)
    said = {one.message for one in report.findings}
    for part in (report, report.evaluation):
        for note in part.notes if part else ():
            if note not in said:
                say(f"note: {note}")


def print_findings(findings: Iterable[Finding]) -> None:
    """What of rows is not trained, or not as it stands."""
    for one in findings:
        say(f"note: {one.message}")
        if one.hint:
            say(f"  hint: {one.hint}")
        _print_examples(one.examples)


def _print_examples(examples: Iterable[Example]) -> None:
    for example in examples:
        place = _place(example.place)
        say(f"    {place}: {example.excerpt}" if example.excerpt else f"    {place}")


def _place(place: str) -> str:
    """Where a row is: its line, or its number in an array, in the user's language."""
    file, _, row = place.rpartition(":")
    return f"{file}:{tr(row)}" if file and row.startswith("row ") else place


def _meaning(meaning: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({tr(what)})" for name, what in meaning.items())


def _report_facts(report: DataReport) -> Iterator[tuple[str, str | Text | None]]:
    packed = f", {report.packing}" if report.packing else ""
    yield "file", f"{report.file}  {report.format}{packed}, {size(report.bytes)}"
    yield "verdict", Text(tr(_WORDS[report.verdict]), style=_VERDICTS[report.verdict])
    yield (
        "rows",
        tr(f"{report.rows}, bad: {report.bad_rows}") + ("" if report.is_complete else tr(" (not all read)")),
    )
    yield "hold", f"{tr(report.kind)}: {', '.join(report.columns)}"
    yield "written as", ", ".join(map(tr, report.written_as))
    yield "become", _meaning(report.meaning)
    yield "turns", _listed(report.turns, tr(" turns"))
    yield "roles", _listed(report.roles)
    yield "classes", _listed(report.classes)
    letters = sum(script.count for script in report.scripts) or 1
    yield (
        "scripts",
        ", ".join(f"{tr(script.name)} {100 * script.count / letters:.0f}%" for script in report.scripts[:6]),
    )
    if report.duplicates:
        yield "duplicates", f"{report.duplicates} ({', '.join(report.duplicate_places[:3])}, ...)"
    if report.empty_texts:
        yield "empty", tr(f"{report.empty_texts} rows have an empty answer or text")
    if report.overlap is not None:
        overlap = report.overlap
        places = f" ({', '.join(overlap.places[:3])})" if overlap.places else ""
        yield (
            "leakage",
            tr(f"{overlap.rows} evaluation rows are trained on, {overlap.questions} questions more") + places,
        )
    if report.tokens is not None:
        yield from _token_facts(report.tokens)


def _token_facts(tokens: TokenReport) -> Iterator[tuple[str, str | Text | None]]:
    sampled = tr(f" (of {tokens.rows} rows, evenly taken)") if tokens.is_sample else ""
    yield (
        "tokens",
        tr(f"median {tokens.median}, 95% have {tokens.p95} or less, longest {tokens.longest}") + sampled,
    )
    yield "trained", tr(f"{100 * tokens.supervised_share:.0f}% of the tokens")
    cuts = ", ".join(tr(f"{100 * at.share:.0f}% at {at.max_length}") for at in tokens.cut_at)
    yield "cut", tr(f"{tokens.cut_rows} rows at {tokens.max_length}; {cuts}") if cuts else None
    if tokens.unsupervised_rows:
        places = ", ".join(tokens.unsupervised_places[:3])
        yield (
            "untrained",
            tr(f"{tokens.unsupervised_rows} rows would be left out: nothing of them is trained ({places})"),
        )


def _print_histogram(console: Console, tokens: TokenReport) -> None:
    most = max((bin_.rows for bin_ in tokens.histogram), default=0)
    sign = "█" if signs_fit(console) else "#"
    for bin_ in tokens.histogram if most else ():
        if bin_.rows or bin_.upto <= tokens.longest:
            bar = sign * max(1 if bin_.rows else 0, round(_BAR * bin_.rows / most))
            console.print(f"  {tr('up to')} {bin_.upto:>7}  {bar} {bin_.rows}")


def _print_bad(report: DataReport) -> None:
    if not report.bad:
        return
    for reason in report.reasons[:_SHOWN_REASONS]:
        place = reason.examples[0].place if reason.examples else report.file
        rows = tr(f" ({reason.count} rows)") if reason.count > 1 else ""
        say(f"{_place(place)}: {tr(reason.message or reason.name)}{rows}")
        if reason.hint:
            say(f"  hint: {reason.hint}")
        _print_examples(reason.examples)
    if len(report.reasons) > _SHOWN_REASONS:
        say(f"  ... and {len(report.reasons) - _SHOWN_REASONS} more causes; `--json` lists them.")


def _listed(counts: Iterable[Count], unit: str = "") -> str:
    return ", ".join(f"{count.name}{unit}: {count.count}" for count in list(counts)[:8])


def print_preview(found: DataPreview) -> None:
    """Rows as they are trained."""
    console = out()
    if found.meaning:
        say(f"columns: {_meaning(found.meaning)}")
    for row in found.rows:
        console.print(Text(_place(row.place), style="bold"))
        if row.problem is not None:
            say(row.problem.message)
            if row.problem.hint:
                say(f"hint: {row.problem.hint}")
            continue
        console.print(coloured(row, with_signs=console.color_system is None), soft_wrap=True)
        say(
            f"{row.trained} tokens are trained, {row.context} are read, {row.cut} are cut at {found.max_length}."
        )
        if row.label is not None:
            say(f"Its class is `{row.label}`.")
        if row.sha256:
            say(f"sha256 {row.sha256}")
        elif not row.trained and row.label is None:
            say("note: Nothing of this row is trained: it would be left out.")
    print_findings(found.findings)


def coloured(row: RowPreview, *, with_signs: bool) -> Text:
    """A row's tokens in the colours of what becomes of them; with signs round them where there are no colours."""
    text = Text()
    signs = {TokenKind.TRAINED: ("⟦", "⟧"), TokenKind.CONTEXT: ("", ""), TokenKind.CUT: ("⟪", "⟫")}
    before: TokenKind | None = None
    for token in row.tokens:
        if with_signs and token.kind is not before:
            text.append(signs[before][1] if before else "")
            text.append(signs[token.kind][0])
        before = token.kind
        text.append(
            _shown(token), style=f"{_STYLES[token.kind]} {'reverse' if token.special else ''}".strip()
        )
    if with_signs and before:
        text.append(signs[before][1])
    return text


def _shown(token: PreviewToken) -> str:
    return plain(token.text).replace("\n", "↵\n")
