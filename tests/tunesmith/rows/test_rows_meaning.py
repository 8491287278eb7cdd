"""Rows that mean more than their shape says: judged answers, verdicts in words and numbers, preferences."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from meant_rows import ANSWER, PAIR, ROWS, USER, found, shape, spec, write

from tunesmith.errors import InvalidData
from tunesmith.row_problem import RowProblem
from tunesmith.rows.files.detect_format import recognise
from tunesmith.rows.labels import check_known
from tunesmith.rows.problems import BadAnswer
from tunesmith.rows.report.checking import check_file
from tunesmith.rows.report.validation import validate
from tunesmith.rows.verdicts import is_good_answer


@pytest.mark.parametrize("row", list(ROWS))
@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        ("label", True, False),
        ("label", 1, 0),
        ("label", "1", "0"),
        ("label", "True", "False"),
        ("kto_tag", True, False),
        ("kto_tag", "true", "false"),
        ("desirable", 1.0, 0.0),
        ("label", "chosen", "rejected"),
        ("label", "desirable", "undesirable"),
        ("Is_Correct", "yes", "no"),
        ("thumbs up", 1, -1),
        ("标签", "好", "坏"),
        ("ｌａｂｅｌ", "ｔｒｕｅ", "ｆａｌｓｅ"),
        ("kto", True, False),
        ("label", "WAHR", "FALSCH"),
        ("label", "VRAI", "FAUX"),
        ("label", "好评", "差评"),
        ("是否采纳", "是", "否"),
        ("評価", "良い", "悪い"),
        ("helpful", "✅", "❌"),
        ("is_bad", False, True),
        ("rejected", 0, 1),
        ("Is Wrong", "false", "True"),
    ],
)
def test_a_bad_answer_is_not_trained_as_a_good_one(
    tmp_path: Path, row: str, column: str, good: Any, bad: Any
) -> None:
    rows = [ROWS[row] | {column: verdict} for verdict in (good, good, bad, good, bad)]
    path = write(tmp_path, *rows)
    assert recognise(path).kind == "judged"
    report = validate(path, spec())
    assert (report.verdict, report.bad_rows) == ("refused", 2)
    (reason,) = report.reasons
    assert (reason.count, [one.place for one in reason.examples]) == (2, ["train.jsonl:3", "train.jsonl:5"])
    assert "allowed_bad_percent" in (reason.hint or "")
    with pytest.raises(InvalidData, match=r"bad one.* 2 rows: train\.jsonl:3"):
        check_file(path, shape(path))
    # What the user says so trains: the good ones alone.
    assert check_file(path, shape(path), allowed_bad_percent=50).rows == 3
    assert validate(path, spec(), allowed_bad_percent=50).verdict == "skips"
    assert shape(path).read(rows[0]) == PAIR
    with pytest.raises(BadAnswer):
        shape(path).read(rows[2])


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("label", ["sport", "politics"]),
        ("label", [1, 2, 3]),
        ("score", [1, 5]),
        ("rating", [1, 1]),
        ("feedback", ["Thank you", "no"]),
        ("label", [None, ""]),
        ("id", [0, 1]),
        ("human_verified", [False, False]),
        ("rejected", ["yes", "no"]),
        ("label", [0.3, 0.9]),
    ],
)
def test_a_column_of_another_meaning_judges_nothing(tmp_path: Path, column: str, values: list[Any]) -> None:
    path = write(tmp_path, *(ROWS["pair"] | {column: value} for value in values))
    assert not shape(path).verdict
    assert validate(path, spec()).bad_rows == 0


@pytest.mark.parametrize("other", ["unknown", "neutral", "", None])
def test_verdicts_in_words_judge_beside_those_that_say_neither(tmp_path: Path, other: Any) -> None:
    path = write(
        tmp_path, *(ROWS["pair"] | {"label": value} for value in (True, other, "False", "good", False))
    )
    assert validate(path, spec()).bad_rows == 2


def test_numbers_beside_words_are_classes(tmp_path: Path) -> None:
    path = write(tmp_path, *(ROWS["pair"] | {"label": value} for value in (0, 1, 2, "0", "1")))
    assert validate(path, spec()).bad_rows == 0


@pytest.mark.parametrize(("name", "bad"), [("label", False), ("kto_tag", "false"), ("feedback", "👎")])
def test_an_answer_that_its_own_turn_calls_bad_is_not_trained(tmp_path: Path, name: str, bad: Any) -> None:
    good = {"messages": [USER, ANSWER | {name: True}]}
    read = {"messages": [USER, ANSWER | {name: bad, "weight": 0}, USER, ANSWER]}
    path = write(tmp_path, good, {"messages": [USER, ANSWER | {name: bad}]}, read)
    report = validate(path, spec())
    assert report.bad_rows == 1
    assert f"messages[1].{name}" in report.reasons[0].message
    assert found(report) == {}, "what a turn says of its answer is read"
    assert shape(path).read(good) == PAIR
    acts = write(tmp_path, {"messages": [USER, ANSWER | {"label": 0}]})
    assert "`messages[].label` (100 %)" in found(validate(acts, spec()))["columns_not_read"].message


@pytest.mark.parametrize("value", [False, 0, "false", "False", "no"])
@pytest.mark.parametrize("name", ["train", "training", "loss", "need_loss", "trainable"])
def test_a_turn_that_is_not_to_be_learned_says_so_in_any_spelling(
    tmp_path: Path, name: str, value: Any
) -> None:
    row = {"messages": [USER, ANSWER | {name: value}, USER, ANSWER | {name: True}]}
    assert [turn.weight for turn in shape(write(tmp_path, row)).read(row)] == [1, 0, 1, 1]


@pytest.mark.parametrize(
    "keys", [("human", "assistant"), ("user", "assistant"), ("input", "output"), ("question", "answer")]
)
@pytest.mark.parametrize("name", ["weight", "train", "training", "loss", "need_loss", "trainable"])
def test_a_round_says_of_its_answer_what_a_turn_says(
    tmp_path: Path, keys: tuple[str, str], name: str
) -> None:
    said = dict(zip(keys, ("q", "a"), strict=True))
    row = {"conversation": [said | {name: 0}, said | {name: 1, "thinking": "t"}, said]}
    read = shape(write(tmp_path, row)).read(row)
    assert [turn.weight for turn in read] == [1, 0, 1, 1, 1, 1]
    assert [turn.reasoning for turn in read] == ["", "", "", "t", "", ""]


def test_a_round_that_calls_its_answer_a_bad_one_is_not_trained(tmp_path: Path) -> None:
    row = {"conversation": [{"human": "q", "assistant": "a", "is_correct": False}]}
    with pytest.raises(BadAnswer, match="is_correct"):
        shape(write(tmp_path, row)).read(row)


@pytest.mark.parametrize(
    "row", [{"sentence1": "x", "sentence2": "y"}, {"premise": "x", "hypothesis": "y"}, {"文": "x"}]
)
def test_rows_without_an_answer_are_not_judged(tmp_path: Path, row: dict[str, Any]) -> None:
    path = write(tmp_path, row | {"label": 0}, row | {"label": 1})
    assert recognise(path).kind == "unknown"
    assert {reason.message.split(";")[0] for reason in validate(path, spec()).reasons} == {
        "The row has neither `messages`, `conversations` nor `instruction`"
    }


def test_classes_in_other_languages_and_as_a_table_with_gaps_writes_them(tmp_path: Path) -> None:
    path = write(tmp_path, {"文本": "x", "标签": 0.0}, {"文本": "y", "标签": 1})
    assert recognise(path).kind == "labelled"
    report = validate(path, spec(training_type="classification"))
    assert [one.name for one in report.classes] == ["0", "1"]


def test_a_score_of_nought_and_one_is_a_verdict(tmp_path: Path) -> None:
    path = write(tmp_path, *(ROWS["pair"] | {"reward": value} for value in (1, 0, 1.0, 0.0)))
    assert validate(path, spec()).bad_rows == 2


def test_a_text_with_a_class_is_no_judged_answer(tmp_path: Path) -> None:
    path = write(tmp_path, {"text": "x", "label": 0}, {"text": "y", "label": 1})
    assert validate(path, spec()).bad_rows == 0
    assert validate(path, spec(training_type="classification")).findings == []


@pytest.mark.parametrize(
    ("value", "good"), [(True, True), ("👎", False), (2, None), ("", None), (float("nan"), None)]
)
def test_verdicts(value: Any, good: bool | None) -> None:
    assert is_good_answer(value) is good


# --- preferences

PREFERENCES = [
    {"prompt": "q", "chosen": "a", "rejected": "b"},
    {"prompt": "q", "chosen": [USER, ANSWER], "rejected": [USER, {**ANSWER, "content": "b"}]},
    {"prompt": [USER], "chosen": [ANSWER], "rejected": [{**ANSWER, "content": "b"}]},
    {"chosen": [USER, ANSWER], "rejected": [USER, {**ANSWER, "content": "b"}]},
    {"instruction": "q", "input": "", "chosen": "a", "rejected": "b"},
    {"messages": [USER], "chosen": ANSWER, "rejected": {**ANSWER, "content": "b"}},
    {
        "conversations": [{"from": "human", "value": "q"}],
        "chosen": {"from": "gpt", "value": "a"},
        "rejected": {"from": "gpt", "value": "b"},
    },
]


def test_a_preferred_text_without_a_question_is_refused_as_such(tmp_path: Path) -> None:
    path = write(tmp_path, {"chosen": "Human: q Assistant: a", "rejected": "Human: q Assistant: b"})
    (reason,) = validate(path, spec(response_column="chosen")).reasons
    assert "no column holds the question" in reason.message


@pytest.mark.parametrize("row", PREFERENCES)
def test_a_preference_is_trained_when_it_is_said_which(tmp_path: Path, row: dict[str, Any]) -> None:
    path = write(tmp_path, row, row)
    assert recognise(path).kind == "preference"
    with pytest.raises(RowProblem, match="preference pair") as caught:
        shape(path).read(row)
    assert "response_column=chosen" in (caught.value.hint or "")
    assert shape(path, response_column="chosen").read(row) == PAIR


def test_a_class_is_one_class_in_either_unicode_form(tmp_path: Path) -> None:
    names = [unicodedata.normalize(form, "résumé") for form in ("NFC", "NFD", "NFD")]
    path = write(tmp_path, *({"text": "x", "label": name} for name in [*names, "other"]))
    asked = spec(training_type="classification")
    assert check_file(path, shape(path, training_type="classification")).classes == ("other", names[0])
    check_known([names[0]], [names[1], "x"], "eval.jsonl")
    assert validate(path, asked).findings == []
    alike = write(tmp_path, *({"text": "x", "label": name} for name in ("Ａ", "A", "b")))
    said = validate(alike, asked).findings
    assert [one.code for one in said] == ["classes_alike"]
    assert "`A` and `Ａ`" in said[0].message


@pytest.mark.parametrize("key", ["label", "is_correct", "赞踩", "quality"])
def test_words_that_judge_are_found_in_an_object_too(tmp_path: Path, key: str) -> None:
    """They were told as one column more that nobody reads: half of the answers were bad ones."""
    good, bad = ("赞", "踩") if key == "赞踩" else ("good", "bad") if key == "quality" else (True, False)
    file = tmp_path / "train.jsonl"
    rows = [
        {"prompt": "q", "completion": "a", "meta": {key: good if n % 2 else bad, "n": n}} for n in range(6)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {one.code: one for one in validate(file, spec()).findings}
    assert f"`meta.{key}`" in found["verdicts_not_read"].message
    assert "looks into an object" in (found["verdicts_not_read"].hint or "")
    assert f"meta.{key}" not in found["columns_not_read"].message
