"""Samples that a model was trained on are found, in both languages, however the row is shaped; others are not."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tunesmith.evaluation import contamination
from tunesmith.evaluation.contamination import SPAN_LETTERS, SPAN_WORDS, plain_text, seen_in
from tunesmith.evaluation.results import Sample, Turn
from tunesmith.evaluation.sample_rows import content_id
from tunesmith.evaluation.samples import default_samples
from tunesmith.spec.training import TrainSpec

LONG = (
    "A tuning fork rings at one pitch because its two prongs swing against each other, so that almost all other "
    "tones die away within the first moment after it was struck."
)
LONG_ZH = (
    "音叉敲响以后，两根叉臂相对振动，其他频率的声音很快就会消失，只剩下一个纯净的音，"
    "所以常常用它来给钢琴和其他乐器调音。"
)


def sample(question: str, answer: str, *before: Turn) -> Sample:
    turns = (*before, Turn(role="user", content=question))
    return Sample(id=content_id(turns, answer), row=1, turns=turns, reference=answer)


def written(folder: Path, *rows: dict[str, Any], name: str = "train.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def spec(**more: Any) -> TrainSpec:
    return TrainSpec.read({"model_name_or_path": "-", "train_file": "-", **more})


EN = sample("What is the capital of France?", "Paris, on the Seine.")
ZH = sample("中国的首都是哪里？", "北京。")
ROWS: dict[str, tuple[Sample, dict[str, Any], str | None]] = {
    "the same": (EN, {"prompt": "What is the capital of France?", "completion": "Paris, on the Seine."}, "exact"),
    "case, blanks and marks": (
        EN, {"prompt": " what is the  capital of FRANCE", "completion": "Paris on the Seine!"}, "exact",
    ),
    "another answer": (EN, {"prompt": "What is the capital of France?", "completion": "Lyon."}, "prompt"),
    "the answer to another question": (EN, {"prompt": "Which city?", "completion": "Paris, on the Seine."}, None),
    "another question": (EN, {"prompt": "What is the capital of Spain?", "completion": "Madrid."}, None),
    "inside a talk": (
        EN,
        {"messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "What is the capital of France?"},
            {"role": "assistant", "content": "Paris, on the Seine."}]},
        "exact",
    ),
    "alpaca": (
        EN, {"instruction": "What is the capital of France?", "input": "", "output": "Paris, on the Seine."}, "exact",
    ),
    "chinese": (ZH, {"问题": "中国的首都是哪里?", "答案": "北京"}, "exact"),
    "chinese, full width": (sample("１＋１＝？", "２"), {"问题": "1+1=?", "答案": "2"}, "exact"),
    "sums differ by their signs": (sample("2*3?", "6"), {"prompt": "2+3?", "completion": "5"}, None),
    "numbers differ by their point": (
        sample("Is 3.5 more?", "yes"), {"prompt": "Is 35 more?", "completion": "yes"}, None,
    ),
    "a long part of the answer": (
        sample("Why?", LONG), {"prompt": "Tell me.", "completion": f"You know: {LONG[20:130]}. So it is."}, "span",
    ),
    "a long part of the chinese answer": (
        sample("为什么？", LONG_ZH), {"prompt": "说说看。", "completion": f"大家知道，{LONG_ZH[9:48]}。"}, "span",
    ),
    "a short part": (sample("Why?", LONG), {"prompt": "Tell me.", "completion": LONG[:40]}, None),
    "a short chinese part": (sample("为什么？", LONG_ZH), {"prompt": "说说看。", "completion": LONG_ZH[:20]}, None),
}  # fmt: skip


@pytest.mark.parametrize("case", ROWS)
def test_what_a_row_gives_away(tmp_path: Path, case: str) -> None:
    wanted, row, grade = ROWS[case]
    other = {
        key: value if key == "messages" else f"Something else, number {n}"
        for n, (key, value) in enumerate(row.items())
    }
    file = written(tmp_path, *[other for key in row if key != "messages"][:1], row)
    assert seen_in([wanted], [file]) == ({wanted.id: grade} if grade else {})


def test_the_middle_of_a_talk_is_asked_only_by_the_same_talk(tmp_path: Path) -> None:
    before = (Turn(role="user", content="Name a river."), Turn(role="assistant", content="The Rhine."))
    talk = sample("And another?", "The Elbe.", *before)
    same = {
        "messages": [*(turn.model_dump() for turn in talk.turns), {"role": "assistant", "content": "The Po."}]
    }
    other = {"prompt": "And another?", "completion": "The Po."}
    assert seen_in([talk], [written(tmp_path, same)]) == {talk.id: "prompt"}
    assert seen_in([talk], [written(tmp_path, other, name="other.jsonl")]) == {}


def test_texts_and_classes(tmp_path: Path) -> None:
    review = sample("The zip broke.", "bad")
    classified = spec(training_type="classification", text_column="text", label_column="label")
    file = written(
        tmp_path, {"text": "It works.", "label": "good"}, {"text": "The zip broke.", "label": "bad"}
    )
    assert seen_in([review], [file], spec=classified) == {review.id: "exact"}
    document = written(tmp_path, {"text": f"On sound. {LONG} The end."}, name="documents.jsonl")
    wanted = sample("Why?", LONG)
    assert seen_in([wanted, review], [document], spec=spec(training_type="pretrain")) == {wanted.id: "span"}


def test_columns_as_trained(tmp_path: Path) -> None:
    file = written(
        tmp_path, {"ask": EN.turns[0].content, "reply": EN.reference, "prompt": "x", "completion": "y"}
    )
    assert seen_in([EN], [file]) == {}
    assert seen_in([EN], [file], spec=spec(prompt_column="ask", response_column="reply")) == {EN.id: "exact"}


def test_rows_that_were_held_out_give_nothing_away(tmp_path: Path) -> None:
    rows = [{"prompt": one.turns[0].content, "completion": one.reference} for one in (EN, ZH)]
    file = written(tmp_path, *rows)
    assert set(seen_in([EN, ZH], [file])) == {EN.id, ZH.id}
    assert set(seen_in([EN, ZH], [file], only_rows=[2])) == {ZH.id}
    assert seen_in([EN, ZH], [file], only_rows=[]) == {}


def test_the_best_grade_stays_over_several_files(tmp_path: Path) -> None:
    asked = written(tmp_path, {"prompt": EN.turns[0].content, "completion": "Lyon."}, name="a.jsonl")
    exact = written(tmp_path, {"prompt": EN.turns[0].content, "completion": EN.reference}, name="b.jsonl")
    for files in ([asked, exact], [exact, asked]):
        assert seen_in([EN], files) == {EN.id: "exact"}


def test_rows_that_are_not_trained_on_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text('{"prompt": "a", "completion": "b"}\n{broken\n{"prompt": "", "completion": "b"}\n')
    wanted = sample("a", "b")
    assert seen_in([wanted], [file]) == {wanted.id: "exact"}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_shared_span_is_found_wherever_it_begins(tmp_path: Path, language: str) -> None:
    """Rows are looked at in blocks: exactly 13 words (30 letters) are found at every offset, one less never."""
    draw = random.Random(3)
    is_en = language == "en"
    parts = (
        [f"w{number}" for number in range(60)] if is_en else [chr(0x4E00 + number) for number in range(60)]
    )
    others = (
        [f"v{number}" for number in range(60)] if is_en else [chr(0x5E00 + number) for number in range(60)]
    )
    joint, length = (" ", SPAN_WORDS) if is_en else ("", SPAN_LETTERS)
    wanted = sample("Why?", joint.join(parts))
    for shared, expected in ((length, {wanted.id: "span"}), (length - 1, {})):
        for before in range(20):
            start = draw.randrange(len(parts) - shared)
            text = joint.join([*others[:before], *parts[start : start + shared], *others[20 : 20 + before]])
            row = written(tmp_path, {"prompt": "Tell me.", "completion": text})
            assert seen_in([wanted], [row]) == expected, (shared, before, start)


def test_our_own_samples_do_not_give_each_other_away(tmp_path: Path) -> None:
    """What marks a sample as seen must be a sample, not the manner in which it asks."""
    every = default_samples().samples
    for split in ("train", "validation"):
        own = [one for one in every if one.split == split]
        others = [one for one in every if one.split != split]
        rows = [
            {
                "messages": [
                    *(turn.model_dump() for turn in one.turns),
                    {"role": "assistant", "content": one.reference},
                ]
            }
            for one in own
        ]
        file = written(tmp_path, *rows, name=f"{split}.jsonl")
        assert seen_in(own, [file]) == {one.id: "exact" for one in own}
        assert seen_in(others, [file]) == {}


def test_our_own_samples_are_new_to_a_model_that_learned_our_own_rows() -> None:
    """The demo trains on these rows: what an evaluation asks by default must not be known from them."""
    files = sorted((Path(__file__).resolve().parents[3] / "configs" / "datasets").glob("*.jsonl"))
    assert files
    assert seen_in(default_samples().samples, files) == {}


def test_memory_is_of_the_samples_alone() -> None:
    wanted = contamination._Wanted([sample("Why?", LONG)])
    before = (len(wanted._exact), len(wanted._asked), len(wanted._words._runs), len(wanted._words._blocks))
    for number in range(100):
        wanted.see_text(f"{LONG[:50]} and {number} others. " * 5, None)
    assert before == (
        len(wanted._exact),
        len(wanted._asked),
        len(wanted._words._runs),
        len(wanted._words._blocks),
    )
    assert plain_text("Ａ  b—Ｃ!") == "abc"
