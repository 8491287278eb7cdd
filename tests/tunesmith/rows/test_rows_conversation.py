"""The shapes of a conversation, and what people write instead."""

from typing import Any

import pytest

from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.conversation import to_messages
from tunesmith.rows.chat.turns import MAX_MESSAGES, Message

USER = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}


def test_chat() -> None:
    row = {
        "id": 7,
        "messages": [
            {"role": "system", "content": "s"},
            USER,
            {**ANSWER, "weight": 0},
            USER,
            {**ANSWER, "weight": 1},
        ],
    }
    assert to_messages(row) == [
        Message("system", "s"),
        Message("user", "q"),
        Message("assistant", "a", 0),
        Message("user", "q"),
        Message("assistant", "a", 1),
    ]


def test_an_answer_may_come_first() -> None:
    assert to_messages({"messages": [ANSWER]}) == [Message("assistant", "a")]


def test_instruction_rows() -> None:
    assert to_messages({"instruction": "Add.", "input": "1 2", "output": "3", "system": "Calculator"}) == [
        Message("system", "Calculator"),
        Message("user", "Add.\n1 2"),
        Message("assistant", "3"),
    ]
    assert to_messages({"instruction": "Hi", "input": "", "output": "Ho"})[0] == Message("user", "Hi")
    assert to_messages({"instruction": "", "input": "Hi", "output": "Ho"})[0] == Message("user", "Hi")


def test_sharegpt_rows() -> None:
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a", "weight": 0}]
    more = [{"from": "human", "value": "r"}, {"from": "gpt", "value": "b"}]
    said = [
        Message("user", "q"),
        Message("assistant", "a", 0),
        Message("user", "r"),
        Message("assistant", "b"),
    ]
    assert to_messages({"conversations": turns + more}) == said
    assert to_messages({"conversation": [USER, ANSWER]}) == [Message("user", "q"), Message("assistant", "a")]
    assert to_messages({"conversations": turns + more, "system": "S"}) == [Message("system", "S"), *said]


@pytest.mark.parametrize(
    ("row", "message", "hint"),
    [
        ({"messages": []}, "empty", "Accepted"),
        ({"messages": "hi"}, "a string, not a list", "Accepted"),
        ({"messages": ["hi"]}, "`messages[0]` is a string", "Accepted"),
        ({"messages": [USER]}, "No turn has the role `assistant`", "Accepted"),
        ({"messages": [USER, {**ANSWER, "weight": 0}]}, "Every answer has `weight` 0", "weight"),
        ({"messages": [USER, {**ANSWER, "weight": 0.5}]}, "`messages[1].weight` is 0.5", "Use 1"),
        ({"messages": [USER, {**ANSWER, "weight": "1"}]}, "weight", "Use 1"),
        ({"messages": [USER, {"role": "asistant", "content": "q"}]}, "`asistant`", "`assistant`"),
        ({"messages": [USER, {"role": "xyzzy", "content": "q"}]}, "`xyzzy`", "Use `system`"),
        ({"messages": [USER, {"role": None, "content": "q"}]}, "`messages[1].role`", "Use `system`"),
        ({"messages": [{"from": "human", "value": "q"}]}, "no `role`", "ShareGPT"),
        (
            {"messages": [USER, {"role": "assistant", "content": "  \n"}]},
            "`messages[1].content` is empty",
            "answer",
        ),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "missing or `null`", "content"),
        (
            {"messages": [USER, {"role": "assistant", "content": [{"type": "text"}]}]},
            "`messages[1].content[0]` has no text",
            "text",
        ),
        (
            {"messages": [USER, {**ANSWER, "tool_calls": [1]}]},
            "`messages[1].tool_calls` is no call",
            "arguments",
        ),
        ({"messages": [USER, ANSWER], "tools": [1]}, "`tools[0]` names no function", "parameters"),
        ({"messages": [USER, ANSWER] * MAX_MESSAGES}, "2000 turns", "Split"),
        ({"conversations": [{"from": "human", "value": "q"}]}, "No turn has the role", "Accepted"),
        ({"conversations": [{"from": "alien", "value": "q"}]}, "`conversations[0].from` is `alien`", "`gpt`"),
        ({"conversations": [{"from": "gpt", "value": 1}]}, "`conversations[0].value` is a number", "value"),
        ({"conversations": [{"from": "gpt", "value": " "}]}, "`conversations[0].value` is empty", "answer"),
        ({"prompt": "a", "completion": "b"}, "`prompt`, `completion`", "Accepted"),
        ({}, "it has nothing", "Accepted"),
        ({"instruction": "a", "response": "b"}, "no `output`", "`response`"),
        ({"instruction": "a", "output": ""}, "`output` is empty", "answer"),
        ({"instruction": " ", "output": "b"}, "both empty", "question"),
        ({"instruction": "a", "output": 3}, "`output` is a number", "Accepted"),
        ({"instruction": "a", "output": "b", "history": [["q"]]}, "`history`", "messages"),
        ({"instruction": "a", "output": "b", "history": ["q", "a"]}, "`history`", "messages"),
        (
            {"messages": [USER, {**ANSWER, "images": ["x"]}]},
            "`messages[1].images` is not supported",
            "content",
        ),
        ({"messages": [{**USER, "reasoning": "r"}, ANSWER]}, "only an answer has reasoning", "Remove"),
        ({"messages": [USER, {"role": "function_call", "content": "{}"}]}, "calls no tool", "Write the call"),
        ({"messages": "[{'role': 'user'"}, "a string, not a list", "Accepted"),
    ],
)
def test_refusals(row: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(RowProblem) as caught:
        to_messages(row)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")
