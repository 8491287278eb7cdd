"""Conversations as other tools write them: read as the same turns, told by their names, and nothing of them is lost."""

import json
from pathlib import Path
from typing import Any

import chat_templates as zoo
import pytest
from row_forms import (
    ANSWER,
    ANTHROPIC,
    ASK,
    BEDROCK,
    CALLED,
    FORMS,
    GEMINI,
    GLAIVE,
    SAID,
    SIMPLE,
    TOOLS,
    text,
)
from tiny_model import make_tokenizer_folder

from tunesmith.language import Language, tr
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.conversation import as_row, to_messages
from tunesmith.rows.chat.turns import tools_of
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.report.preview import preview
from tunesmith.rows.report.validation import validate
from tunesmith.rows.shapes import Shape, shape_of
from tunesmith.spec.training import TrainSpec

SPEC = TrainSpec.read({"model_name_or_path": "-", "train_file": "-"})


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
