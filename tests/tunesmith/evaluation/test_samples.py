"""Sample files: what is asked and expected, and what tells a sample."""

from pathlib import Path
from typing import Any

import pytest
from sample_files import PAIR, written

from tunesmith.errors import InvalidData
from tunesmith.evaluation.results import Sample, Turn
from tunesmith.evaluation.sample_rows import content_id
from tunesmith.evaluation.samples import inspect_samples, read_samples


def asked(sample: Sample) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in sample.turns]


SHAPES: dict[str, tuple[dict[str, Any], list[tuple[str, str]], str]] = {
    "pair": (PAIR, [("user", "What is 2 + 2?")], "4"),
    "question": ({"question": "Who?", "answer": "She."}, [("user", "Who?")], "She."),
    "chinese": ({"问题": "首都？", "答案": "北京"}, [("user", "首都？")], "北京"),
    "system": ({**PAIR, "system": "Be brief."}, [("system", "Be brief."), ("user", "What is 2 + 2?")], "4"),
    "alpaca": (
        {"instruction": "Add.", "input": "2 and 2", "output": "4"},
        [("user", "Add.\n2 and 2")],
        "4",
    ),
    "messages": (
        {
            "messages": [
                {"role": "user", "content": "One?"},
                {"role": "assistant", "content": "Two."},
                {"role": "user", "content": "And then?"},
                {"role": "assistant", "content": "Three."},
            ]
        },
        [("user", "One?"), ("assistant", "Two."), ("user", "And then?")],
        "Three.",
    ),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        [("user", "Hi")],
        "Hello",
    ),
    "ends with a question": (
        {
            "messages": [
                {"role": "user", "content": "One?"},
                {"role": "assistant", "content": "Two."},
                {"role": "user", "content": "And then?"},
            ]
        },
        [("user", "One?")],
        "Two.",
    ),
    "class": ({"text": "It broke.", "label": "bad"}, [("user", "It broke.")], "bad"),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("form", ["splits", "jsonl", "array"])
def test_rows_mean_what_they_mean_to_a_training(tmp_path: Path, shape: str, form: str) -> None:
    row, turns, reference = SHAPES[shape]
    content, name = {
        "splits": ({"validation": [row]}, "samples.json"),
        "jsonl": ([row], "samples.jsonl"),
        "array": ([row], "rows.json"),
    }[form]
    [sample] = read_samples(written(tmp_path, content, name)).samples
    assert (asked(sample), sample.reference) == (turns, reference)
    assert (sample.split, sample.row) == ("validation", 1)
    assert sample.label == ("bad" if shape == "class" else None)


def test_a_table_is_read_too(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'prompt,completion,keywords,split\nHi,Hello,"[""hello"", ""hi""]",train\nBye,Ciao,,\n',
        "rows.csv",
    )
    found = read_samples(path)
    assert found.counts == {"train": 1, "validation": 1}
    assert [sample.keywords for sample in found.samples] == [("hello", "hi"), None]


def test_pairs_and_conversations_stand_side_by_side(tmp_path: Path) -> None:
    rows = [SHAPES[name][0] for name in ("pair", "messages", "alpaca")]
    found = read_samples(written(tmp_path, {"train": rows[:1], "validation": rows}))
    assert [sample.reference for sample in found.of("train")] == ["4"]
    # The first one stands in `train`, too: it is no proof of anything.
    assert [sample.reference for sample in found.of("validation")] == ["Three.", "4"]
    assert "count as trained: 1" in found.notes[0].en


def test_columns_may_be_named(tmp_path: Path) -> None:
    rows = [{"ask": "Why?", "reply": "So.", "role": "A judge."}]
    path = written(tmp_path, rows, "rows.jsonl")
    [sample] = read_samples(
        path, prompt_column="ask", response_column="reply", system_column="role", default_split="train"
    ).samples
    assert asked(sample) == [("system", "A judge."), ("user", "Why?")]
    assert sample.split == "train"
    with pytest.raises(InvalidData, match="has no column `replay`"):
        read_samples(path, prompt_column="ask", response_column="replay")


def test_the_id_is_of_what_is_asked_expected_and_checked(tmp_path: Path) -> None:
    more = {"keywords": ["4"], "checks": ["words<=1"], "label": "4"}
    path = written(tmp_path, {"validation": [{**PAIR, "id": "q-7", **more}]})
    [sample] = read_samples(path).samples
    moved = written(
        tmp_path, {"train": [{"prompt": "x", "completion": "y"}, {**PAIR, "id": 9, **more}]}, "b.json"
    )
    assert read_samples(moved).samples[1].id == sample.id
    assert (sample.name, sample.keywords, sample.checks, sample.label) == ("q-7", ("4",), ("words<=1",), "4")
    turns = [Turn(role="user", content="What is 2 + 2?")]
    assert sample.id == content_id(turns, "4", keywords=["4"], checks=["words<=1"], label="4")
    others = [
        content_id(turns, "5", keywords=["4"], checks=["words<=1"], label="4"),
        content_id(turns, "4", keywords=[], checks=["words<=1"], label="4"),
        content_id(turns, "4", checks=["words<=1"], label="4"),
        content_id(turns, "4", keywords=["4"], label="4"),
        content_id(turns, "4", keywords=["4"], checks=["words<=1"]),
        content_id([Turn(role="system", content="What is 2 + 2?")], "4", keywords=["4"]),
    ]
    assert len({sample.id, *others}) == 7
    assert len(sample.id) == 16
    int(sample.id, 16)


def test_doubles_are_asked_once_and_said(tmp_path: Path) -> None:
    found = read_samples(
        written(tmp_path, {"validation": [PAIR, {"prompt": "a", "completion": "b"}, PAIR, PAIR]})
    )
    assert [sample.row for sample in found.samples] == [1, 2]
    assert "asked once: 2" in found.notes[0].en
    assert "2 个" in found.notes[0].zh


def test_a_class_is_told_from_a_verdict_on_the_answer(tmp_path: Path) -> None:
    reviews = [
        {"prompt": "It broke. Good or bad?", "completion": "bad", "label": "bad"},
        {"prompt": "It works. Good or bad?", "completion": "good", "label": "good"},
    ]
    found = read_samples(written(tmp_path, {"validation": reviews}))
    assert [sample.label for sample in found.samples] == ["bad", "good"]
    judged = [
        {"prompt": "What is 2 + 2?", "completion": "4", "label": True},
        {"prompt": "What is 2 + 3?", "completion": "4", "label": False},
    ]
    found = inspect_samples(written(tmp_path, {"validation": judged}, "judged.json"))
    assert [sample.label for sample in found.samples] == [None]
    assert "marks the answer as a bad one" in found.problems[0].message
