"""Schemas of strangers: each is held to or refused with its place, and none takes long."""

# ruff: noqa: E501  (schemas, one a line)

import contextlib
import time
from pathlib import Path
from typing import Any

import pytest
from held import CLOCK, SCHEMAS, Written, drawn

from tunesmith.errors import InvalidInput
from tunesmith_serve import bounded_process
from tunesmith_serve import prompts as prompts_module
from tunesmith_serve.answering import Refusal
from tunesmith_serve.constraint import Stuck
from tunesmith_serve.grammar import Rules


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


@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=pytest.mark.slow if one == "patterns that meet" else ()) for one in HOSTILE],
)
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


SLOW = """
class LLTokenizer:
    def __init__(self, *args, **more):
        pass


class LLMatcher:
    @staticmethod
    def grammar_from_json_schema(*args, **more):
        while True:
            pass
"""
"""Stands in for the library: one that comes to no end with any schema."""


def test_a_schema_that_takes_too_long_is_refused_and_others_go_on(
    plain: Path, write: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the library's own limits do not catch."""
    monkeypatch.setattr(prompts_module, "_SCHEMAS", prompts_module._SCHEMAS._replace(seconds=0.4))
    monkeypatch.setattr(bounded_process, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(
        bounded_process, "_WALL", 1000
    )  # its processor's time alone, however busy the machine is
    asked: dict[str, Any] = {"format": {"json_schema": SCHEMAS["flat"]}}
    assert write(plain, **asked).grammar, "the library takes less"
    write.end()
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow/llguidance.py").write_text(SLOW)
    with monkeypatch.context() as slowly:
        slowly.setenv("PYTHONPATH", str(tmp_path / "slow"))
        write(plain)
        process = write.process
        found = write.refused(plain, **asked)
    assert (found.code, found.field) == ("invalid_input", "response_format")
    assert found.message == "The schema takes more than 0.4 s of a processor to read."
    assert process.returncode is not None, "nothing goes on computing"
    assert write(plain).ids
    assert write(plain, **asked).grammar
