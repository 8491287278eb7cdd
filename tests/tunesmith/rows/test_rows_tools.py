"""Tools in rows: every spelling is read, a template writes them in its way, and of them the calls alone are trained."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import chat_templates as zoo
import pytest
from tiny_model import CHATML, make_tokenizer, make_tokenizer_folder
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.builtin_templates import BUILT_IN
from tunesmith.rows.chat.conversation import to_messages
from tunesmith.rows.chat.prompts import PromptEncoder
from tunesmith.rows.chat.template import ChatTemplate
from tunesmith.rows.chat.tool_calls import calls_in, tools_in
from tunesmith.rows.chat.turns import tools_of
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.findings import Census
from tunesmith.rows.report.preview import preview
from tunesmith.rows.report.validation import validate
from tunesmith.rows.shapes import Shape, shape_of
from tunesmith.rows.tokens.encoding import IGNORE_INDEX, Encoded, Encoder
from tunesmith.spec.training import TrainSpec

FUNCTION = {
    "name": "get_weather",
    "description": "Das Wetter, погода, 天气",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOL = {"type": "function", "function": FUNCTION}
ARGUMENTS = {"city": "Київ"}
CALL = {"name": "get_weather", "arguments": ARGUMENTS}
SAID = '{"temperature": 3}'
ASK, ANSWER = "Wie ist es?", "Es sind 3 Grad."


def text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def spec(**given: Any) -> TrainSpec:
    return TrainSpec.read({"model_name_or_path": "-", "train_file": "-"} | given)


OPENAI = {
    "messages": [
        {"role": "user", "content": ASK},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call00001", "type": "function",
             "function": {"name": "get_weather", "arguments": text(ARGUMENTS)}}]},
        {"role": "tool", "tool_call_id": "call00001", "content": SAID},
        {"role": "assistant", "content": ANSWER},
    ],
    "tools": [TOOL],
}  # fmt: skip
SHAREGPT = {
    "conversations": [
        {"from": "human", "value": ASK},
        {"from": "function_call", "value": text(CALL)},
        {"from": "observation", "value": SAID},
        {"from": "gpt", "value": ANSWER},
    ],
    "tools": text([FUNCTION]),
}


def with_turn(turn: dict[str, Any]) -> dict[str, Any]:
    turns: list[dict[str, Any]] = list(OPENAI["messages"])  # type: ignore[arg-type]
    return OPENAI | {"messages": [turns[0], turn, *turns[2:]]}


SPELLINGS = {
    "openai": OPENAI,
    "sharegpt": SHAREGPT,
    "arguments are an object": with_turn(
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": CALL}]}
    ),
    "a call without a wrap": with_turn({"role": "assistant", "content": None, "tool_calls": [CALL]}),
    "calls as text": with_turn({"role": "assistant", "content": None, "tool_calls": text([{"function": CALL}])}),
    "the old function_call": with_turn(
        {"role": "assistant", "content": None, "function_call": CALL | {"arguments": text(ARGUMENTS)}}
    ),
    "filled up with null": with_turn(
        {"role": "assistant", "content": None, "name": None, "tool_calls": [
            {"id": None, "type": "function", "function": CALL | {"arguments": ARGUMENTS | {"other": None}}}]}
    ),
    "a role for the call": with_turn({"role": "tool_call", "content": text(CALL)}),
    "turns as text": OPENAI | {"messages": [text(turn) for turn in OPENAI["messages"]]},  # type: ignore[union-attr]
    "all turns as one text": OPENAI | {"messages": text(OPENAI["messages"])},
    "as Python writes them": {name: repr(value) for name, value in OPENAI.items()},
    "a single tool": OPENAI | {"tools": text(FUNCTION)},
    "tools as texts": OPENAI | {"tools": [text(TOOL)]},
    "functions": {"messages": OPENAI["messages"], "functions": [FUNCTION]},
}  # fmt: skip


@cache
def tokenizer() -> Tokenizer:
    made = make_tokenizer()
    made.add_special_tokens(zoo.EXTRA_TOKENS)
    return made


@cache
def encoder(source: str) -> Encoder:
    return Encoder(ChatTemplate(source, {"bos_token": "<s>", "eos_token": "</s>"}), tokenizer(), 10_000)


def text_of(ids: list[int]) -> str:
    return tokenizer().decode(ids, skip_special_tokens=False)


def trained(encoded: Encoded) -> list[str]:
    return [text_of(encoded.input_ids[first:last]) for first, last in encoded.trained]


def shape_read(tmp_path: Path, row: dict[str, Any]) -> Any:
    path = tmp_path / "rows.jsonl"
    path.write_text(text(row) + "\n")
    return shape_of(RowFile(path), spec()).read(row)


@pytest.mark.parametrize("name", list(SPELLINGS))
def test_every_spelling_is_the_same_conversation(tmp_path: Path, name: str) -> None:
    found = shape_read(tmp_path, SPELLINGS[name])
    assert [(turn.role, turn.content) for turn in found] == [
        ("user", ASK), ("assistant", ""), ("tool", SAID), ("assistant", ANSWER),
    ]  # fmt: skip
    (call,) = json.loads(found[1].calls)
    assert call["function"] == CALL
    assert json.loads(tools_of(found)) == [TOOL]


def test_a_column_of_calls_is_an_answer(tmp_path: Path) -> None:
    row = {"id": 1, "query": ASK, "tools": text([FUNCTION]), "answers": text([CALL, CALL])}
    found = shape_read(tmp_path, row)
    assert [json.loads(turn.calls or "[]") for turn in found] == [
        [],
        [{"type": "function", "function": CALL}] * 2,
    ]
    assert json.loads(tools_of(found)) == [TOOL]


@pytest.mark.parametrize(
    "empty", [None, "", " ", "[]", "null", "None", [], {}, "{}", "nan", [None], "[null]"]
)
def test_no_tools_in_any_spelling(empty: Any) -> None:
    row = {
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
        "tools": empty,
    }
    assert tools_of(to_messages(row)) == ""
    if empty not in ([None], "[null]"):
        assert calls_in(empty, "x") == ""


@pytest.mark.parametrize("key", ["input_schema", "inputSchema"])
def test_tools_of_other_apis_keep_their_parameters(key: str) -> None:
    """Templates write `parameters`; what Anthropic and MCP call otherwise would be left out without a word."""
    schema = FUNCTION["parameters"]
    bare = {name: value for name, value in FUNCTION.items() if name != "parameters"}
    assert json.loads(tools_in([bare | {key: schema}], "tools"))[0]["function"]["parameters"] == schema


@pytest.mark.parametrize(
    ("tools", "system", "answers"),
    [
        ([TOOL], "", 0),
        ([TOOL | {"function": FUNCTION | {"name": "another"}}], "", 1),
        (None, "", 1),
        (None, f"You may call {text([TOOL])}", 0),
    ],
)
def test_calls_of_tools_that_are_offered_nowhere_are_said(tools: Any, system: str, answers: int) -> None:
    row = OPENAI | {"tools": tools, "system": system}
    found = encoder(zoo.TOOLS_OF_WORDS).encode(to_messages(row))
    assert found.not_offered == answers
    census = Census()
    census.take(1, row, found)
    said = [one.code for one in census.findings(Shape(talks=("messages",)), str, None)]
    assert said == ["calls_not_offered"] * answers


@pytest.mark.parametrize("bad", ["use the weather", [1], 7, [{"type": "function"}], "[{]", [{"name": 3}]])
def test_what_is_no_tool_is_refused(bad: Any) -> None:
    with pytest.raises(RowProblem, match="`tools"):
        tools_in(bad, "tools")
    with pytest.raises(RowProblem, match="`x"):
        calls_in(bad if bad != [{"name": 3}] else [{"name": "f", "arguments": "no JSON"}], "x")


def test_null_in_a_text_is_kept() -> None:
    """`Dataset.from_list` fills objects up with null; a text holds what was written."""
    given = {"name": "f", "arguments": {"a": None, "b": 1}}
    assert json.loads(calls_in(given, "x"))[0]["function"]["arguments"] == {"b": 1}
    for kept in (text(given), {"name": "f", "arguments": text(given["arguments"])}):
        assert json.loads(calls_in(kept, "x"))[0]["function"]["arguments"] == {"a": None, "b": 1}
    tool = {"type": "function", "function": FUNCTION | {"strict": None}}
    assert json.loads(tools_in([tool], "tools")) == [TOOL]


WORDS = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Київ"}}\n</tool_call><|im_end|>'
WRITTEN = {
    "TOOLS_OF_WORDS": [WORDS, ANSWER + "<|im_end|>"],
    "TOOLS_IN_THE_QUESTION": [
        '{"name": "get_weather", "parameters": {"city": "Київ"}}<|eot_id|>', ANSWER + "<|eot_id|>",
    ],
    "TOOLS_OF_TEXT": [
        '<|assistant|><|call|>function<|sep|>get_weather\n```json\n{"city": "Київ"}\n```<|end|>', ANSWER + "<|end|>",
    ],
    "TOOLS_AT_THE_LAST_QUESTION": [
        '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Київ"}}]</s>', f" {ANSWER}</s>",
    ],
    "TOOLS_BY_KEY": [
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Київ</arg_value></tool_call>", ANSWER,
    ],
    "chatml": [WORDS, ANSWER + "<|im_end|>"],
    "qwen": [WORDS, ANSWER + "<|im_end|>"],
}  # fmt: skip


@pytest.mark.parametrize("rounds", [1, 2])
@pytest.mark.parametrize("name", list(WRITTEN))
def test_calls_and_answers_are_trained_and_nothing_else(name: str, rounds: int) -> None:
    source = getattr(zoo, name) if name.isupper() else BUILT_IN[name].source
    messages: list[Any] = OPENAI["messages"] * rounds  # type: ignore[operator]
    encoded = encoder(source).encode(to_messages(OPENAI | {"messages": messages}))
    found = [piece.strip() for piece in trained(encoded)]
    # A template that opens an answer before it calls writes the mark where no prompt ends.
    expected = [piece.strip() for piece in WRITTEN[name]] * rounds
    assert [piece.removeprefix("<|assistant|>") for piece in found] == [
        piece.removeprefix("<|assistant|>") for piece in expected
    ]
    whole = text_of(encoded.input_ids)
    assert "get_weather" in whole.partition("Київ")[0], "the tools are told before they are called"
    assert "Das Wetter, погода, 天气" in whole
    shown = "".join(text_of([label]) for label in encoded.labels if label != IGNORE_INDEX)
    assert "temperature" in whole
    assert "temperature" not in shown
    assert ASK not in shown


def test_several_calls_in_one_answer_and_words_before_them() -> None:
    turn = {"role": "assistant", "content": "Ich sehe nach.", "tool_calls": [CALL, CALL]}
    said = [{"role": "tool", "content": SAID, "name": "get_weather"}] * 2
    messages = [OPENAI["messages"][0], turn, *said, OPENAI["messages"][-1]]  # type: ignore[index]
    found = trained(encoder(zoo.TOOLS_OF_WORDS).encode(to_messages({"messages": messages, "tools": [TOOL]})))
    assert found[0].startswith("Ich sehe nach.\n<tool_call>")
    assert found[0].count("get_weather") == 2
    assert found[1] == ANSWER + "<|im_end|>"


def test_lookalikes_in_calls_and_tools_are_plain_text() -> None:
    row = with_turn(
        {"role": "assistant", "content": None, "tool_calls": [CALL | {"arguments": {"city": "<|im_end|>"}}]}
    ) | {"tools": [{"name": "get_weather", "description": "ends with <|im_end|>"}]}
    encoded = encoder(zoo.TOOLS_OF_WORDS).encode(to_messages(row))
    end = tokenizer().token_to_id("<|im_end|>")
    assert encoded.input_ids.count(end) == 5, "one a turn, besides none"
    assert text_of(encoded.input_ids).count("<|im_end|>") == 7


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (OPENAI, "`tools`"),
        ({"messages": OPENAI["messages"]}, "does not write calls"),
        ({"messages": [OPENAI["messages"][0], {"role": "assistant", "content": "a", "reasoning_content": "r"}]},  # type: ignore[index]
         "reasoning"),
    ],
)  # fmt: skip
def test_a_template_that_would_lose_them_refuses_the_row(row: dict[str, Any], said: str) -> None:
    with pytest.raises(RowProblem, match=said) as caught:
        encoder(CHATML).encode(to_messages(row))
    assert caught.value.hint
    if said != "reasoning":
        assert "chat_template=chatml" in caught.value.hint


def test_what_a_tool_answered_is_never_left_out() -> None:
    deaf = (
        "{% for m in messages %}{% if m.role != 'tool' %}<|im_start|>{{ m.role }}\n"
        "{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    )
    turns = [
        {"role": "user", "content": "q"},
        {"role": "tool", "content": "42"},
        {"role": "assistant", "content": "a"},
    ]
    with pytest.raises(RowProblem, match="leaves out"):
        encoder(deaf).encode(to_messages({"messages": turns}))


def test_tools_in_the_system_turn_are_told_once() -> None:
    """Hermes' rows hold the tools twice: in the system turn, and in a column; and mark what a tool answered."""
    row = {
        "conversations": [
            {"from": "system", "value": f"Call these: <tools>{text([TOOL])}</tools>"},
            {"from": "human", "value": ASK},
            {"from": "gpt", "value": f"<tool_call>\n{text(CALL)}\n</tool_call>"},
            {"from": "tool", "value": f"<tool_response>\n{SAID}\n</tool_response>"},
            {"from": "gpt", "value": ANSWER},
        ],
        "tools": text([TOOL]),
    }
    for source in (CHATML, zoo.TOOLS_OF_WORDS):
        encoded = encoder(source).encode(to_messages(row))
        whole = text_of(encoded.input_ids)
        assert whole.count("Das Wetter") == 1
        assert whole.count("<tool_response>") == 1
        assert trained(encoded) == [WORDS, ANSWER + "<|im_end|>"]


def test_a_tool_is_told_by_its_name_alone_nowhere() -> None:
    row = OPENAI | {"messages": [{"role": "system", "content": "Use get_weather."}, *OPENAI["messages"]]}  # type: ignore[misc]
    assert tools_of(to_messages(row))


def test_reasoning_kept_apart_is_trained_where_the_template_writes_it() -> None:
    turns = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "reasoning_content": "because"},
    ]
    encoded = encoder(zoo.TOOLS_BY_KEY).encode(to_messages({"messages": turns}))
    assert trained(encoded) == ["<think>because</think>\na"]
    assert encoded.dropped == 0
    twice = encoder(zoo.TOOLS_BY_KEY).encode(to_messages({"messages": turns * 2}))
    assert twice.dropped == 1, "of the first answer it is not written"
    parts = [{"type": "thinking", "thinking": "because"}, {"type": "text", "text": "a"}]
    in_parts = to_messages({"messages": [turns[0], {"role": "assistant", "content": parts}]})
    assert encoder(zoo.TOOLS_BY_KEY).encode(in_parts) == encoded


def test_a_report_and_a_preview_show_them(tmp_path: Path) -> None:
    model = make_tokenizer_folder(tmp_path / "model")
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(text(row) + "\n" for row in (OPENAI, SHAREGPT, OPENAI)))
    refused = validate(path, spec(), model=model)
    assert (refused.verdict, refused.bad_rows, len(refused.reasons)) == ("refused", 3, 1)
    assert [one.place for one in refused.reasons[0].examples] == [
        "rows.jsonl:1",
        "rows.jsonl:2",
        "rows.jsonl:3",
    ]
    fine = validate(path, spec(chat_template="chatml"), model=model)
    assert (fine.verdict, fine.bad_rows, fine.meaning) == (
        "fine",
        0,
        {"messages": "turns", "tools": "tools", "conversations": "turns"},
    )
    row = preview(path, spec(chat_template="chatml", max_length=2000), model).rows[0]
    assert (
        "".join(token.text for token in row.tokens if token.kind == "trained") == f"{WORDS}{ANSWER}<|im_end|>"
    )
    assert "".join(token.text for token in row.tokens) == row.text


def test_a_prompt_is_read_from_such_a_row() -> None:
    asked = PromptEncoder(ChatTemplate(BUILT_IN["chatml"].source), tokenizer(), 10_000)
    ids = asked.prompt(to_messages(OPENAI)[:3])
    assert text_of(ids).endswith("</tool_response><|im_end|>\n<|im_start|>assistant\n")


PLAIN = "{% for m in messages %}{{ '<s>' + m['role'] + ' ' + m['content'] + '</s>' }}{% endfor %}"


@pytest.mark.parametrize(
    ("source", "end"),
    [
        (PLAIN, 2),
        (PLAIN.replace("'</s>'", "'\n'"), None),
        ("{{ raise_exception('only with tools') }}", None),
    ],
)
def test_the_end_of_answers_is_found_where_the_made_up_question_has_no_words(
    source: str, end: int | None
) -> None:
    """A tokenizer of few words knows none of it: that once ended a training that had all its steps."""
    words = ["<unk>", "<s>", "</s>", "user", "assistant", "one"]
    few = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    few.pre_tokenizer = WhitespaceSplit()
    few.add_special_tokens(words[:3])
    assert PromptEncoder(ChatTemplate(source), few, 10_000).end_of_answer() == end
