"""What texts score, in both languages: equal to the reference packages, and lower for the worse answer."""

import math

import pytest
from scored import EN, LIST_EN, LIST_ZH, OBJECT, ZH

from tunesmith.evaluation.scores.form import (
    coherence,
    format_match,
    keyword_coverage,
    keywords_of,
    length_ratio,
    neighbours,
    repetition,
)
from tunesmith.evaluation.scores.likelihood import perplexity
from tunesmith.evaluation.scores.overlap import exact_match, rouge_l, squad_tokens, token_f1
from tunesmith.evaluation.scores.text import names, sentences, units

# --- equal to the reference packages


PACKAGES = [
    ("the cat sat on the mat", "the cat is on the mat", 0.833333, 0.75, 0),
    ("The Cat!", "the cat", 1.0, 1.0, 1),
    ("A quick brown fox", "quick brown foxes", 0.571429, 0.666667, 0),
    ("Don't stop; it's well-known.", "Do not stop, it is well known", 0.571429, 0.181818, 0),
    ("3.5 million in 2024", "3.5 million people in 2,024", 0.666667, 0.888889, 0),
    ("", "something", 0.0, 0.0, 0),
    ("a", "b", 0.0, 0.0, 0),
    ("Paris is the capital of France.", "The capital of France is Paris.", 0.666667, 1.0, 0),
    ("one two three four five six", "six five four three two one", 0.166667, 1.0, 0),
    ("x_y snake_case", "x y snake case", 1.0, 0.0, 0),
    ("yes yes yes", "yes", 0.5, 0.5, 0),
    ("no overlap here", "totally different words", 0.0, 0.0, 0),
    ("Answer: 42\n\nBecause.", "42", 0.5, 0.5, 0),
]
"""Answer, reference, then what rouge-score 0.1.2 (`rougeL`, F) and SQuAD's script (F1, exact match) say of them."""


@pytest.mark.parametrize(("text", "reference", "rouge", "f1", "exact"), PACKAGES)
def test_english_is_scored_as_the_reference_packages_do(
    text: str, reference: str, rouge: float, f1: float, exact: int
) -> None:
    assert rouge_l(text, reference) == pytest.approx(rouge, abs=1e-6)
    assert exact_match(text, reference) == exact
    assert token_f1(text, reference) == pytest.approx(f1, abs=1e-6)


def test_an_answer_that_is_but_an_article_is_no_empty_one() -> None:
    """SQuAD's script takes `A` away whole: an empty answer to a question of choice would be right."""
    assert exact_match("", "A") == 0
    assert exact_match("A", "A") == exact_match("(a)", "A") == 1
    assert exact_match("B", "A") == 0
    assert token_f1("", "the") == 0


# --- Chinese is read as well as English


def test_equal_chinese_is_equal_and_another_sentence_is_not() -> None:
    equal, other = "北京是中国的首都。", "香蕉富含钾元素。"
    for measure in (rouge_l, token_f1, exact_match):
        assert measure(equal, equal) == 1
        assert measure(other, equal) == 0
    assert 0 < rouge_l("中国的首都是北京。", equal) < 1
    assert token_f1("中国的首都是北京。", equal) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ＧＰＵ有８０ＧＢ内存！", "gpu有80gb内存"),
        ("「你好」，世界……", "你好世界"),
        ("訓練完成。", "訓練完成"),
        ("模型 是 开源 的", "模型是开源的"),
        ("使用 GPU 训练", "使用GPU训练"),
    ],
)
def test_wide_forms_punctuation_and_spaces_do_not_count(one: str, other: str) -> None:
    assert units(one) == units(other)
    assert rouge_l(one, other) == length_ratio(one, other) == 1
    assert squad_tokens(one.replace(" ", "")) == squad_tokens(other)


def test_both_sides_of_a_mixed_text_are_read_alike() -> None:
    assert units("用PyTorch 2.13训练Qwen3模型") == [
        "用", "pytorch", "2", "13", "训", "练", "qwen3", "模", "型",
    ]  # fmt: skip
    assert units("don't") == ["don", "t"]
    assert units("安装ＣＵＤＡ") == ["安", "装", "cuda"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two? Three!", 3),
        ("It costs 3.5 dollars, e.g. at Dr. Smith's. Cheap!", 2),
        ("第一句。第二句？第三句！", 3),
        ("他说：“好。”然后走了。", 2),
        ("版本 3.5 发布了。见 v2.1.0 说明。", 2),
        ("- one\n- two", 2),
        ("1. First thing.\n2. Second thing.", 2),
        ("Wait... what?!", 2),
        ("没有标点", 1),
        ("…", 0),
        ("", 0),
    ],
)
def test_sentences_are_counted_in_both_languages(text: str, expected: int) -> None:
    assert len(sentences(text)) == expected, sentences(text)


# --- our own formulas: the worse answer scores lower


def coverage(text: str, reference: str) -> float:
    return keyword_coverage(text, keywords_of(reference))


def not_repeated(text: str, reference: str) -> float:
    return 1 - repetition(text)


WORSE = [
    (coverage, EN, "Paris is the capital of France; 2 million people live there.", "Paris is in France."),
    (coverage, EN, "Paris is in France.", "I do not know."),
    (coverage, ZH, "巴黎是法国的首都，人口200万。", "巴黎是个城市。"),
    (coverage, ZH, "巴黎是个城市。", "我不知道。"),
    (coverage, "The car is red.", "red car", "scared cargo"),
    (format_match, LIST_EN, "To do:\n- stir\n- heat\n- wait", "Stir, then heat, then wait."),
    (format_match, LIST_EN, "To do:\n- stir\n- heat\n- wait", "To do:\n- stir"),
    (format_match, LIST_ZH, "做法：\n- 搅拌\n- 加热\n- 等待", "先搅拌，再加热。"),
    (format_match, EN, "It is Paris.", "It is Paris and the"),
    (format_match, ZH, "是巴黎。", "是巴黎，而且"),
    (format_match, EN, "It is Paris.", "是巴黎。"),
    (format_match, ZH, "是巴黎。", "It is Paris."),
    (format_match, EN, "It is Paris.", "It is Paris.<|im_end|>\n<|im_start|>user."),
    (format_match, ZH, "是巴黎。", "### Response:\n是巴黎。"),
    (format_match, OBJECT, '{"name": "Bob", "age": 4}', '{"title": "Bob"}'),
    (format_match, OBJECT, '{"姓名": "Bob"}', "name: Bob"),
    (format_match, OBJECT, '{"name": "Bob", "age": 4}', '```json\n{"name": "Bob", "age": 4}\n```'),
    (format_match, EN, "x.", ""),
    (length_ratio, EN, "Paris is the capital of France, with 2 million people.", "Paris."),
    (length_ratio, EN, "Paris.", "word " * 400),
    (length_ratio, ZH, "巴黎是法国首都，有200万人。", "巴黎。"),
    (length_ratio, ZH, "巴黎。", "巴黎" * 200),
    (not_repeated, EN, EN, "Paris is a city. Paris is a city. Paris is a city."),
    (not_repeated, EN, "Paris is a city. Paris is a city.", "Paris " * 30),
    (not_repeated, ZH, ZH, "巴黎是首都。巴黎是首都。巴黎是首都。"),
    (not_repeated, ZH, "巴黎是首都。巴黎是首都。", "好的" * 30),
]  # fmt: skip


@pytest.mark.parametrize(("measure", "reference", "better", "worse"), WORSE)
def test_the_worse_answer_scores_lower(measure, reference: str, better: str, worse: str) -> None:
    assert 1 >= measure(better, reference) > measure(worse, reference) >= 0


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("Cats purr. Cats sleep a lot.", "Cats purr. Tax is due in May."),
        ("猫会打呼噜。猫很爱睡觉。", "猫会打呼噜。五月要交税。"),
    ],
)
def test_sentences_that_go_together_are_more_coherent(better: str, worse: str) -> None:
    def alike(pair: tuple[str, str]) -> float:
        one, other = (set(units(sentence)) for sentence in pair)
        return len(one & other) / len(one | other)

    assert coherence(list(map(alike, neighbours(better)))) > coherence(list(map(alike, neighbours(worse))))
    assert neighbours(better.split(".", maxsplit=1)[0].split("。", maxsplit=1)[0]) == []


def test_keywords_are_the_words_that_say_something() -> None:
    assert set(keywords_of(EN)) == {"2", "capital", "france", "paris", "million", "people", "live"}
    assert {"200", "巴黎", "首都", "法国", "人口"} <= set(keywords_of(ZH))
    assert not any("的" in word for word in keywords_of(ZH))
    assert keywords_of("It is.") == ("it", "is")
    assert keywords_of("1. Mix\n2. Bake 3.5 kg\n（3）冷却") == ("3.5", "bake", "mix", "kg", "冷却")
    assert keywords_of("是猫和狗") == ("猫", "狗")
    assert keywords_of("?!") == ()
    assert len(keywords_of(" ".join(f"word{number}" for number in range(99)))) == 20


def test_keywords_of_a_sample_are_whole_words_and_phrases() -> None:
    assert keyword_coverage("An apple a day", ["Apple", "pineapple"]) == 0.5
    assert keyword_coverage("pineapple", ["apple"]) == 0
    assert keyword_coverage("我用Python写代码", ["python", "写代码", "Java"]) == pytest.approx(2 / 3)
    assert keyword_coverage("we use C++ here", ["C++"]) == 1
    assert keyword_coverage("It has 1000 parts, 3.5 kg.", keywords_of("1,000 parts of 3.5 kg")) == 1
    assert keyword_coverage("共 35 个", keywords_of("3.5")) == keyword_coverage("3.5", ["3"]) == 0
    assert keyword_coverage("It is 3.", ["3"]) == keyword_coverage("３。", ["3"]) == 1
    assert names("人工 智能", "人工智能")
    assert not names("category", "cat")


# --- likelihood


def test_perplexity_is_the_exponential_of_the_mean() -> None:
    assert perplexity(3 * math.log(7), 3) == pytest.approx(7)
    assert perplexity(0.0, 5) == 1
    assert math.isfinite(perplexity(1e9, 1))
    for nll, tokens in ((1.0, 0), (math.nan, 3), (math.inf, 3), (-1.0, 3)):
        with pytest.raises(ValueError, match="no likelihood"):
            perplexity(nll, tokens)
