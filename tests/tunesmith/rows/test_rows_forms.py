"""Conversations as other tools write them: read as the same turns, told by their names, and nothing of them is lost."""

import json
from pathlib import Path
from typing import Any

import chat_templates as zoo
import pytest
from tiny_model import make_tokenizer_folder

from tunesmith.language import Language, tr
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.conversation import as_row, to_messages
from tunesmith.rows.chat.turns import Message, tools_of
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.report.preview import preview
from tunesmith.rows.report.validation import validate
from tunesmith.rows.shapes import Shape, shape_of
from tunesmith.spec.training import TrainSpec

SPEC = TrainSpec.read({"model_name_or_path": "-", "train_file": "-"})
SYSTEM, ASK, THOUGHT, BEFORE, SAID, MORE, ANSWER = (
    "Sei höflich.", "Wie warm ist es?", "Ich sehe nach.", "Moment.", '{"grad": 3}', "Und morgen?", "Drei Grad.",
)  # fmt: skip
SCHEMA = {"type": "object", "properties": {"ort": {"type": "string"}}, "required": ["ort"]}
FUNCTION = {"name": "wetter", "description": "Das Wetter", "parameters": SCHEMA}
TOOLS = [{"type": "function", "function": FUNCTION}]
ARGUMENTS = {"ort": "Xi'an"}


def call(call_id: str = "") -> str:
    made = {"type": "function", "function": {"name": "wetter", "arguments": ARGUMENTS}}
    return json.dumps([({"id": call_id} if call_id else {}) | made], ensure_ascii=False)


def text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


ANTHROPIC = {
    "system": [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": ASK},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": THOUGHT, "signature": "x"},
            {"type": "text", "text": BEFORE},
            {"type": "tool_use", "id": "toolu_01", "name": "wetter", "input": ARGUMENTS}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_01", "content": [{"type": "text", "text": SAID}]},
            {"type": "text", "text": MORE}]},
        {"role": "assistant", "content": ANSWER},
    ],
    "tools": [{"name": "wetter", "description": "Das Wetter", "input_schema": SCHEMA}],
}  # fmt: skip
GEMINI = {
    "systemInstruction": {"role": "system", "parts": [{"text": SYSTEM}]},
    "contents": [
        {"role": "user", "parts": [{"text": ASK}]},
        {"role": "model", "parts": [
            {"text": THOUGHT, "thought": True},
            {"text": BEFORE},
            {"functionCall": {"name": "wetter", "args": ARGUMENTS}}]},
        {"role": "user", "parts": [
            {"functionResponse": {"name": "wetter", "response": {"grad": 3}}},
            {"text": MORE[:4]}, {"text": MORE[4:]}]},
        {"role": "model", "parts": [{"text": ANSWER}]},
    ],
    "tools": [{"functionDeclarations": [{
        "name": "wetter", "description": "Das Wetter",
        "parameters": {"type": "OBJECT", "properties": {"ort": {"type": "STRING"}}, "required": ["ort"]}}]}],
}  # fmt: skip
GEMINI_SNAKE = {
    "system_instruction": SYSTEM,
    "contents": [
        GEMINI["contents"][0],
        {"role": "model", "parts": [
            {"thought": True, "text": THOUGHT},
            {"text": BEFORE},
            {"function_call": {"name": "wetter", "args": ARGUMENTS}}]},
        {"role": "function", "parts": [{"function_response": {"name": "wetter", "response": {"grad": 3}}}]},
        {"role": "user", "parts": [{"text": MORE}]},
        {"role": "model", "parts": [{"text": ANSWER}]},
    ],
    "tools": {"function_declarations": [FUNCTION]},
}  # fmt: skip
BEDROCK = {
    "schemaVersion": None,
    "system": [{"text": SYSTEM}, {"cachePoint": {"type": "default"}}],
    "messages": [
        {"role": "user", "content": [{"text": ASK}]},
        {"role": "assistant", "content": [
            {"reasoningContent": {"reasoningText": {"text": THOUGHT, "signature": "x"}}},
            {"text": BEFORE},
            {"toolUse": {"toolUseId": "toolu_01", "name": "wetter", "input": ARGUMENTS}}]},
        {"role": "user", "content": [
            {"toolResult": {"toolUseId": "toolu_01", "content": [{"json": {"grad": 3}}], "status": "success"}},
            {"text": MORE}]},
        {"role": "assistant", "content": [{"text": ANSWER}]},
    ],
    "toolConfig": {"tools": [{"toolSpec": {
        "name": "wetter", "description": "Das Wetter", "inputSchema": {"json": SCHEMA}}}]},
}  # fmt: skip
OFFER = "with access to the following functions. Use them if required -"
GLAIVE = {
    "system": f"SYSTEM: Sei höflich {OFFER}\n{json.dumps(FUNCTION, indent=4)}\n",
    "chat": f"USER: {ASK}\n\n\nASSISTANT: {BEFORE} <functioncall> "
    '{"name": "wetter", "arguments": \'{"ort": "Xi\'an"}\'} <|endoftext|>\n\n\n'
    f"FUNCTION RESPONSE: {SAID}\n\n\nASSISTANT: {ANSWER} <|endoftext|>\n\n\nUSER: {MORE}\n\n\n"
    f"ASSISTANT: 4.\nUm drei: 5. <|endoftext|>\n\n\n",
}
GLAIVE_PLAIN = {
    "sample": f"SYSTEM: {SYSTEM}\n\nUSER: {ASK}\n\nASSISTANT: <functioncall> "
    '{"name": "wetter", "arguments": {"ort": "Xi\'an"}}\n\nFUNCTION RESPONSE: ok\n\nASSISTANT: Gut.'
}
SIMPLE = [Message("user", ASK), Message("assistant", ANSWER)]
TURNS = [{"from": "human", "value": ASK}, {"from": "gpt", "value": ANSWER}]
CALLED = [
    Message("system", SYSTEM),
    Message("user", ASK),
    Message("assistant", BEFORE, 1, THOUGHT, call()),
    Message("tool", SAID, name="wetter"),
    Message("user", MORE),
    Message("assistant", ANSWER),
]
WITH_IDS = [
    *CALLED[:2],
    CALLED[2]._replace(calls=call("toolu_01")),
    Message("tool", SAID, call_id="toolu_01"),
    *CALLED[4:],
]
FORMS: dict[str, tuple[str, dict[str, Any], list[Message], bool]] = {
    "anthropic": ("Anthropic messages", ANTHROPIC, WITH_IDS, True),
    "anthropic, system text": ("Anthropic messages", ANTHROPIC | {"system": SYSTEM}, WITH_IDS, True),
    "bedrock": ("Bedrock messages", BEDROCK, WITH_IDS, True),
    "bedrock, tools as text": (
        "Bedrock messages", BEDROCK | {"toolConfig": text(BEDROCK["toolConfig"])}, WITH_IDS, True,
    ),
    "gemini": ("Gemini contents", GEMINI, CALLED, True),
    "gemini, snake case": ("Gemini contents", GEMINI_SNAKE, CALLED, True),
    "gemini as text": ("Gemini contents", {key: text(value) for key, value in GEMINI.items()}, CALLED, True),
    "glaive": (
        "Glaive function calling",
        GLAIVE,
        [
            CALLED[0]._replace(content="Sei höflich."),
            *[message._replace(reasoning="", name="") for message in CALLED[1:4]],
            Message("assistant", ANSWER),
            Message("user", MORE),
            Message("assistant", "4.\nUm drei: 5."),
        ],
        True,
    ),
    "glaive, one column": (
        "Glaive function calling",
        GLAIVE_PLAIN,
        [*CALLED[:2], Message("assistant", "", calls=call()), Message("tool", "ok"), Message("assistant", "Gut.")],
        False,
    ),
    "items": ("ShareGPT", {"id": "1", "items": TURNS}, SIMPLE, False),
    "items as text": ("ShareGPT", {"id": "1", "items": text(TURNS)}, SIMPLE, False),
    "items, system and tools": (
        "ShareGPT",
        {"items": TURNS, "system": SYSTEM, "tools": text(TOOLS)},
        [CALLED[0], *SIMPLE],
        True,
    ),
    "dialogue": (
        "OpenAI messages",
        {"dialogue": [{"role": "user", "content": ASK}, {"role": "assistant", "content": ANSWER}]},
        SIMPLE,
        False,
    ),
    "text in messages": (
        "OpenAI messages",
        {"messages": [{"role": "user", "text": ASK}, {"role": "assistant", "text": ANSWER}]},
        SIMPLE,
        False,
    ),
    "text in conversations": (
        "ShareGPT",
        {"conversations": [{"from": "human", "text": ASK}, {"from": "gpt", "text": ANSWER}]},
        SIMPLE,
        False,
    ),
    "value in messages": (
        "OpenAI messages",
        {"messages": [{"role": "user", "value": ASK}, {"role": "assistant", "value": ANSWER}]},
        SIMPLE,
        False,
    ),
    "rounds": ("rounds of question and answer", {"conversation": [{"human": ASK, "assistant": ANSWER}]}, SIMPLE, False),
    "rounds under another name": (
        "rounds of question and answer", {"turns": [{"user": ASK, "assistant": ANSWER}]}, SIMPLE, False,
    ),
    "rounds, each with the system text": (
        "rounds of question and answer",
        {"conversation": [
            {"system": SYSTEM, "input": ASK, "output": ANSWER},
            {"system": SYSTEM, "input": MORE, "output": "4."}]},
        [CALLED[0], *SIMPLE, Message("user", MORE), Message("assistant", "4.")],
        False,
    ),
    "rounds, another system text": (
        "rounds of question and answer",
        {"conversation": [{"input": ASK, "output": ANSWER}, {"system": SYSTEM, "input": MORE, "output": "4."}]},
        [*SIMPLE, CALLED[0], Message("user", MORE), Message("assistant", "4.")],
        False,
    ),
    "lima": ("questions and answers in turn", {"conversations": [ASK, ANSWER]}, SIMPLE, False),
    "dailydialog": ("UltraChat", {"dialog": [ASK, ANSWER]}, SIMPLE, False),
    "palm": (
        "PaLM messages",
        {"messages": [{"author": "user", "content": ASK}, {"author": "bot", "content": ANSWER}]},
        SIMPLE,
        False,
    ),
    "speakers": (
        "turns with a speaker",
        {"dialogue": [{"speaker": "Customer", "utterance": ASK}, {"speaker": "Agent", "utterance": ANSWER}]},
        SIMPLE,
        False,
    ),
    "cohere's api": (
        "OpenAI messages",
        {"messages": [{"role": "User", "message": ASK}, {"role": "Chatbot", "message": ANSWER}]},
        SIMPLE,
        False,
    ),
    "oasst": (
        "OpenAI messages",
        {"messages": [{"role": "prompter", "text": ASK}, {"role": "assistant", "text": ANSWER}]},
        SIMPLE,
        False,
    ),
    "cohere": (
        "OpenAI messages",
        {"messages": [{"role": "User", "content": ASK}, {"role": "Chatbot", "content": ANSWER}]},
        SIMPLE,
        False,
    ),
    "ultrachat": ("UltraChat", {"id": "0", "data": [ASK, ANSWER]}, SIMPLE, False),
    "ultrachat, system": ("UltraChat", {"system": SYSTEM, "data": [ASK, ANSWER, MORE]},
                          [CALLED[0], *SIMPLE, Message("user", MORE)], False),
}  # fmt: skip


def opened(folder: Path, *rows: Any) -> tuple[RowFile, Shape]:
    path = folder / "rows.jsonl"
    path.write_text("".join(text(row) + "\n" for row in rows), encoding="utf-8")
    file = RowFile(path)
    return file, shape_of(file, SPEC)


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_read_as_turns_with_their_tools_and_reasoning_and_told_by_its_name(
    name: str, tmp_path: Path
) -> None:
    called, row, wanted, has_tools = FORMS[name]
    file, shape = opened(tmp_path, row)
    found = shape.read(row)
    assert list(found) == wanted
    assert json.loads(tools_of(found) or "[]") == (TOOLS if has_tools else [])
    report = validate(file.path, SPEC)
    assert (report.verdict, report.written_as) == ("fine", [called])
    assert not {one.code for one in report.findings} - {"columns_not_read"}
    assert "turns" in report.meaning.values()


@pytest.mark.parametrize("name", FORMS)
def test_a_conversation_written_as_messages_is_read_as_the_same(name: str) -> None:
    _, _, wanted, _ = FORMS[name]
    assert to_messages(as_row(wanted)) == wanted


THINKS = zoo.TOOLS_OF_WORDS.replace(
    "{{- '<|im_start|>assistant' }}",
    "{{- '<|im_start|>assistant' }}{% if m.reasoning_content %}{{- '\\n<think>' + m.reasoning_content + '</think>' }}"
    "{% endif %}",
    1,
)


def test_of_every_form_the_answers_and_calls_alone_are_trained(tmp_path: Path) -> None:
    model = make_tokenizer_folder(tmp_path / "model", template=THINKS)
    spec = SPEC.model_copy(update={"max_length": 4096})
    for name, (_, row, wanted, _) in FORMS.items():
        file, _ = opened(tmp_path, row)
        shown = preview(file.path, spec, model=model).rows[0]
        assert shown.problem is None, (name, shown.problem)
        trained = "".join(token.text for token in shown.tokens if token.kind == "trained")
        for message in wanted:
            pieces = [message.content, "wetter" if message.calls else "", message.reasoning]
            for piece in filter(None, pieces):
                is_learned = message.role == "assistant"
                if is_learned or piece not in (SAID, "ok"):
                    assert (piece in trained) is is_learned, (name, piece, trained)


def bad(row: dict[str, Any], *path: Any, value: Any) -> dict[str, Any]:
    """A row with one value changed."""
    made = json.loads(json.dumps(row))
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return made


REFUSED = {
    "gemini: no role": (GEMINI, bad(GEMINI, "contents", 1, "role", value=...), "contents[1]"),
    "gemini: another role": (GEMINI, bad(GEMINI, "contents", 1, "role", value="bot"), "contents[1]"),
    "gemini: a picture": (
        GEMINI,
        bad(GEMINI, "contents", 0, "parts", 0, value={"inlineData": {"mimeType": "image/png", "data": "x"}}),
        "contents[0].parts[0].inlineData",
    ),
    "gemini: text behind a call": (
        GEMINI,
        bad(GEMINI, "contents", 1, "parts", value=[*GEMINI["contents"][1]["parts"], {"text": "x"}]),
        "contents[1].parts[3]",
    ),
    "gemini: an empty answer": (GEMINI, bad(GEMINI, "contents", 3, "parts", 0, "text", value=" "), "contents[3].parts"),
    "gemini: no call": (GEMINI, bad(GEMINI, "contents", 1, "parts", 2, "functionCall", value={}), "contents[1].parts"),
    "gemini: a tool of the service": (
        GEMINI, bad(GEMINI, "tools", value=[{"googleSearch": {"x": 1}}]), "tools[0].googleSearch",
    ),
    "gemini: parts are no list": (GEMINI, bad(GEMINI, "contents", 0, "parts", value=7), "contents[0].parts"),
    "anthropic: a picture": (
        ANTHROPIC,
        bad(ANTHROPIC, "messages", 2, "content", 0, "content", value=[{"type": "image", "source": {}}]),
        "messages[2].content[0].content[0]",
    ),
    "anthropic: a result of the assistant": (
        ANTHROPIC, bad(ANTHROPIC, "messages", 2, "role", value="assistant"), "messages[2].content",
    ),
    "anthropic: text behind a call": (
        ANTHROPIC,
        bad(
            ANTHROPIC, "messages", 1, "content",
            value=[*ANTHROPIC["messages"][1]["content"], {"type": "text", "text": "x"}],
        ),
        "messages[1].content[3]",
    ),
    "anthropic: a system that is a number": (ANTHROPIC, ANTHROPIC | {"system": 7}, "system"),
    "bedrock: a picture": (
        BEDROCK,
        bad(BEDROCK, "messages", 0, "content", value=[{"image": {"format": "png", "source": {}}}]),
        "messages[0].content[0]",
    ),
    "bedrock: a result of the assistant": (
        BEDROCK, bad(BEDROCK, "messages", 2, "role", value="assistant"), "messages[2].content",
    ),
    "bedrock: a call of no function": (
        BEDROCK, bad(BEDROCK, "messages", 1, "content", 2, "toolUse", value={"input": {}}), "messages[1].content",
    ),
    "palm: an author that is an object": (
        FORMS["palm"][1], {"messages": [{"author": {"name": "x"}, "content": "a"}]}, "messages[0].author",
    ),
    "lima: an empty answer": (FORMS["lima"][1], {"conversations": ["a", " "]}, "conversations[1]"),
    "two system texts": (
        ANTHROPIC,
        ANTHROPIC | {"messages": [{"role": "system", "content": "Anders."}, *ANTHROPIC["messages"]]},
        "system",
    ),
    "glaive: no turn": (GLAIVE, GLAIVE | {"chat": "Hello"}, "chat"),
    "glaive: a call that is no JSON": (
        GLAIVE, GLAIVE | {"chat": "USER: a\n\nASSISTANT: <functioncall> wetter(1)"}, "chat",
    ),
    "glaive: two calls": (
        GLAIVE,
        GLAIVE | {"chat": 'USER: a\n\nASSISTANT: <functioncall> {"name": "f"} <functioncall> {"name": "f"}'},
        "chat",
    ),
    "glaive: text behind a call": (
        GLAIVE, GLAIVE | {"chat": 'USER: a\n\nASSISTANT: <functioncall> {"name": "f"} and more'}, "chat",
    ),
    "glaive: a turn in an answer": (
        GLAIVE,
        GLAIVE | {"chat": "USER: a\n\nASSISTANT: Write\nUSER: b <|endoftext|>\n\nASSISTANT: c <|endoftext|>"},
        "chat",
    ),
    "glaive: an empty answer": (GLAIVE, GLAIVE | {"chat": "USER: a\n\nASSISTANT: <|endoftext|>"}, "chat"),
    "items: another role": (FORMS["items"][1], {"items": [{"from": "narrator", "value": "x"}]}, "items[0].from"),
    "text and content differ": (
        FORMS["text in messages"][1],
        {"messages": [{"role": "user", "content": "a", "text": "b"}, {"role": "assistant", "text": "c"}]},
        "messages[0]",
    ),
    "text is empty": (
        FORMS["text in messages"][1],
        {"messages": [{"role": "user", "text": "a"}, {"role": "assistant", "text": ""}]},
        "messages[1].text",
    ),
    "ultrachat: no text": (FORMS["ultrachat"][1], {"data": ["a", 7]}, "data"),
    "ultrachat: an empty answer": (FORMS["ultrachat"][1], {"data": ["a", " "]}, "data[1]"),
    "ultrachat: a question alone": (FORMS["ultrachat"][1], {"data": ["a"]}, "assistant"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_told_is_refused_with_its_field(name: str, tmp_path: Path) -> None:
    good, row, field = REFUSED[name]
    _, shape = opened(tmp_path, good, row)
    with pytest.raises(RowProblem) as caught:
        shape.read(row)
    assert f"`{field}`" in caught.value.message
    assert caught.value.hint
    for said in (caught.value.message, caught.value.hint):
        assert tr(said, Language.ZH) != said


def test_rows_of_a_form_and_of_our_own_columns_are_read_from_one_table(tmp_path: Path) -> None:
    own = {"messages": [{"role": "user", "content": ASK}, {"role": "assistant", "content": ANSWER}]}
    rows = [GEMINI | {"messages": None}, {**dict.fromkeys(GEMINI), **own}]
    file, shape = opened(tmp_path, *rows)
    assert [list(shape.read(row)) for row in rows] == [CALLED, SIMPLE]
    assert validate(file.path, SPEC).written_as == ["Gemini contents", "OpenAI messages"]


def test_columns_that_are_asked_for_go_before_a_form(tmp_path: Path) -> None:
    row = {"data": [ASK, ANSWER], "q": ASK, "a": ANSWER}
    file, _ = opened(tmp_path, row)
    asked = SPEC.model_copy(update={"prompt_column": "q", "response_column": "a"})
    shape = shape_of(file, asked)
    assert (shape.form, shape.kind) == (None, "pair")
