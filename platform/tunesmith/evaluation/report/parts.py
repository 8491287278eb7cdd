"""What several sections of the report are put together from: titles, tables, candidates' names and scores."""

import math
from collections.abc import Sequence

from tunesmith.errors import shortened
from tunesmith.evaluation.report.facts import Facts
from tunesmith.evaluation.report.markup import Html, element, together
from tunesmith.evaluation.report.words import Words
from tunesmith.evaluation.results import CandidateResult
from tunesmith.evaluation.scores.info import INFO
from tunesmith.evaluation.sentences import number

LONGEST = 200
"""Characters of a name that are shown."""


def label(one: CandidateResult) -> str:
    """What people call a candidate."""
    return shortened(one.candidate.label or one.candidate.key, LONGEST)


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


def number_cell(*children: str | Html | None, class_: str = "") -> Html:
    """A cell that holds a number."""
    return element("td", *children, class_=f"n {class_}".strip())


def name_cell(facts: Facts, words: Words, one: CandidateResult) -> Html:
    """The cell with a candidate's name, and whether it is the base or recommended."""
    is_chosen = one.candidate.key == facts.comparison.recommended
    return element(
        "td",
        element("bdi", label(one)),
        element("span", words("base"), class_="tag") if one.candidate.is_base else None,
        element("span", words("recommended"), class_="tag accent") if is_chosen else None,
        class_="name",
    )


def candidate_row(facts: Facts, one: CandidateResult, cells: Sequence[Html]) -> Html:
    """A candidate's row; that of the recommended one stands out."""
    is_chosen = one.candidate.key == facts.comparison.recommended
    return element("tr", *cells, class_="chosen" if is_chosen else None)
