"""Conditions and templates over columns: what they mean, what is refused, and that nothing is ever run."""

from typing import Any

import pytest

from tunesmith.errors import InvalidInput
from tunesmith.row_problem import RowProblem
from tunesmith.spec.expression import parse_condition
from tunesmith.spec.text_template import parse_filling

ROW = {
    "text": "Hello world",
    "n": 3,
    "f": 0.5,
    "label": "a",
    "tags": ["x", "y"],
    "none": None,
    "a b": "c",
    "和": 1,
}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("n > 2", True),
        ("n > 2 and f < 0.1", False),
        ("n > 5 or f == 0.5", True),
        ("not n == 3", False),
        ("not not n == 3", True),
        ("n == 1 or n == 3 and f > 1", False),
        ("(n == 3 or n == 1) and f <= 0.5", True),
        ("len(text) >= 11 and len(tags) == 2 and len(none) == 0", True),
        ('text contains "world"', True),
        ('text not contains "world"', False),
        ("tags contains 'x'", True),
        ('label in ["a", "b"]', True),
        ("label not in ['a']", False),
        ('lower(text) starts_with "hello"', True),
        ('text ends_with "WORLD"', False),
        ("`a b` == 'c'", True),
        ("和 == 1", True),
        ("none == null", True),
        ("none > 1", False),
        ("n != -3", True),
        (r'text != "a\"b"', True),
        ("1e1 == 10.0", True),
        ("n", True),
    ],
)
def test_what_a_condition_means(condition: str, holds: bool) -> None:
    assert parse_condition(condition).holds(ROW) is holds


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("n = 1", "character 3"),
        ("", "it ends"),
        ("n >", "it ends"),
        ("lenn(text) > 1", "no function `lenn`"),
        ("__import__('os')", "no function `__import__`"),
        ("text.upper() == 1", "`.` means nothing"),
        ("n > 1; n", "`;` means nothing"),
        ("n > 1 n", "nothing more was expected"),
        ("(" * 5000 + "n", "at most 4000"),
        ("(" * 3000 + "n", "nested too deeply"),
        ("[" * 3000, "nested too deeply"),
        ("len(" * 900, "nested too deeply"),
        ("'open", "means nothing"),
    ],
)
def test_what_is_no_condition_is_said_with_its_place(condition: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words.replace("(", r"\(").replace(".", r"\.")):
        parse_condition(condition)


def test_many_parts_in_a_row_are_no_depth() -> None:
    assert parse_condition(" or ".join(["n == 1"] * 300 + ["n == 3"])).holds(ROW)
    assert parse_condition("not " * 900 + "n == 3").holds(ROW)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("txt == 1", "no column `txt`"),
        ("text > 5", "no order"),
        ("len(n) > 1", "means nothing"),
        ("n contains 1", "holds nothing"),
    ],
)
def test_a_value_that_cannot_be_compared_is_a_problem_of_its_row(condition: str, words: str) -> None:
    with pytest.raises(RowProblem, match=words):
        parse_condition(condition).holds(ROW)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{label}: {text}", "a: Hello world"),
        ("{{{label}}}", "{a}"),
        ("no column", "no column"),
        ("{n}|{none}|{tags}|{a b}", '3||["x", "y"]|c'),
    ],
)
def test_what_a_template_makes(template: str, text: str) -> None:
    assert parse_filling(template).fill(ROW) == text


@pytest.mark.parametrize("template", ["{", "}", "a {} b", "{a{b}}"])
def test_a_brace_that_names_nothing_is_refused(template: str) -> None:
    with pytest.raises(InvalidInput, match="names no column"):
        parse_filling(template)


def test_an_unknown_placeholder_is_refused_with_what_was_meant() -> None:
    row: dict[str, Any] = {"instruction": "i"}
    with pytest.raises(RowProblem) as caught:
        parse_filling("{instruktion}").fill(row)
    assert caught.value.hint == "Did you mean `{instruction}`?"
    with pytest.raises(RowProblem):
        parse_filling("{text.__class__}").fill(ROW)
