"""Rows that mean more than their shape says: judged answers, scores, reasoning apart, columns that nobody reads."""

import csv
import json
import unicodedata
from pathlib import Path
from typing import Any

import chat_templates as zoo
import pytest
from tiny_model import make_tokenizer_folder

from tunesmith.dataset_views import DataReport, Finding
from tunesmith.errors import InvalidData
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.prompts import asked_rows
from tunesmith.rows.chat.turns import Message
from tunesmith.rows.files.detect_format import recognise
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.findings import Census
from tunesmith.rows.labels import check_known
from tunesmith.rows.problems import BadAnswer
from tunesmith.rows.report.checking import check_file
from tunesmith.rows.report.preview import preview
from tunesmith.rows.report.validation import validate
from tunesmith.rows.shapes import Shape, shape_of
from tunesmith.rows.verdicts import is_good_answer
from tunesmith.spec.training import TrainSpec

USER, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
PAIR = [Message("user", "q"), Message("assistant", "a")]


def spec(**given: Any) -> TrainSpec:
    return TrainSpec.read({"model_name_or_path": "-", "train_file": "-"} | given)


def write(folder: Path, *rows: dict[str, Any], name: str = "train.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def shape(path: Path, **given: Any) -> Shape:
    return shape_of(RowFile(path), spec(**given))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tokenizer_folder(tmp_path_factory.mktemp("model") / "m")


def found(report: DataReport) -> dict[str, Finding]:
    return {one.code: one for one in report.findings}


# --- answers that are judged

ROWS: dict[str, dict[str, Any]] = {
    "pair": {"prompt": "q", "completion": "a"},
    "instruction": {"instruction": "q", "input": "", "output": "a"},
    "messages": {"messages": [USER, ANSWER]},
    "sharegpt": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    "lists": {"prompt": [USER], "completion": [ANSWER]},
}


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
@pytest.mark.parametrize("name", ["train", "loss", "trainable"])
def test_a_turn_that_is_not_to_be_learned_says_so_in_any_spelling(
    tmp_path: Path, name: str, value: Any
) -> None:
    row = {"messages": [USER, ANSWER | {name: value}, USER, ANSWER | {name: True}]}
    assert [turn.weight for turn in shape(write(tmp_path, row)).read(row)] == [1, 0, 1, 1]


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


# --- what is not read


def test_columns_that_nobody_reads_are_said_with_their_share(tmp_path: Path, model: Path) -> None:
    rows = [ROWS["pair"] | {"id": i, "note": "x" if i % 4 == 0 else None, "tags": []} for i in range(8)]
    report = validate(write(tmp_path, *rows), spec(), model=model)
    said = found(report)["columns_not_read"]
    assert "`id` (100 %)" in said.message
    assert "`note` (25 %)" in said.message
    assert "tags" not in said.message, "what says nothing is not missed"
    assert report.meaning == {"prompt": "user", "completion": "assistant"}
    assert preview(write(tmp_path, *rows), spec(), model).findings == report.findings
    turns = {"messages": [USER | {"id": 1}, ANSWER | {"name": "bot", "mood": "good"}]}
    assert "`messages[].mood` (100 %)" in validate(write(tmp_path, turns), spec()).findings[0].message


@pytest.mark.parametrize(
    "column",
    [
        "reasoning",
        "Complex_CoT",
        "thinking",
        "chain of thought",
        "思考过程",
        "rationale",
        "reasoning_process",
        "model_thinking",
        "推理步骤",
    ],
)
def test_reasoning_in_a_column_of_its_own_is_said(tmp_path: Path, column: str) -> None:
    row = {"Question": "q", column: "because", "Response": "a"}
    path = write(tmp_path, row, row)
    assert shape(path).read(row) == PAIR
    said = found(validate(path, spec()))["reasoning_not_read"]
    assert column in said.message
    assert f"{{{column}}}" in (said.hint or "")
    assert "{Response}" in (said.hint or "")
    turns = found(validate(write(tmp_path, {"messages": [USER, ANSWER], column: "because"}), spec()))
    assert "reasoning_not_read" in turns


def test_scores_are_said_with_their_range(tmp_path: Path) -> None:
    rows = [ROWS["pair"] | {"score": score} for score in (1, 7.5, 3)]
    said = found(validate(write(tmp_path, *rows), spec()))["scores_not_read"]
    assert "`score` [1, 7.5]" in said.message


THOUGHT = "<think>\nI add two.\n</think>\n\nIt is 4."
# As the R1 distillations ship it: what stands before </think> is dropped of every answer.
DROPPED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] if m.role == 'assistant' else "
    "m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def thinking(*thoughts: str) -> dict[str, Any]:
    return {"messages": [turn for one in thoughts for turn in (USER, {**ANSWER, "content": one})]}


@pytest.mark.parametrize(
    ("source", "rows", "answers"),
    [
        (DROPPED, [thinking(THOUGHT), thinking(THOUGHT, THOUGHT), thinking("It is 4.")], 3),
        (zoo.THINKING, [thinking(THOUGHT), thinking(THOUGHT, THOUGHT), thinking("It is 4.")], 1),
        (zoo.CHATML_GENERATION, [thinking(THOUGHT), thinking(THOUGHT, THOUGHT)], 0),
        (DROPPED, [thinking("<think>\n\n</think>\n\nNo thought, nothing is lost.")], 0),
    ],
)
def test_reasoning_that_the_template_drops_is_said(
    tmp_path: Path, model: Path, source: str, rows: list[dict[str, Any]], answers: int
) -> None:
    template = tmp_path / "template.jinja"
    template.write_text(source)
    asked = spec(chat_template=str(template))
    path = write(tmp_path, *rows)
    said = found(validate(path, asked, model=model))
    assert ("reasoning_dropped" in said) == bool(answers)
    if answers:
        assert f"reasoning of {answers} answer" in said["reasoning_dropped"].message
        assert said["reasoning_dropped"].examples[0].excerpt
        assert preview(path, asked, model).findings == validate(path, asked, model=model).findings
    whole = found(validate(path, spec(chat_template=str(template), assistant_only_loss=False), model=model))
    assert ("reasoning_dropped" in whole) == bool(answers)


def test_answers_that_the_template_rewrites_are_said(tmp_path: Path, model: Path) -> None:
    template = tmp_path / "template.jinja"
    template.write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if loop.last or m.role == 'user' %}{{ m.content }}"
        "{% else %}{{ m.content[:3] }}{% endif %}<|im_end|>\n{% endfor %}"
    )
    path = write(tmp_path, thinking("a long answer", "another"), thinking("one answer alone"))
    said = found(validate(path, spec(chat_template=str(template)), model=model))["answers_rewritten"]
    assert "1 answer, in 1 of 2 rows" in said.message


def test_what_is_cut_is_said_as_a_share(tmp_path: Path, model: Path) -> None:
    path = write(tmp_path, *({"text": "word " * 500} for _ in range(3)))
    said = found(validate(path, spec(max_length=64), model=model))["rows_cut"]
    assert "3 of 3 rows" in said.message
    assert "97 % of all tokens are never seen" in said.message
    assert "training_type=pretrain" in (said.hint or "")
    assert "rows_cut" not in found(validate(path, spec(max_length=64, training_type="pretrain"), model=model))


def test_a_census_of_parts_says_the_same(tmp_path: Path) -> None:
    rows = [ROWS["pair"] | {"score": i, "x": "y" if i % 3 else ""} for i in range(30)]
    file = RowFile(write(tmp_path, *rows))
    whole, parts = Census(), [Census() for _ in range(3)]
    for number, row in file.scan():
        assert isinstance(row, dict)
        whole.take(number, row)
        parts[(number - 1) // 10].take(number, row)
    together = Census()
    for part in parts:
        together.add(json.loads(json.dumps(part.as_json())))
    said = [census.findings(shape(file.path), file.place, 64) for census in (whole, together)]
    assert said[0] == said[1]
    assert said[0]


def test_rows_of_several_tables_put_together_are_each_read(tmp_path: Path) -> None:
    empty = dict.fromkeys(("instruction", "input", "output", "messages", "conversations"))
    rows = [empty | ROWS[name] for name in ("instruction", "messages", "sharegpt")]
    path = write(tmp_path, *rows)
    assert [shape(path).read(row) for row in rows] == [PAIR] * 3
    with pytest.raises(RowProblem, match=r"`messages` is missing or `null`"):
        shape(path).read(empty)


def test_an_empty_answer_in_the_history_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, {"instruction": "i", "output": "o", "history": [["a", " "]]})
    assert "empty answer" in validate(path, spec()).reasons[0].message


def test_marks_that_another_rendering_left_in_answers_are_said(tmp_path: Path, model: Path) -> None:
    asked = {"role": "user", "content": "what is <|im_end|>?"}
    rows = [{"messages": [asked, ANSWER]}, {"messages": [USER, ANSWER | {"content": "a<|im_end|>"}]}]
    report = validate(write(tmp_path, *rows), spec(), model=model)
    assert found(report)["marks_in_answers"].count == 1


# --- what a model is asked


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
