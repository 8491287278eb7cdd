"""Answers that are held to a format are in it, whatever the model would say."""

# ruff: noqa: E501  (schemas, one a line)

import json
from pathlib import Path
from typing import Any

import chat_templates as zoo
import jsonschema
import numpy as np
import pytest
from held import ASKED, CLOCK, NAMED, SCHEMAS, TEMPLATES, WEATHER, Written, drawn, folder_of, said
from tokenizers import AddedToken, Tokenizer

from tunesmith.chat.settings import Sampling
from tunesmith.chat.tool_forms import CallReader
from tunesmith.errors import InvalidInput
from tunesmith_serve import grammar as grammar_module
from tunesmith_serve.constraint import Constraints, Grammar
from tunesmith_serve.grammar import Rules
from tunesmith_serve.sampling import Draw

_NOT_HELD = {
    "type": "function",
    "function": {
        "name": "odd",
        "parameters": {"type": "object", "properties": {"a": {"not": {"type": "null"}}}},
    },
}


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("how", [{}, {"temperature": 0}, {"top_k": 3, "top_p": 0.5}, {"min_p": 0.5}], ids=str)
def test_answers_are_what_the_schema_says(rules: Rules, plain: Path, name: str, how: dict[str, Any]) -> None:
    file = plain / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file))
    end = tokenizer.token_to_id("</s>")
    grammar = Grammar(rules.made(rules.json(SCHEMAS[name], "f"), "none"), str(file))
    whole = 0
    for seed in range(6):
        ids = drawn(grammar, tokenizer, seed, end, **how)
        assert ids == drawn(grammar, tokenizer, seed, end, **how), "the same seed draws the same"
        if ids[-1] == end:
            whole += 1
            jsonschema.validate(json.loads(said(tokenizer, ids, end)), SCHEMAS[name])
    assert whole


def test_any_object_is_an_object(rules: Rules, plain: Path) -> None:
    file = plain / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file))
    end = tokenizer.token_to_id("</s>")
    grammar = Grammar(rules.made(rules.json(None, "f"), "none"), str(file))
    found = [drawn(grammar, tokenizer, seed, end) for seed in range(8)]
    whole = [json.loads(said(tokenizer, ids, end)) for ids in found if ids[-1] == end]
    assert whole
    assert all(isinstance(one, dict) for one in whole)


@pytest.mark.parametrize("form", TEMPLATES)
@pytest.mark.parametrize("only", [None, "clock"])
@pytest.mark.parametrize("marks", ["letters", "tokens", "control tokens"])
def test_a_forced_call_is_a_call(
    form: str, only: str | None, marks: str, tmp_path: Path, write: Written
) -> None:
    added = [AddedToken(text, special=marks == "control tokens") for text in ("<tool_call>", "</tool_call>")]
    folder = folder_of(tmp_path / "model", TEMPLATES[form], added if marks != "letters" else None)
    prompt = write(folder, tools={"offered": [WEATHER, CLOCK], "must": True, "only": only})
    assert prompt.calls is not None
    assert prompt.calls.name == form
    assert prompt.grammar is not None
    tokenizer = prompt.tokenizer
    end = tokenizer.token_to_id("</s>")
    names = set()
    for seed in range(6):
        ids = drawn(prompt.grammar, tokenizer, seed, end)
        reader = CallReader(prompt.calls, prompt.names)
        found = [reader.take(said(tokenizer, ids, end, prompt.shown)), reader.end()]
        assert "".join(part.text for part in found) == ""
        calls = [part for one in found for part in one.calls]
        assert [part.name for part in calls if part.name], ids
        names |= {part.name for part in calls if part.name}
        for index in range(reader.count):
            own = [part for part in calls if part.index == index]
            arguments = json.loads("".join(part.arguments for part in own))
            jsonschema.validate(
                arguments, WEATHER["function"]["parameters"] if own[0].name == "weather" else NAMED
            )  # type: ignore[index]
        if only:
            assert {part.name for part in calls if part.name} == {only}
            assert reader.count <= 1
    assert names <= {"weather", "clock"}


def test_tools_are_written_by_the_models_template(tmp_path: Path, write: Written) -> None:
    folder = folder_of(tmp_path / "model", zoo.TOOLS_OF_WORDS)
    talk = [
        *ASKED,
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"name": "clock", "arguments": {"z": "UTC"}, "id": "a"}],
        },
        {"role": "tool", "content": "Noon <|im_end|>", "tool_call_id": "a", "name": "clock"},
    ]
    prompt = write(folder, messages=talk, tools={"offered": [WEATHER, CLOCK]})
    text = prompt.tokenizer.decode(prompt.ids, skip_special_tokens=False)
    assert '<tool_call>\n{"name": "clock", "arguments": {"z": "UTC"}}\n</tool_call>' in text
    assert "<tool_response>\nNoon <|im_end|>\n</tool_response>" in text
    assert json.dumps(CLOCK) in text
    assert (prompt.grammar, prompt.calls_one, prompt.names) == (None, False, {"weather", "clock"})
    assert prompt.ids.count(prompt.tokenizer.token_to_id("<|im_end|>")) == 4, "what a tool says ends no turn"
    assert write(folder, tools={"offered": [CLOCK], "parallel": False}).calls_one


def test_reasoning_that_comes_back_is_written_where_the_template_does(tmp_path: Path, write: Written) -> None:
    """Clients send back all that they were given of an answer: what a model's talks never hold is passed over."""
    talk = [*ASKED, {"role": "assistant", "content": "Yes.", "reasoning": "So it is."}, *ASKED]
    plain = [*ASKED, {"role": "assistant", "content": "Yes."}, *ASKED]
    deaf = folder_of(tmp_path / "deaf", zoo.CHATML_GENERATION)
    assert write(deaf, messages=talk).ids == write(deaf, messages=plain).ids
    kept = "{% for m in messages %}{{ '<|' + m.role + '|>' }}{% if m.reasoning_content %}{{ m.reasoning_content }}{% endif %}{{ m.content }}{% endfor %}"
    told = write(folder_of(tmp_path / "told", kept), messages=talk)
    assert "So it is." in told.tokenizer.decode(told.ids)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (zoo.CHATML_GENERATION, "knows no tools"),
        (zoo.TOOLS_BY_KEY, "in a form that is not read here"),
        (zoo.TOOLS_OF_TEXT, "in a form that is not read here"),
    ],
)
def test_a_model_that_cannot_be_given_tools_says_so(
    tmp_path: Path, write: Written, template: str, words: str
) -> None:
    found = write.refused(folder_of(tmp_path / "model", template), tools={"offered": [CLOCK]})
    assert (found.code, found.field) == ("invalid_input", "tools")
    assert words in found.message


def test_what_a_thought_may_hold_stands_before_the_format(tmp_path: Path, write: Written) -> None:
    folder = folder_of(tmp_path / "model", zoo.CHATML_GENERATION)
    opened = folder_of(tmp_path / "opened", zoo.OPENED_THOUGHT)
    wanted = {"json_schema": SCHEMAS["flat"]}
    prompt = write(folder, format=wanted, template_variables={"enable_thinking": True})
    inside = write(opened, format=wanted)
    strict = write(folder, format=wanted)
    assert (prompt.thinks, inside.thinks) == (False, True)
    tokenizer = prompt.tokenizer
    end = tokenizer.token_to_id("</s>")
    answer = '{"city": "x", "hot": true, "n": 1}'
    for one, text, fits in [
        (prompt, answer, True),
        (prompt, f"<think>So {{.</think>\n\n{answer}", True),
        (inside, f"So {{.</think>\n{answer}", True),
        (inside, answer, False),
        (strict, f"<think>So.</think>{answer}", False),
        (strict, answer, True),
    ]:
        assert one.grammar is not None
        rule = Constraints(2000).made(one.grammar, frozenset([end]))
        ids = [*tokenizer.encode(text, add_special_tokens=False).ids, end]
        taken = 0
        for token in ids:
            if not rule.allowed(2000)[token]:
                break
            rule.take(token)
            taken += 1
        assert (taken == len(ids)) == fits, text


def test_one_that_may_call_or_answer_in_a_format_does_either(tmp_path: Path, write: Written) -> None:
    folder = folder_of(tmp_path / "model", zoo.TOOLS_OF_WORDS)
    prompt = write(folder, tools={"offered": [CLOCK]}, format={"json_schema": SCHEMAS["an array"]})
    assert prompt.grammar is not None
    end = prompt.tokenizer.token_to_id("</s>")
    for text, fits in [
        ("[true]", True),
        ('<tool_call>{"name": "clock", "arguments": {}}</tool_call>', True),
        ("x", False),
    ]:
        rule = Constraints(2000).made(prompt.grammar, frozenset([end]))
        first = prompt.tokenizer.encode(text, add_special_tokens=False).ids[0]
        assert bool(rule.allowed(2000)[first]) == fits


@pytest.mark.parametrize("form", ["Hermes and Qwen", "Mistral"])
@pytest.mark.parametrize("marks", ["letters", "tokens", "control tokens"])
def test_a_strict_tool_may_be_left_alone_and_is_called_by_its_parameters(
    form: str, marks: str, tmp_path: Path, write: Written
) -> None:
    begin, end_mark = ("<tool_call>", "</tool_call>") if form == "Hermes and Qwen" else ("[TOOL_CALLS]", "")
    added = [AddedToken(text, special=marks == "control tokens") for text in (begin, end_mark) if text]
    folder = folder_of(tmp_path / "model", TEMPLATES[form], added if marks != "letters" else None)
    tools = {"offered": [CLOCK, WEATHER], "strict": ["weather"]}
    prompt = write(folder, tools=tools)
    assert write(folder, tools=tools | {"strict": []}).grammar is None, "nobody asked for it"
    assert prompt.grammar is not None
    one_alone = write(folder, tools=tools | {"parallel": False}).grammar
    tokenizer, end = prompt.tokenizer, prompt.tokenizer.token_to_id("</s>")

    def takes(grammar: Grammar | None, text: str) -> bool:
        assert grammar is not None
        rule = Constraints(2000).made(grammar, frozenset([end]))
        for token in [*tokenizer.encode(text, add_special_tokens=False).ids, end]:
            if not rule.allowed(2000)[token]:
                return False
            rule.take(token)
        return True

    def calls(*given: tuple[str, Any]) -> str:
        texts = [json.dumps({"name": name, "arguments": arguments}) for name, arguments in given]
        if form == "Mistral":
            return f"{begin}[{', '.join(texts)}]"
        return "\n".join(f"{begin}\n{text}\n{end_mark}" for text in texts)

    good, bad = ("weather", {"city": "x", "hot": True, "n": 1}), ("weather", {"city": 5})
    loose = ("clock", {"zone": "UTC", "at": [1]})
    for text, fits in [
        ("It is cold.", True),
        (f"About {begin[:-1]} nothing.", True),
        (calls(good), True),
        (f"I look: {calls(good)}", True),
        (f"<think>So.</think>I look: {calls(good)}", True),
        (calls(loose), True),
        (calls(bad), False),
        (f"I look: {calls(bad)}", False),
        (calls(("other", {})), False),
        (f"I look: {begin} at it", False),
    ]:
        assert takes(prompt.grammar, text) == fits, text
    several = calls(loose, good)
    assert (takes(prompt.grammar, several), takes(one_alone, several)) == (True, False)
    assert takes(one_alone, calls(good))
    found = write.refused(folder, tools={"offered": [_NOT_HELD], "strict": ["odd"]})
    assert (found.code, found.field) == ("invalid_input", "tools[0].function.parameters.properties.a")
    assert write(folder, tools={"offered": [_NOT_HELD]}).grammar is None


def test_what_is_no_call_by_its_first_mark_alone_is_held_to_nothing(tmp_path: Path, write: Written) -> None:
    folder = folder_of(tmp_path / "model", TEMPLATES["Llama 3"])
    assert write(folder, tools={"offered": [WEATHER], "strict": ["weather"]}).grammar is None


def test_without_the_library_formats_are_refused(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar_module, "_PACKAGE", "no_such_package")
    with pytest.raises(InvalidInput, match="is not installed"):
        Rules((plain / "tokenizer.json").read_text())


def test_a_token_that_is_none_of_the_models_cannot_be_weighted(plain: Path, write: Written) -> None:
    found = write.refused(plain, sampling={"logit_bias": {10**6: 1}})
    assert (found.code, found.field) == ("invalid_input", "logit_bias")


def test_a_bias_moves_what_is_drawn() -> None:
    scores = np.zeros(50, np.float32)
    scores[7] = 5
    assert Draw(Sampling(temperature=0), []).next(scores).id == 7
    assert Draw(Sampling(temperature=0, logit_bias={7: -100, 9: 1, 400: 9}), []).next(scores).id == 9
