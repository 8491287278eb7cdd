"""Decisions have numbers of their own: two engineers who write one on the same day take two."""

import re
from pathlib import Path

DECISIONS = Path(__file__).resolve().parents[2] / "platform" / "decisions"


def test_each_decision_has_a_number_of_its_own_and_says_it() -> None:
    pages = sorted(DECISIONS.glob("*.md"))
    numbers = [page.name[:4] for page in pages]
    assert len(numbers) > 40
    assert len(set(numbers)) == len(numbers), sorted({one for one in numbers if numbers.count(one) > 1})
    for page in pages:
        said = re.match(r"# (\d+)", page.read_text())
        if said is not None:
            assert int(said[1]) == int(page.name[:4]), page.name
