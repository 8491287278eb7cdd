"""Answers that are classes: which one was said, and how many were right."""

import pytest
from scored import answer, sample

from tunesmith.evaluation.scores import classification
from tunesmith.evaluation.scores.classes import classify, label_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Positive", "positive"),
        ("The sentiment is positive.", "positive"),
        ("very positive!", "very positive"),
        ("positive or negative", None),
        ("I cannot tell", None),
        ("nonpositive", None),
    ],
)
def test_an_answer_names_one_class_or_none(text: str, expected: str | None) -> None:
    assert label_of(text, ["positive", "negative", "very positive"]) == expected


def test_chinese_classes_are_found_within_sentences() -> None:
    assert label_of("这条评论是负面的。", ["正面", "负面"]) == "负面"
    assert label_of("正面", ["正面", "非正面"]) == "正面"
    assert label_of("这是非正面的", ["正面", "非正面"]) == "非正面"


def test_classes_are_counted_as_scikit_learn_counts_them() -> None:
    expected = ["a", "a", "a", "b", "b", "c"]
    named = ["a", "b", None, "b", "b", "a"]
    found = classify(zip(expected, named, strict=True))
    assert found is not None
    assert found.accuracy == pytest.approx(0.5)
    # f1_score(expected, [n or "-" ...], labels=["a", "b", "c"], average="macro")
    assert found.macro_f1 == pytest.approx((0.4 + 0.8 + 0.0) / 3)
    assert found.labels == ("a", "b", "c")
    assert found.confusion == ((1, 1, 0, 1), (0, 2, 0, 0), (1, 0, 0, 0))
    assert classify([]) is None


def test_answers_to_samples_with_labels_are_classified() -> None:
    samples = [
        sample("", label="正面").model_copy(update={"id": "1"}),
        sample("x").model_copy(update={"id": "2"}),
    ]
    answers = [
        answer("正面").model_copy(update={"sample_id": "1"}),
        answer("y").model_copy(update={"sample_id": "2"}),
    ]
    found = classification(samples, answers)
    assert found is not None
    assert found.confusion == ((1, 0),)
    assert classification(samples[1:], answers) is None
