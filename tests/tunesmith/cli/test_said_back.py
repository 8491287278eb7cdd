"""What a mistyped name or a path from elsewhere is answered with, and what Chinese readers see of a report."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_api import FakeApi

from tunesmith.cli.given import given_training
from tunesmith.dataset_views import Example, Finding
from tunesmith.language import tr


def test_the_option_for_a_model_is_no_other_spelling() -> None:
    """Each command of the guide names it so: a note each time told nobody anything."""
    given = given_training(None, None, {"model": "m", "train_file": "/t.jsonl"})
    assert given.parameters["model_name_or_path"] == "m"
    assert not given.notices


def test_a_task_that_is_nearly_called_so_is_suggested(api: FakeApi, cli: Callable[..., Any]) -> None:
    said = cli("train", "--model", "m", "--train-file", "/t.jsonl", "--name", "first", "--detach")
    assert said.code == 0, said.err
    said = cli("stop", "frist")
    assert said.code == 1
    assert "Did you mean `first`?" in said.err
    assert "Did you mean" not in cli("stop", "something-else").err


def test_bad_rows_are_told_in_chinese(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = [{"prompt": "q", "completion": "a", "label": good} for good in (True, False)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("TUNESMITH_LANG", "zh")
    said = cli("data", "validate", str(file))
    for line in (said.out + said.err).splitlines():
        assert "rows" not in line.replace("rows.jsonl", ""), line
        assert "answer" not in line, line
    assert "label (\u56de\u7b54\u662f\u5426\u597d)" in said.out


@pytest.mark.parametrize(
    "text",
    [
        "note: 5 of 20 rows are longer than 512 tokens and are cut: 6 % of all tokens are never seen.",
        "  hint: Raise `max_length` to keep them whole.",
        "`tools` is no list of tools, nor the JSON text of one.",
        "Columns may say which answers are bad ones, and are not read: `status` (`approved` 50 %). Bad answers would "
        "be trained like the good ones.",
    ],
)
def test_a_finding_is_chinese_with_its_label(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TUNESMITH_LANG", "zh")
    found = tr(text)
    for word in ("note", "hint", "rows", "tokens", " of ", "Raise", "answers"):
        assert word not in found


def test_a_form_of_few_signs_takes_no_sentence_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """`{0}: {1} rows{2}` is said of a file; any sentence with a colon and the word in it was taken apart by it."""
    monkeypatch.setenv("TUNESMITH_LANG", "zh")
    assert tr("what: this leaves such rows out and more") == "what: this leaves such rows out and more"
    assert tr("/t.jsonl: 3 rows.").startswith("/t.jsonl\uff1a3 ")


def test_a_findings_hint_stands_before_its_examples() -> None:
    one = Finding(code="x", message="M.", hint="H.", count=1, rows=2, examples=[Example(place="a:1")])
    assert one.in_words(with_hint=True) == "M. H. For example: a:1"
    assert one.in_words() == "M. For example: a:1"
