"""What people write in other ways than those that are documented is read, refused or said: it is never passed over."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_model import make_tokenizer_folder

from tunesmith.dataset_views import DataReport, Finding, TokenKind
from tunesmith.rows.chat.turns import Message, tools_of
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.findings import Census
from tunesmith.rows.report.preview import preview
from tunesmith.rows.report.validation import validate
from tunesmith.rows.shapes import Shape, shape_of
from tunesmith.rows.verdicts import may_judge
from tunesmith.spec.training import TrainSpec

USER, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
PAIR = {"prompt": "q", "completion": "a"}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {}}}
CALL = {"name": "look", "arguments": {"city": "Rom"}}
OPENAI_CALL = {"type": "function", "function": CALL}


def spec() -> TrainSpec:
    return TrainSpec.read({"model_name_or_path": "m", "train_file": "f"})


def write(folder: Path, *rows: dict[str, Any], name: str = "train.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def shape(path: Path) -> Shape:
    return shape_of(RowFile(path), spec())


def read(folder: Path, row: dict[str, Any]) -> list[Message]:
    found = shape(write(folder, row)).read(row)
    assert isinstance(found, list)
    return found


def found(report: DataReport) -> dict[str, Finding]:
    return {one.code: one for one in report.findings}


def turns(answer: dict[str, Any], **beside: Any) -> dict[str, Any]:
    return {"messages": [USER, answer, {"role": "tool", "content": "20"}, ANSWER], "tools": [TOOL]} | beside


CALLS = {
    "tool_call": turns({"role": "assistant", "content": "", "tool_call": CALL}),
    "function_calls": turns({"role": "assistant", "function_calls": [CALL]}),
    "no value beside the calls": {
        "conversations": [
            {"from": "human", "value": "q"},
            {"from": "gpt", "value": None, "tool_calls": [OPENAI_CALL]},
            {"from": "observation", "value": "20"},
            {"from": "gpt", "value": "a"},
        ],
        "tools": [TOOL],
    },
    "a part tool_use": turns(
        {"role": "assistant", "content": [{"type": "tool_use", "name": "look", "input": CALL["arguments"]}]}
    ),
    "a part tool_call": turns({"role": "assistant", "content": [{"type": "tool_call", "value": json.dumps(CALL)}]}),
    "a part of several": turns({"role": "assistant", "content": [{"type": "tool_calls", "value": json.dumps([CALL])}]}),
    "arguments are JSON twice": turns(
        {"role": "assistant", "tool_calls": [CALL | {"arguments": json.dumps(json.dumps(CALL["arguments"]))}]}
    ),
    "arguments as Python writes them": turns(
        {"role": "assistant", "tool_calls": [CALL | {"arguments": "{'city': 'Rom'}"}]}
    ),
    "tools are JSON twice": turns(
        {"role": "assistant", "tool_calls": [OPENAI_CALL]}, tools=json.dumps(json.dumps([TOOL]))
    ),
    "tools in the system turn": {
        "messages": [
            {"role": "system", "content": "s", "tools": [TOOL]}, USER,
            {"role": "assistant", "tool_calls": [OPENAI_CALL]}, {"role": "tool", "content": "20"}, ANSWER,
        ]
    },
    "available_tools": turns({"role": "assistant", "tool_calls": [OPENAI_CALL]}, tools=None, available_tools=[TOOL]),
}  # fmt: skip


@pytest.mark.parametrize("row", CALLS.values(), ids=CALLS)
def test_a_call_is_a_call_however_it_is_written(tmp_path: Path, row: dict[str, Any]) -> None:
    conversation = read(tmp_path, row)
    called = [json.loads(turn.calls) for turn in conversation if turn.calls]
    assert called == [[OPENAI_CALL]]
    assert json.loads(tools_of(conversation)) == [TOOL]
    assert "columns_not_read" not in found(validate(write(tmp_path, row), spec()))


@pytest.mark.parametrize(
    "none", ["", "[]", "null", "<NA>", "#N/A", "[{}]", '"[]"', [], {}, [{}], [[]], [None]]
)
def test_no_tools_in_any_spelling(tmp_path: Path, none: Any) -> None:
    assert tools_of(read(tmp_path, {"messages": [USER, ANSWER], "tools": none})) == ""


def test_words_and_calls_of_one_answer_are_both_kept(tmp_path: Path) -> None:
    parts = [
        {"type": "reasoning", "value": "I look."},
        {"type": "text", "value": "One moment."},
        {"type": "tool_call", "value": json.dumps(CALL)},
    ]
    answer = read(tmp_path, turns({"role": "assistant", "content": parts}))[1]
    assert (answer.reasoning, answer.content) == ("I look.", "One moment.")
    assert json.loads(answer.calls) == [OPENAI_CALL]


def test_an_answers_loss_weight_is_its_weight(tmp_path: Path) -> None:
    rows = [USER | {"loss_weight": 0.0}, ANSWER | {"loss_weight": 0.0}, USER, ANSWER | {"loss_weight": 1.0}]
    conversation = read(tmp_path, {"messages": rows})
    assert [turn.weight for turn in conversation if turn.role == "assistant"] == [0, 1]
    report = validate(write(tmp_path, {"messages": [USER, ANSWER | {"loss_weight": 0.5}]}), spec())
    assert "loss_weight` is 0.5" in report.reasons[0].message


# --- answers that a row calls bad, by other names and words


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        ("label", "upvoted", "downvoted"), ("label", "OK", "NG"), ("反馈", "赞", "踩"), ("label", "可接受", "不可接受"),
        ("is_desired", True, False), ("preference", "chosen", "rejected"), ("judgment", "pass", "fail"),
        ("human_label", 1, 0), ("vote", 1, -1), ("is_safe", "true", "false"), ("is_harmful", False, True),
        ("hallucination", "0", "1"), ("是否好评", "是", "否"),
    ],
)  # fmt: skip
def test_a_verdict_of_another_name_or_word_is_one(tmp_path: Path, column: str, good: Any, bad: Any) -> None:
    report = validate(write(tmp_path, *(PAIR | {column: value} for value in (good, bad, good))), spec())
    assert report.bad_rows == 1
    assert "marks the answer as a bad one" in report.reasons[0].message


@pytest.mark.parametrize(
    ("column", "values", "is_said"),
    [
        ("status", ["approved", "rejected"], True),
        ("annotation", ["good", "bad"], True),
        ("label", ["positive", "negative"], True),
        ("outcome", ["success", "failure"], True),
        ("passed", [True, False], True),
        ("质量", ["好", "差"], True),
        ("status", ["approved", "approved"], False),
        ("language", ["de", "en"], False),
        ("streamed", [True, False], False),
        ("split", ["train", "test"], False),
        ("mood", ["good", "calm", "bad", "tired"], False),
    ],
)
def test_words_that_may_judge_are_said_under_any_name(
    tmp_path: Path, column: str, values: list[Any], is_said: bool
) -> None:
    report = validate(write(tmp_path, *(PAIR | {column: value} for value in values)), spec())
    assert report.bad_rows == 0
    said = found(report)
    assert ("verdicts_not_read" in said) is is_said
    assert ("columns_not_read" in said) is not is_said, "each column is told once"
    if is_said:
        assert f"`{column}`" in said["verdicts_not_read"].message
        assert "50 %" in said["verdicts_not_read"].message


def test_plain_words_judge_only_under_a_name_that_says_what() -> None:
    assert may_judge("passed", "true") is True
    assert may_judge("streamed", "true") is None
    assert may_judge("anything", "rejected") is False


# --- what stands for nothing


@pytest.mark.parametrize("nothing", ["nan", "<NA>", "#N/A"])
def test_what_a_table_writes_for_nothing_is_no_answer_and_no_question(tmp_path: Path, nothing: str) -> None:
    for row in (
        PAIR | {"completion": nothing},
        PAIR | {"prompt": nothing},
        {"instruction": "i", "output": nothing},
        {"instruction": nothing, "input": nothing, "output": "o"},
        {"messages": [USER, ANSWER | {"content": nothing}]},
    ):
        report = validate(write(tmp_path, row), spec())
        assert report.bad_rows == 1, row
    rows = [
        {"instruction": "i", "input": nothing, "system": nothing, "output": "o"},
        {"prompt": "i", "input": nothing, "system": nothing, "completion": "o"},
    ]
    for row in rows:
        assert [turn.content for turn in read(tmp_path, row)] == ["i", "o"]


def test_a_table_without_an_answer_says_so(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("question,answer\nq,nan\nq,a\n")
    assert "which tables write where nothing is" in validate(path, spec()).reasons[0].message


def test_answers_that_may_stand_for_nothing_are_said(tmp_path: Path) -> None:
    rows = [PAIR | {"completion": answer} for answer in ("None", "N/A", "a", "b")]
    said = found(validate(write(tmp_path, *rows), spec()))["placeholders_trained"]
    assert "`completion` (`none` 25 %, `n/a` 25 %)" in said.message
    assert said.count == 2


# --- what belongs to the question


@pytest.mark.parametrize("column", ["images", "image", "audio", "videos", "Image_Path", "图片"])
def test_an_answer_about_a_picture_is_not_trained_without_it(tmp_path: Path, column: str) -> None:
    talk = {"messages": [USER | {"content": "<image>Who is it?"}, ANSWER]}
    for row in (talk, PAIR, {"instruction": "i", "output": "o"}):
        path = write(tmp_path, row | {column: ["a.jpg"]}, row | {column: []}, row)
        report = validate(path, spec())
        assert report.bad_rows == 1
        assert f"`{column}` holds what the answer is about" in report.reasons[0].message


def test_a_context_is_read_with_its_question(tmp_path: Path) -> None:
    row = {"context": "Rom liegt am Tiber.", "question": "Wo?", "answer": "Am Tiber."}
    assert [turn.content for turn in read(tmp_path, row)] == ["Wo?\nRom liegt am Tiber.", "Am Tiber."]
    (reason,) = validate(write(tmp_path, row | {"context": {"a": ["x"]}}), spec()).reasons
    assert "`context` belongs to the question, and is an object" in reason.message


# What a tool answers stands in the turn of the answer that called it (Gemma 4's way).
_IN_ONE_TURN = """\
{%- for m in messages %}{%- if m.role == 'user' %}{{- '<|im_start|>user\\n' + m.content + '<|im_end|>\\n' }}
{%- elif m.role == 'tool' %}{{- '<|sep|>response:' + m.content + '<|sep|>' }}
{%- else %}{%- if loop.index0 == 0 or messages[loop.index0 - 1].role == 'user' %}
{{- '<|im_start|>model\\n' }}{% endif %}
{%- for c in m.tool_calls or [] %}
{{- '<|call|>' + c.function.name + (c.function.arguments | tojson) + '<|end|>' }}{% endfor %}
{%- if not m.tool_calls %}{{- m.content + '<|im_end|>\\n' }}{% endif %}{% endif %}{% endfor %}
{%- if add_generation_prompt and messages[-1].role == 'user' %}{{- '<|im_start|>model\\n' }}{% endif %}"""


def test_what_a_tool_answered_is_not_trained_where_it_stands_in_the_same_turn(tmp_path: Path) -> None:
    model = make_tokenizer_folder(
        tmp_path / "model", template="{%- if tools %}{{- tools | tojson }}{% endif %}" + _IN_ONE_TURN
    )
    row = {
        "messages": [
            USER, {"role": "assistant", "tool_calls": [OPENAI_CALL]}, {"role": "tool", "content": "20 degrees"},
            {"role": "assistant", "tool_calls": [OPENAI_CALL]}, {"role": "tool", "content": "30 degrees"}, ANSWER,
        ],
        "tools": [TOOL],
    }  # fmt: skip
    (shown,) = preview(write(tmp_path, row), spec(), model).rows
    assert shown.problem is None, shown.problem
    trained = "".join(token.text for token in shown.tokens if token.kind is TokenKind.TRAINED)
    assert "degrees" not in trained
    assert trained.count("look") == 2


@pytest.mark.parametrize("heard", ["end", "d", "im_", "\n", "Oslo"])
def test_a_tool_s_short_answer_is_not_taken_for_a_part_of_the_mark_behind_the_call(
    tmp_path: Path, heard: str
) -> None:
    model = make_tokenizer_folder(tmp_path / "model")
    turns = [USER, {"role": "assistant", "content": "I look."}, {"role": "tool", "content": heard}, ANSWER]
    (shown,) = preview(write(tmp_path, {"messages": turns}), spec(), model).rows
    assert shown.problem is None, shown.problem
    trained = "".join(token.text for token in shown.tokens if token.kind is TokenKind.TRAINED)
    assert trained.startswith("I look.")


def test_words_of_parts_add_up(tmp_path: Path) -> None:
    rows = [PAIR | {"status": ("approved", "rejected")[i % 2]} for i in range(12)]
    file = RowFile(write(tmp_path, *rows))
    whole, together = Census(), Census()
    for number, row in file.scan():
        assert isinstance(row, dict)
        part = Census()
        for census in (whole, part):
            census.take(number, row)
        together.add(json.loads(json.dumps(part.as_json())))
    said = [census.findings(shape(file.path), file.place, 64) for census in (whole, together)]
    assert said[0] == said[1]
    assert [one.code for one in said[0]] == ["verdicts_not_read"]
