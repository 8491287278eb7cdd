"""What was asked and what each candidate answered, side by side: texts of strangers, escaped and cut."""

from collections.abc import Iterator

from tunesmith.evaluation.report.facts import Facts
from tunesmith.evaluation.report.markup import Html, element
from tunesmith.evaluation.report.words import Words
from tunesmith.evaluation.results import Answer, CandidateResult, Sample
from tunesmith.evaluation.sentences import number, signed

SHOWN = 20
"""Samples whose answers are shown side by side."""
_MOST = 4000
"""Characters of a text that are shown: a page of ten candidates stays small enough to open."""
_HEAD = 90


def extremes(facts: Facts, words: Words) -> Iterator[Html]:
    """The samples on which the candidate that matters most scores best and worst."""
    best, worst = facts.extremes()
    if facts.focus is None or not best:
        return
    focus = facts.focus
    name = focus.candidate.label or focus.candidate.key
    parts = [element("h2", words("samples_title", candidate=name))]
    for title, samples in (("best", best), ("worst", worst)):
        parts.append(element("h3", words(title)))
        parts += [_sample(facts, words, sample, [focus]) for sample in samples]
    yield element("section", *parts)


def side_by_side(facts: Facts, words: Words) -> Iterator[Html]:
    """The first samples with the answers of all candidates; those of validation first, as they decide."""
    samples = sorted(
        facts.result.samples, key=lambda one: (one.split != facts.comparison.split, one.row, one.id)
    )
    if not samples:
        return
    about = words("answers_about", shown=min(SHOWN, len(samples)), samples=len(samples))
    yield element(
        "section",
        element("h2", words("answers")),
        element("p", about, class_="soft"),
        *(_sample(facts, words, sample, list(facts.result.candidates)) for sample in samples[:SHOWN]),
    )


def _sample(facts: Facts, words: Words, sample: Sample, candidates: list[CandidateResult]) -> Html:
    question = " ".join(sample.turns[-1].content.split()) if sample.turns else ""
    head = question if len(question) <= _HEAD else question[:_HEAD] + "…"
    marks = [words("sample", row=sample.row)] if sample.row else []
    marks += [words(sample.split)]
    if len(candidates) == 1:
        marks += _figures(facts, words, sample, candidates[0])
    sides = [_titled(words("reference"), _text(sample.reference, words))]
    for one in candidates:
        answers = facts.answers.get((one.candidate.key, sample.id), ())
        notes = [] if len(candidates) == 1 else _figures(facts, words, sample, one)
        notes += _notes(words, sample, one, answers[0] if answers else None)
        if len(answers) > 1:
            notes.append(words("repeat", count=len(answers)))
        body = _text(answers[0].text, words) if answers else element("p", words("no_answer"), class_="soft")
        sides.append(_titled(one.candidate.label or one.candidate.key, body, notes))
    asked = [
        _titled(words("question") if turn.role == "user" else turn.role, _text(turn.content, words))
        for turn in sample.turns
    ]
    return element(
        "details",
        element(
            "summary",
            element("bdi", head or words("empty"), class_="quoted"),
            *(element("span", mark, class_="tag") for mark in marks),
        ),
        *asked,
        element("div", *sides, class_="sides"),
    )


def _figures(facts: Facts, words: Words, sample: Sample, one: CandidateResult) -> list[str]:
    """The score, and how it stands to the base's."""
    mean = facts.by_sample(one).get(sample.id)
    if mean is None:
        return []
    found = [f"{words.score(facts.score)} {number(mean)}"]
    base = facts.by_sample(facts.base).get(sample.id) if facts.base else None
    if base is not None and not one.candidate.is_base:
        found.append(words("against_base", value=signed(mean - base)))
    return found


def _notes(words: Words, sample: Sample, one: CandidateResult, answer: Answer | None) -> list[str]:
    found = []
    if answer is not None:
        found.append(words("tokens", count=answer.tokens))
        if answer.finish_reason == "length":
            found.append(words("was_cut"))
    if sample.id in one.seen:
        found.append(words("was_seen"))
    return found


def _titled(title: str, body: Html, notes: list[str] | None = None) -> Html:
    tags = [element("span", note, class_="tag") for note in notes or []]
    return element("div", element("h3", element("bdi", title), *tags), body)


def _text(text: str, words: Words) -> Html:
    if not text.strip():
        return element("p", words("empty"), class_="soft")
    rest = len(text) - _MOST
    more = element("p", words("more", count=rest), class_="soft") if rest > 0 else None
    return element("div", element("div", text[:_MOST], class_="text", dir="auto"), more)
