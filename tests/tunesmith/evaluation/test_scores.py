"""All scores of an answer: each in its range or skipped with a reason, and a version that changes with them."""

import hashlib
import json
import math

import pytest
from scored import EN, LIST_EN, LIST_ZH, OBJECT, ZH, answer, result, sample

from tunesmith.evaluation.results import COMPOSITE
from tunesmith.evaluation.scores import INFO, SCORERS_VERSION, ScoreOptions, cut_share, degenerate, score

EVERY_CHECK = (
    "words>1", "sentences>1", "paragraphs>1", "bullets>1", "numbered>1", "placeholders>1", "highlights>1", "json",
    "title", "quoted", "language=en", "contains:apple", "starts:a", "ends:a",
)  # fmt: skip


def test_what_an_answer_has_not_has_a_reason() -> None:
    scores, skipped = score(sample(EN), answer("Paris."))
    assert set(skipped) == {"similarity", "coherence", "perplexity"}
    assert all(reason.endswith(".") for reason in skipped.values())
    assert scores["finished"] == 1
    scores, skipped = score(
        sample(EN, checks=("words<=1",)),
        answer("Paris.", nll=2.0, reference_tokens=2, finish_reason="length"),
        ScoreOptions(given={"similarity": 0.5, "coherence": "A single sentence has no coherence."}),
    )
    assert scores["similarity"] == 0.5
    assert scores["perplexity"] == pytest.approx(math.e)
    assert scores["finished"] == 0
    assert scores["instructions"] == 1
    assert skipped == {"coherence": "A single sentence has no coherence."}
    assert set(scores) <= set(INFO)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "…",
        "\x00",
        *(sign * 20_000 for sign in 'a字\n .-|*#"<[`'),
        "." * 20_000 + "x",
        "é\u0301" * 10,
        "\ud800",
    ],
)
def test_every_text_gets_scores_in_their_range(text: str) -> None:
    """Those of one sign took minutes where an expression looks again at every place."""
    for expected in ("", "…", EN):
        scores, skipped = score(sample(expected, checks=EVERY_CHECK), answer(text))
        assert not set(scores) & set(skipped)
        for name, value in scores.items():
            high = INFO[name].high
            assert INFO[name].low <= value <= (math.inf if high is None else high)


def test_the_share_of_cut_answers() -> None:
    assert cut_share([answer("a"), answer("b", finish_reason="length")]) == 0.5
    assert cut_share([]) is None


def test_custom_scorers_score_what_they_are_for() -> None:
    options = ScoreOptions(
        custom={
            "long": lambda _, one: float(len(one.text) > 3),
            "broken": lambda *_: "It failed.",
            "named": lambda *_: 1.0,
        },
        named_only=frozenset({"named"}),
        weights={"long": 1.0},
    )
    scores, skipped = score(sample(EN), answer("Paris"), options)
    assert scores["long"] == scores[COMPOSITE] == 1
    assert skipped["broken"] == "It failed."
    assert "named" not in scores
    assert score(sample(EN, checks=("named",)), answer("Paris"), options)[0]["named"] == 1


# --- several candidates


def test_a_score_that_tells_nothing_apart_is_said_with_an_example() -> None:
    same = {"exact_match": 0.0, "finished": 1.0, "repetition": 0.0}
    results = [
        result(
            "one", answer("Paris", scores=same | {"format": 0.5}), answer("x", scores=same | {"format": 0.25})
        ),
        result("two", answer("Rome", scores=same)),
    ]
    (said,) = degenerate(results, [sample("Lyon")])
    assert "Exact match is 0 for all 3 answers" in said.en
    assert "`Paris`" in said.en
    assert "`Lyon`" in said.en
    assert "完全匹配" in said.zh
    assert degenerate([result("one", answer("x", scores={"exact_match": 0.0}))]) == []


# --- the version

GOLDEN = {"1": "ded275afd79bce17", "2": "418f706336c4f16a", "3": "418f706336c4f16a"}
"""What the scores of fixed answers were in each version. A formula that changes gets a new version and a new line.

3: a perplexity is cut at e^200, which none of these answers comes near.
"""


def test_a_formula_that_changes_changes_the_version() -> None:
    found = []
    for reference in (
        EN,
        ZH,
        LIST_EN,
        LIST_ZH,
        OBJECT,
        "positive",
        "A",
        "用 GPU 训练 3.5 小时。",
        "1. Mix 2 kg.\n2. Bake.",
    ):
        for text in (
            "Paris is the capital, and 2 million live there.", "巴黎是法国首都。人口是200万。人口是200万。",
            "- a\n- b\n- c", "1. 混合\n2. 冷却", '{"name": 1}', "Positive!", "a", "", "GPU训练了3.5小时",
            "```json\n[1]\n```", "<|im_end|>", "Dr. Who came. No, 3.5 came. No, 3.5 came. No, 3.5 came",
        ):  # fmt: skip
            scores, _ = score(
                sample(
                    reference,
                    label="positive",
                    checks=("words<=8", "sentences=2", "language=zh", "contains:GPU"),
                ),
                answer(text, nll=7.5, reference_tokens=5),
                ScoreOptions(given={"similarity": 0.5}),
            )
            found.append({name: round(value, 9) for name, value in scores.items()})
    told = json.dumps(found, sort_keys=True).encode()
    assert GOLDEN[SCORERS_VERSION] == hashlib.sha256(told).hexdigest()[:16], (
        "The same answers score otherwise: count `SCORERS_VERSION` up and add a line to `GOLDEN`."
    )
