"""Calls of tools in answers: every form of the table is seen in a template's own words and read wherever it is cut."""

import json
import random
from typing import Any

import pytest

from tunesmith.chat.tool_forms import FORMS, CallForm, CallReader, form_of

BY_NAME = {form.name: form for form in FORMS}
ARGUMENTS = '{"city": "Ky\\"iv }]", "days": [1, {"a": "</tool_call>"}]}'


def written(form: CallForm, *names: str) -> str:
    """Calls as a model of this form writes them."""
    calls = [f'{{"name": "{name}", "{form.key}": {ARGUMENTS}}}' for name in names]
    if form.around == "each":
        return "\n".join(f"{form.begin}\n{call}\n{form.end}" for call in calls)
    if form.around == "list":
        return f"{form.begin} [{', '.join(calls)}]"
    if form.around == "named":
        return "".join(f"{form.begin}{name}{form.between}{ARGUMENTS}" for name in names)
    return calls[0]


def read(
    form: CallForm, text: str, cut: int | None = None, **more: Any
) -> tuple[str, list[tuple[str, str]], int]:
    """The text, the calls, and how many are whole; in pieces of a length, or of any."""
    reader = CallReader(form, frozenset(["f", "g"]), **more)
    pieces = list(text) if cut == 1 else [text] if cut is None else _cut(text, cut)
    said, calls = "", {}
    for found in [*map(reader.take, pieces), reader.end()]:
        said += found.text
        for part in found.calls:
            name, arguments = calls.get(part.index, ("", ""))
            calls[part.index] = (name + (part.name or ""), arguments + part.arguments)
    return said, list(calls.values()), reader.count


def _cut(text: str, seed: int) -> list[str]:
    draw, pieces = random.Random(seed), []
    while text:
        length = draw.randint(1, 9)
        pieces.append(text[:length])
        text = text[length:]
    return pieces


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("key", ["arguments", "parameters"])
def test_a_form_is_seen_in_what_its_template_writes(form: CallForm, key: str) -> None:
    form = form._replace(key=key) if form.around != "named" else form
    text = written(form, "probe").replace(ARGUMENTS, '{"key": "value"}')
    assert form_of(text, "probe") == form


@pytest.mark.parametrize(
    "text",
    [
        "",
        "probe",
        '<call name="probe"><key>value</key></call>',
        "Say probe.",
        'x {"name": "probe", "arguments": {}}',
    ],
)
def test_what_is_in_no_row_of_the_table_is_no_form(text: str) -> None:
    assert form_of(text, "probe") is None


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("before", ["", "I look. ", "<think>a <tool_call> {</think>\n\n"])
@pytest.mark.parametrize("cut", [None, 1, 2, 3, 4])
def test_calls_are_read_wherever_they_are_cut(form: CallForm, before: str, cut: int | None) -> None:
    names = ["f"] if form.around == "bare" else ["f", "g"]
    if form.around == "bare" and "look" in before:
        before = ""
    said, calls, count = read(form, before + written(form, *names), cut)
    assert said == before.rstrip()
    assert calls == [(name, ARGUMENTS) for name in names]
    assert count == len(names)
    json.loads(calls[0][1])


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize(
    "text",
    ["Hello, world!\n\nIt {is} [fine] <b>.  ", "", " \n ", '{"city": "x"}', "[1, 2]", "a <tool", "x [TOOL_C", "{",
     '<tool_calls>{"a": 1}', "<think>I call <tool_call>", "<thin"],
)  # fmt: skip
@pytest.mark.parametrize("cut", [None, 1])
def test_what_is_no_call_is_text_as_it_stands(form: CallForm, text: str, cut: int | None) -> None:
    assert read(form, text, cut) == (text, [], 0)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("cut", [None, 1])
def test_a_call_that_is_cut_off_is_told_as_far_as_it_went(form: CallForm, cut: int | None) -> None:
    text = written(form, "f")
    at = text.index("days")
    assert read(form, text[:at], cut) == ("", [("f", ARGUMENTS[: ARGUMENTS.index("days")])], 0)


@pytest.mark.parametrize("cut", [None, 1, 5])
def test_keys_in_another_order_and_words_behind(cut: int | None) -> None:
    form = BY_NAME["Hermes and Qwen"]
    text = '<tool_call>{"arguments": {"a": 1}, "id": "x", "name": "f"}</tool_call>\nDone.'
    assert read(form, text, cut) == ("Done.", [("f", '{"a": 1}')], 1)
    nested = '<tool_call>{"function": {"name": "f", "arguments": "{}"}}</tool_call>'
    assert read(form, nested, cut) == ("", [("f", "{}")], 1)


@pytest.mark.parametrize("cut", [None, 1])
def test_what_is_marked_as_a_call_and_is_none_is_text(cut: int | None) -> None:
    form = BY_NAME["Hermes and Qwen"]
    for text in ("<tool_call>\nno JSON\n</tool_call>", '<tool_call>{"a": 1}</tool_call>', "<tool_call>{"):
        assert read(form, text, cut) == (text, [], 0)
    bare = BY_NAME["Llama 3"]
    other = '{"name": "Bob", "parameters": {"a": 1}}'
    assert read(bare, other, cut) == (other, [], 0)
    assert read(bare, "<|python_tag|>" + other.replace("Bob", "f"), cut) == ("", [("f", '{"a": 1}')], 1)


def test_inside_a_thought_that_the_prompt_opened_nothing_is_called() -> None:
    form = BY_NAME["Hermes and Qwen"]
    call = written(form, "f")
    said, calls, _ = read(form, f"{call} is what I do.</think>\n{call}", 3, thinks=True)
    assert said == f"{call} is what I do.</think>"
    assert calls == [("f", ARGUMENTS)]
