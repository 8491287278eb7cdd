"""Instruction checks: what passes and what fails, in both languages; what cannot be read is refused."""

import pytest

from tunesmith.errors import InvalidInput
from tunesmith.evaluation.scores.checks import (
    MOST_CHARACTERS,
    MOST_CHECKS,
    NAMES,
    parse_check,
    parse_checks,
    passed,
    script_of,
)

CASES = [
    ("words<=3", "one two three", "one two three four"),
    ("words<=3", "三个字", "一共五个字"),
    ("words>=3", "用GPU训练", "GPU"),
    ("words = 2", "don’t", "one"),
    ("characters<5", "a b c d", "abcde"),
    ("characters=4", "你好吗？", "你好"),
    ("sentences=2", "It is 3.5. Yes!", "One."),
    ("sentences=2", "好。对吗？", "好，对吗？"),
    ("paragraphs=2", "a\nb\n\nc", "a\nb"),
    ("lines>1", "a\nb", "a\n\n"),
    ("bullets=3", "- a\n* b\n• c", "1. a\n2. b\n3. c"),
    ("bullets=2", "• 一\n• 二", "- 一"),
    ("numbered=2", "1. a\n2) b", "- a\n- b"),
    ("numbered=2", "一、甲\n二、乙", "3.5 倍\n2024 年"),
    ("placeholders>=2", "Dear [name], on [date]", "Dear [name]"),
    ("placeholders>=1", "亲爱的【姓名】：", "亲爱的姓名"),
    ("highlights=2", "**a** and *b*", "* a\n* b"),
    ("contains:apple", "An Apple!", "pineapple"),
    ("contains:人工智能", "谈谈人工智能。", "谈谈智能"),
    ("contains: new york", "in New  York", "in york, new"),
    ("not_contains:he", "the car", "he came"),
    ("not_contains:但是", "不过", "但是"),
    ("count:ha>=2", "ha, ha", "haha"),
    ("count:好=2", "好，好", "好"),
    ("starts:Dear Sir", "  dear sir, hello", "Hello, dear sir"),
    ("starts:尊敬的", "尊敬的先生", "先生"),
    ("ends:the end.", "It is The End. ", "the end. No"),
    ("ends:谢谢！", "再见，谢谢！", "谢谢你"),
    ("json", '```json\n{"a": [1]}\n```', 'Here: {"a": 1}'),
    ("json", '{"键": "值"}', "{'a': 1}"),
    ("lowercase", "all small 3.", "One"),
    ("uppercase", "ALL BIG 3.", "ONE two"),
    ("no_commas", "a b、c", "a，b"),
    ("no_commas", "a b", "a, b"),
    ("title", "<<A poem>>\nx", "A poem\nx"),
    ("title", "《静夜思》\n床前明月光", "静夜思"),
    ("quoted", '"so"', "so"),
    ("quoted", "「好」", "“好”吗"),
    ("language=zh", "用 PyTorch 的 DistributedDataParallel 训练模型。", "Use 模型 to train a model here."),
    ("language=zh", "你好", "こんにちは、世界"),
    ("language=en", "Train a model on 北京 data.", "训练 model"),
    ("language=ja", "東京は日本の首都です。", "东京是日本的首都。"),
    ("language=ko", "안녕하세요 세계", "hello"),
    ("language = zh-CN", "好", "3.5"),
]


@pytest.mark.parametrize(("text", "good", "bad"), CASES)
def test_a_check_passes_what_it_means_and_nothing_else(text: str, good: str, bad: str) -> None:
    check = parse_check(text)
    assert check is not None
    assert check.passes(good)
    assert not check.passes(bad)


def test_every_name_has_a_case() -> None:
    begun = {
        text.replace(" ", "").split(":")[0].split("<")[0].split(">")[0].split("=")[0] for text, *_ in CASES
    }
    assert begun == set(NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "", "words", "words<=", "words<=many", "words<=-1", "wrods<=3", "contains", "contains:", "contains: ", "json=1",
        "count:a", "count:>=2", "language=klingon", "language", "bullets:3", "x" * (MOST_CHARACTERS + 1), "mine",
        "words<=1234567",
    ],
)  # fmt: skip
def test_what_is_no_check_is_refused_with_what_there_is(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_check(text)
    assert refused.value.hint
    assert len(refused.value.message) < 300


def test_a_mistyped_name_is_guessed() -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_check("contians:apple")
    assert "Did you mean `contains`?" in (refused.value.hint or "")


def test_a_custom_scorer_may_stand_among_checks() -> None:
    assert parse_check("mine", ["mine"]) is None
    assert [check.text for check in parse_checks(["mine", "json"], ["mine"])] == ["json"]
    with pytest.raises(InvalidInput, match="at most"):
        parse_checks(["json"] * (MOST_CHECKS + 1))


def test_the_share_of_checks_that_pass() -> None:
    checks = parse_checks(["words<=2", "contains:a", "json"])
    assert passed("a b", checks) == pytest.approx(2 / 3)
    assert passed(" ", parse_checks(["words<=2", "not_contains:a"])) == 0
    with pytest.raises(ValueError, match="no check"):
        passed("a", [])


def test_a_long_chinese_answer_has_as_many_words_as_characters() -> None:
    """A count of what spaces part would see 60 words in it."""
    text = "人工智能改变了我们的生活方式，也" * 60
    check = parse_check("words=900")
    assert check is not None
    assert check.passes(text)


@pytest.mark.parametrize("text", ["", "123", "?!"])
def test_what_has_no_letters_has_no_language(text: str) -> None:
    assert script_of(text) is None
