"""Rows as public data sets write them are each read for what they are."""

import csv
import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from meant_rows import ANSWER, PAIR, ROWS, USER, shape, spec, write

from tunesmith.rows.chat.prompts import asked_rows
from tunesmith.rows.files.detect_format import recognise
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.problems import BadAnswer
from tunesmith.rows.report.validation import validate
from tunesmith.rows.shapes import Shape


@pytest.mark.parametrize(
    "row",
    [
        {"指令": "翻译", "输入": "今天", "输出": "today", "系统": "译者"},
        {"Anweisung": "Nenne", "Eingabe": "x", "Ausgabe": "y"},
        {"prompt": "p", "input": "more", "response": "r", "system": "s"},
        {"instruction": "i", "input": "more", "output": "o"},
    ],
)
def test_a_model_is_asked_what_it_was_trained_on(tmp_path: Path, row: dict[str, Any]) -> None:
    path = write(tmp_path, row)
    (asked,) = asked_rows(path)
    trained = shape(path).read(row)
    assert isinstance(trained, list)
    assert asked.turns == trained[:-1]


# --- shapes that people have


@pytest.mark.parametrize(
    ("row", "sample"),
    [
        (
            {"instruction": "保持健康的三个提示。", "input": "", "output": "以下是"},
            ["保持健康的三个提示。", "以下是"],
        ),
        ({"kind": "NLI", "input": "前提：张三", "target": "中立"}, ["前提：张三", "中立"]),
        ({"问题": "你好", "回答": "好"}, ["你好", "好"]),
        ({"指令": "翻译", "输入": "今天", "输出": "today"}, ["翻译\n今天", "today"]),
        ({"指令": "写诗", "输入": "", "输出": "春", "系统": "诗人"}, ["诗人", "写诗", "春"]),
        ({"指令": "翻譯", "輸入": "今天", "輸出": "today"}, ["翻譯\n今天", "today"]),
        ({"指示": "翻訳して", "入力": "今日", "出力": "today"}, ["翻訳して\n今日", "today"]),
        ({"지시": "번역", "입력": "오늘", "출력": "today"}, ["번역\n오늘", "today"]),
        ({"Anweisung": "Nenne", "Eingabe": "x", "Ausgabe": "y"}, ["Nenne\nx", "y"]),
        ({"Instrucción": "i", "Entrada": None, "Salida": "o"}, ["i", "o"]),
        ({"التعليمات": "i", "المدخلات": "m", "المخرجات": "o"}, ["i\nm", "o"]),
        ({"Frage": "Was?", "Antwort": "Das.", "Quelle": "x"}, ["Was?", "Das."]),
        ({"Питання": "Що?", "Відповідь": "Це."}, ["Що?", "Це."]),
        ({"Question": "Quoi?", unicodedata.normalize("NFD", "Réponse"): "Ça."}, ["Quoi?", "Ça."]),
        ({"instruction": "i", "context": "c", "response": "r", "category": "qa"}, ["i\nc", "r"]),
        ({"Instruction": "i", "Input": None, "Output": "o"}, ["i", "o"]),
        ({"id": 1, "system_prompt": "s", "question": "q", "response": "r"}, ["s", "q", "r"]),
        (
            {"prompt": "p", "query": "more", "response": "r", "history": [["a", "b"]]},
            ["a", "b", "p\nmore", "r"],
        ),
        (
            {
                "instruction": "i",
                "input": "",
                "output": "o",
                "system": "s",
                "history": [["a", "b"], ["c", "d"]],
            },
            ["s", "a", "b", "c", "d", "i", "o"],
        ),
        ({"instruction": "i", "output": "o", "history": '[["a", "b"]]'}, ["a", "b", "i", "o"]),
        ({"instruction": "i", "output": "o", "history": "[]"}, ["i", "o"]),
        ({"instruction": "i", "output": "o", "history": [["", ""], ["a", "b"]]}, ["a", "b", "i", "o"]),
        ({"instruction": "i", "output": "o", "history": [USER, ANSWER]}, ["q", "a", "i", "o"]),
        ({"instruction": "i", "output": "o", "messages": None, "conversations": []}, ["i", "o"]),
        ({"prompt": "p", "completion": "c", "messages": None}, ["p", "c"]),
        ({"prompt": "p", "completion": "c", "conversations": []}, ["p", "c"]),
        ({"instruction": None, "input": None, "output": None, "messages": [USER, ANSWER]}, ["q", "a"]),
        ({"messages": None, "conversations": ROWS["sharegpt"]["conversations"]}, ["q", "a"]),
        ({"messages": [USER, ANSWER], "system": "s"}, ["s", "q", "a"]),
        ({"messages": [{"role": "Developer", "content": "s"}, USER, ANSWER]}, ["s", "q", "a"]),
        ({"messages": [{"role": "ｕｓｅｒ", "content": "q"}, ANSWER]}, ["q", "a"]),
        (
            {
                "messages": [
                    USER | {"content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
                    ANSWER,
                ]
            },
            ["one\ntwo", "a"],
        ),
        ({"prompt": json.dumps([USER]), "completion": json.dumps([ANSWER])}, ["q", "a"]),
        ({"problem": "p", "solution": "s"}, ["p", "s"]),
        # An answer may be JSON itself.
        ({"prompt": "p", "response": '{"role": "CEO", "name": "x"}'}, ["p", '{"role": "CEO", "name": "x"}']),
        (
            {"prompt": "p", "response": '[{"role": "CEO", "from": "x"}]'},
            ["p", '[{"role": "CEO", "from": "x"}]'],
        ),
        ({"query": "p", "answer": '{"a": 1}', "tools": "[]"}, ["p", '{"a": 1}']),
        ({"prompt": [USER], "completion": "a", "system": "s"}, ["s", "q", "a"]),
        (
            {
                "conversation": [{"human": "h1", "assistant": "a1"}, {"human": "h2", "assistant": "a2"}],
                "category": "c",
            },
            ["h1", "a1", "h2", "a2"],
        ),
        ({"conversation": [{"system": "s", "input": "h", "output": "a"}]}, ["s", "h", "a"]),
        (
            {"messages": [{"role": "用户", "content": "你好"}, {"role": "助手", "content": "好"}]},
            ["你好", "好"],
        ),
    ],
)
def test_shapes_of_public_data_sets(tmp_path: Path, row: dict[str, Any], sample: list[str]) -> None:
    path = write(tmp_path, row, row)
    assert [turn.content for turn in shape(path).read(row)] == sample  # type: ignore[union-attr]
    assert recognise(path).kind in ("conversation", "pair")


def test_an_image_is_refused_with_its_place(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "x"}}]
    path = write(tmp_path, {"messages": [USER | {"content": parts}, ANSWER]}, {"messages": [USER, ANSWER]})
    (reason,) = validate(path, spec()).reasons
    assert "`messages[0].content[1]` is a part of the type `image_url`" in reason.message
    assert reason.examples[0].place == "train.jsonl:1"


def test_earlier_answers_of_a_prompt_are_read_and_not_learned(tmp_path: Path) -> None:
    row = {"prompt": [USER, ANSWER, USER], "completion": [ANSWER]}
    read = shape(write(tmp_path, row)).read(row)
    assert [turn.weight for turn in read if turn.role == "assistant"] == [0, 1]  # type: ignore[union-attr]
    assert [turn.weight for turn in Shape().read({"messages": [USER, ANSWER | {"train": False}, USER, ANSWER]})  # type: ignore[union-attr]
            if turn.role == "assistant"] == [0, 1]  # fmt: skip


def test_turns_in_a_table(tmp_path: Path) -> None:
    """Parquet of `datasets` 5 holds turns of unlike keys as JSON; a CSV file holds JSON, or what Python writes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    turns = [USER, ANSWER | {"weight": 1}]
    as_json = pa.ExtensionArray.from_storage(pa.json_(), pa.array([json.dumps(turn) for turn in turns]))
    columns = {
        "messages": pa.ListArray.from_arrays([0, 2], as_json),
        "extra": pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": [1]}'])),
        "deep": pa.StructArray.from_arrays([pa.ListArray.from_arrays([0, 2], as_json)], ["inner"]),
    }
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    (one,) = [row for _, row in RowFile(tmp_path / "rows.parquet").scan()]
    assert one == {"messages": turns, "extra": {"a": [1]}, "deep": {"inner": turns}}
    as_numpy = repr(turns).replace("}, {", "}\n {")
    as_texts = "[" + "\n ".join(repr(json.dumps(turn)) for turn in turns) + "]"
    for written in (json.dumps(turns), repr(turns), as_numpy, as_texts):
        with (tmp_path / "rows.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [["", "messages", "label"], [0, written, "True"], [1, written, "False"]]
            )
        read = shape(tmp_path / "rows.csv")
        rows = [row for _, row in RowFile(tmp_path / "rows.csv").scan()]
        assert read.read(rows[0]) == PAIR  # type: ignore[arg-type]
        with pytest.raises(BadAnswer):
            read.read(rows[1])  # type: ignore[arg-type]
