"""Answers that are held to a format are in it, whatever the model would say; schemas of strangers are bounded."""

# ruff: noqa: E501  (schemas, one a line)

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chat_templates as zoo
import jsonschema
import numpy as np
import pytest
from fake_engine import ask, served
from tiny_model import make_tokenizer_folder
from tokenizers import AddedToken, Tokenizer

from tunesmith.chat.settings import Sampling
from tunesmith.chat.tool_forms import CallReader
from tunesmith.chat.wire import Ask, Refused
from tunesmith.errors import InvalidInput
from tunesmith_serve import grammar as grammar_module
from tunesmith_serve import prompts as prompts_module
from tunesmith_serve.answering import Prompt, Refusal
from tunesmith_serve.constraint import Constraints, Grammar, Stuck
from tunesmith_serve.drawing import Draw
from tunesmith_serve.grammar import Rules
from tunesmith_serve.prompts import Prompts
from tunesmith_serve.text import AnswerText

NAMED = {"type": "object", "additionalProperties": False}
SCHEMAS: dict[str, Any] = {
    "flat": NAMED
    | {
        "properties": {"city": {"type": "string", "maxLength": 12}, "hot": {"type": "boolean"}, "n": {"enum": [1, "x"]}},
        "required": ["city", "hot", "n"],
    },
    "nested": NAMED
    | {
        "properties": {"rows": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"$ref": "#/$defs/row"}}},
        "required": ["rows"],
        "$defs": {
            "row": NAMED
            | {
                "properties": {"at": {"type": "integer", "minimum": 0, "maximum": 9}, "or": {"anyOf": [{"type": "null"}, {"const": "y"}]}},
                "required": ["at", "or"],
            }
        },
    },
    "recursive": {
        "$ref": "#/$defs/node",
        "$defs": {"node": NAMED | {"properties": {"v": {"const": 1}, "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}}, "required": ["v", "next"]}},
    },
    "pattern": NAMED | {"properties": {"zip": {"type": "string", "pattern": "^[0-9]{5}$"}, "day": {"type": "string", "format": "date"}}, "required": ["zip", "day"]},
    "optional": {"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "boolean"}}, "additionalProperties": False},
    "an array": {"type": "array", "items": {"type": "boolean"}, "maxItems": 4},
}  # fmt: skip
TEMPLATES = {
    "Hermes and Qwen": zoo.TOOLS_OF_WORDS,
    "Llama 3": zoo.TOOLS_IN_THE_QUESTION,
    "Mistral": zoo.TOOLS_AT_THE_LAST_QUESTION,
}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": SCHEMAS["flat"]}}
CLOCK = {"type": "function", "function": {"name": "clock"}}
ASKED = [{"role": "user", "content": "What now?"}]


def folder_of(place: Path, template: str, added: list[AddedToken] | None = None) -> Path:
    make_tokenizer_folder(place, template=template)
    tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
    tokenizer.add_special_tokens(zoo.EXTRA_TOKENS)
    tokenizer.add_tokens(added or [])
    tokenizer.save(str(place / "tokenizer.json"))
    config = json.loads((place / "tokenizer_config.json").read_text()) | {
        "bos_token": "<s>",
        "eos_token": "</s>",
    }
    (place / "tokenizer_config.json").write_text(json.dumps(config))
    (place / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 2000}))
    return place


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("grammar") / "model", zoo.TOOLS_OF_WORDS)


@pytest.fixture(scope="module")
def rules(plain: Path) -> Rules:
    return Rules((plain / "tokenizer.json").read_text())


class Written:
    """A process that writes prompts, in a loop of its own."""

    def __init__(self, place: Path) -> None:
        self.runner = asyncio.Runner()
        self.prompts = Prompts(place)

    def __call__(self, folder: Path, **more: Any) -> Prompt:
        model = served().model_copy(
            update={
                "base_path": str(folder),
                "encoder_path": str(folder),
                "training": {"model_name_or_path": str(folder), "train_file": "/t"},
            }
        )
        question: Ask = ask(model, **{"messages": ASKED} | more)
        return self.runner.run(self.prompts.write(question))

    def refused(self, folder: Path, **more: Any) -> Refused:
        with pytest.raises(Refusal) as found:
            self(folder, **more)
        return found.value.refused


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    async def same(*_: Any) -> None:
        return None

    monkeypatch.setattr(Prompts, "_library", same)
    found = Written(tmp_path / "cache")
    yield found
    found.runner.run(found.prompts.close())
    found.runner.close()


def drawn(
    grammar: Grammar, tokenizer: Tokenizer, seed: int, end: int, most: int = 400, **how: Any
) -> list[int]:
    """An answer of a model that says anything at all, with a liking for the ends of things."""
    words = tokenizer.get_vocab_size() + 24
    likes = np.zeros(words, np.float32)
    for text, token in tokenizer.get_vocab().items():
        likes[token] += 5 * any(letter in text for letter in '"}]<') + 2 * text.isalnum()
    likes[end] += 9
    numbers = np.random.default_rng(seed)
    rule = Constraints(words).made(grammar, frozenset([end]))
    draw = Draw(Sampling(**{"temperature": 1.0, "seed": seed} | how), [], rule)
    ids: list[int] = []
    while len(ids) < most:
        token = draw.next(likes + numbers.standard_normal(words).astype(np.float32)).id
        ids.append(token)
        if token == end:
            break
    return ids


def said(tokenizer: Tokenizer, ids: list[int], end: int, shown: frozenset[int] = frozenset()) -> str:
    text = AnswerText(tokenizer, shown=shown)

    class _Token:
        def __init__(self, number: int) -> None:
            self.id, self.logprob, self.top = number, None, ()

    parts = [text.add(_Token(one)).text for one in ids if one != end]  # type: ignore[arg-type]
    return "".join([*parts, text.finish().text])


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


# --- schemas of strangers


def _deep(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        found = {"type": "object", "properties": {"a": found}, "required": ["a"]}
    return found


def _doubling(count: int, key: str) -> dict[str, Any]:
    """Each part is the next one, twice."""
    parts = {
        f"d{n}": {key: [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]} for n in range(count)
    }
    return {"$ref": "#/$defs/d0", "$defs": parts | {f"d{count}": {"type": "object", "properties": {}}}}


HOSTILE: dict[str, Any] = {
    "deep": _deep(300),
    "large": {"type": "object", "properties": {"a": {"enum": ["x" * 70_000]}}},
    "many optional": {"type": "object", "properties": {f"p{n}": {} for n in range(2000)}},
    "doubling allOf": _doubling(40, "allOf"),
    "doubling anyOf": _doubling(40, "anyOf"),
    "a pattern that explodes": {"type": "string", "pattern": "(.*a.{40}){9}"},
    "patterns that meet": {"allOf": [{"type": "string", "pattern": f"a.{{{n}}}b"} for n in range(20, 45)]},
    "a repeated pattern": {"type": "string", "pattern": "((a{1,900}){1,900}){1,900}"},
    "itself": {"$ref": "#"},
    "long": {"type": "array", "items": {"type": "string", "minLength": 10**6}, "minItems": 10**6},
    "numbers": {"type": "number", "multipleOf": 1e-200, "minimum": -1e300, "maximum": 1e300},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_schema_takes_no_long(name: str, plain: Path, write: Written) -> None:
    """It is refused with its field, or held to within bounds; the next question is answered."""
    write(plain)
    began = time.monotonic()
    try:
        prompt = write(plain, format={"json_schema": HOSTILE[name]})
    except Refusal as refusal:
        found = refusal.refused
        assert found.code == "invalid_input"
        assert (found.field or "").startswith("response_format"), found
    else:
        assert prompt.grammar is not None
        end = prompt.tokenizer.token_to_id("</s>")
        with contextlib.suppress(Stuck):
            drawn(prompt.grammar, prompt.tokenizer, 1, end, most=60)
    assert time.monotonic() - began < 40
    assert write(plain).ids


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"type": "object", "properties": {"a": {"type": "array", "items": {"not": {}}}}}, "f.properties.a.items"),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"type": "object", "properties": {"b": {"uniqueItems": True, "type": "array"}}}}}, "f.$defs.x.properties.b"),
        ({"anyOf": [{"type": "string"}, {"type": "string", "pattern": "("}]}, "f.anyOf[1]"),
        ({"type": "object", "properties": {"a": {"type": "string", "format": "colour"}}}, "f.properties.a"),
        ({"$ref": "https://example.org/schema"}, "f"),
        ({"type": "object", "properties": {"a": {"type": "object", "properties": {f"p{n}": {} for n in range(600)}}}}, "f.properties.a"),
        ("x", "f"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_cannot_be_held_to_is_named_with_its_place(rules: Rules, schema: Any, place: str) -> None:
    with pytest.raises(InvalidInput) as found:
        rules.made(rules.json(schema, "f"), "none")
    assert found.value.problems[0].field == place, found.value
    assert found.value.hint or found.value.message


def test_parameters_of_tools_have_a_place_too(plain: Path, write: Written) -> None:
    bad = {
        "type": "function",
        "function": {"name": "x", "parameters": {"type": "object", "properties": {"a": {"not": {}}}}},
    }
    found = write.refused(plain, tools={"offered": [CLOCK, bad], "must": True})
    assert found.field == "tools[1].function.parameters.properties.a"
    assert write(plain, tools={"offered": [CLOCK, bad]}).calls, (
        "where none is forced they are the model's to read"
    )


def test_a_schema_that_takes_too_long_is_refused_and_others_go_on(
    plain: Path, write: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the library's own limits do not catch: here a bound that nothing keeps."""
    monkeypatch.setattr(prompts_module, "_SCHEMAS", prompts_module._SCHEMAS._replace(seconds=-1.0))
    monkeypatch.setattr(prompts_module, "_LOOK_SECONDS", 0.0)
    found = write.refused(
        plain, format={"json_schema": HOSTILE["many optional"]["properties"] | SCHEMAS["nested"]}
    )
    assert (found.code, found.field) == ("invalid_input", "response_format")
    assert "of a processor to read" in found.message
    monkeypatch.undo()


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
