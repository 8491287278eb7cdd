"""Gemini's and Vertex AI's tuning files: `contents` of `parts`, `systemInstruction`, and functions with their answers.

Knows these fields, in camel and snake case; knows nothing of templates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.content_parts import kind_of
from tunesmith.rows.chat.conversation import answered
from tunesmith.rows.chat.tool_calls import calls_in, tools_in
from tunesmith.rows.chat.turns import Message
from tunesmith.rows.columns import TOOLS, is_filled, named, says_nothing
from tunesmith.rows.files.decoding import Row
from tunesmith.rows.json_text import packed, unpacked, without_nulls
from tunesmith.rows.problems import no_answer

_SYSTEMS = ("systeminstruction", "system_instruction")
_ROLES = {"user": "user", "model": "assistant", "function": "tool", "tool": "tool"}
_CALLS = ("functionCall", "function_call")
_ANSWERS = ("functionResponse", "function_response")
_DECLARED = ("functionDeclarations", "function_declarations")
_SCHEMAS = ("parametersJsonSchema", "parameters_json_schema")
_BESIDE = ("thought", "thoughtSignature", "thought_signature", *_CALLS, *_ANSWERS)
_WRITE = 'Write `{"role": "user", "parts": [{"text": "..."}]}`, with the role `user` or `model`.'
_WRITE_LIST = (
    'Write a list of `{"role": "user", "parts": [{"text": "..."}]}`, with the role `user` or `model`.'
)


@dataclass(frozen=True)
class Gemini:
    """Rows of `contents`."""

    contents: str
    system: str | None
    tools: str | None
    name: str = "Gemini contents"

    @classmethod
    def among(cls, rows: Sequence[Row], found: Sequence[str]) -> "Gemini | None":
        """This form with the columns of a file; None where no row is written so."""
        contents = named(("contents",), found)
        if contents is None or not any(_is_contents(row.get(contents)) for row in rows):
            return None
        return cls(contents, named(_SYSTEMS, found), named(TOOLS, found))

    @property
    def meaning(self) -> dict[str, str]:
        """What its columns become."""
        means = {self.system: "system", self.contents: "turns", self.tools: "tools"}
        return {name: meaning for name, meaning in means.items() if name}

    def holds(self, row: Row) -> bool:
        """Whether a row is written so."""
        return is_filled(row.get(self.contents))

    def read(self, row: Row) -> list[Message]:
        """The conversation in a row."""
        turns = unpacked(row[self.contents])
        if not isinstance(turns, list):
            raise RowProblem(f"`{self.contents}` is {kind_of(turns)}, not a list.", _WRITE_LIST)
        system = _text_of(row.get(self.system), self.system) if self.system else ""
        messages = [Message("system", system)] if not says_nothing(system) else []
        for index, turn in enumerate(turns):
            messages += _turn(unpacked(turn), f"{self.contents}[{index}]")
        return answered(messages, _tools(row.get(self.tools), self.tools) if self.tools else "")


def _is_contents(value: Any) -> bool:
    turns = unpacked(value)
    return isinstance(turns, list) and any(isinstance(turn, dict) and "parts" in turn for turn in turns)


def _turn(turn: Any, where: str) -> list[Message]:
    role = turn.get("role") if isinstance(turn, dict) else None
    if not isinstance(role, str):
        raise RowProblem(f"`{where}` has no `role`.", _WRITE)
    if role.strip().casefold() not in _ROLES:
        raise RowProblem(f"`{where}` has no role that is known: `{role[:40]}`.", _WRITE)
    parts = _parts(turn.get("parts"), f"{where}.parts")
    if _ROLES[role.strip().casefold()] == "assistant":
        return [_answer(parts, f"{where}.parts")]
    messages: list[Message] = []
    texts: list[str] = []
    for index, part in enumerate(parts):
        place = f"{where}.parts[{index}]"
        told = _first(part, _ANSWERS)
        if told is None:
            texts.append(_said(part, place))
            continue
        if texts:
            messages.append(Message("user", "".join(texts)))
            texts = []
        messages.append(_told(told, place))
    if texts or not messages:
        messages.append(Message("user", "".join(texts)))
    return messages


def _told(told: Any, where: str) -> Message:
    name, said = (told.get("name"), told.get("response")) if isinstance(told, dict) else (None, None)
    if not isinstance(name, str):
        raise RowProblem(
            f"`{where}` names no function that answers.", 'Write `{"name": "...", "response": {...}}`.'
        )
    own = told.get("id")
    text = said if isinstance(said, str) else packed(without_nulls(said if said is not None else {}))
    return Message("tool", text, name=name, call_id=own if isinstance(own, str) else "")


def _answer(parts: list[dict[str, Any]], where: str) -> Message:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[Any] = []
    for index, part in enumerate(parts):
        place = f"{where}[{index}]"
        call = _first(part, _CALLS)
        if call is not None:
            if not isinstance(call, dict):
                raise RowProblem(
                    f"`{place}` is no call of a function.", 'Write `{"name": "...", "args": {...}}`.'
                )
            calls.append(call)
            continue
        text = _said(part, place)
        if part.get("thought") is True:
            thoughts.append(text)
        elif calls and text.strip():
            raise RowProblem(
                f"`{place}` is text behind a call of a tool: chat templates write an answer's calls last.",
                "Write it before the call, or into an answer of its own.",
            )
        else:
            texts.append(text)
    text = "".join(texts)
    if not calls and says_nothing(text):
        raise no_answer(where, text)
    return Message("assistant", text, 1, "".join(thoughts), calls_in(calls, where))


def _parts(value: Any, where: str) -> list[dict[str, Any]]:
    parts = unpacked(value)
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in map(unpacked, parts)):
        raise RowProblem(f"`{where}` is {kind_of(parts)}, not a list of objects.", _WRITE)
    return [without_nulls(unpacked(part)) for part in parts]


def _said(part: Mapping[str, Any], where: str) -> str:
    """The text of a part."""
    text = part.get("text")
    others = [key for key in part if key != "text" and key not in _BESIDE]
    if isinstance(text, str) and not others:
        return text
    if others:
        raise RowProblem(
            f"`{where}.{str(others[0])[:40]}` is not supported: models of text are trained.",
            "Leave the row out, or write what is to be learned as text.",
        )
    raise RowProblem(f"`{where}` has no text.", 'Write `{"text": "..."}`.')


def _first(part: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((part[name] for name in names if name in part), None)


def _text_of(value: Any, where: str) -> str:
    """A system instruction: a text, or an object of parts."""
    found = unpacked(value)
    if found is None or isinstance(found, str):
        return found or ""
    given = found.get("parts") if isinstance(found, dict) else found
    if isinstance(given, dict):
        given = [given]
    parts = _parts(given, f"{where}.parts")
    return "".join(_said(part, f"{where}.parts[{index}]") for index, part in enumerate(parts))


def _tools(value: Any, where: str) -> str:
    """Tools, whose declarations lie one level deeper and write their types in capitals."""
    given = unpacked(value)
    found: list[Any] = []
    for index, tool in enumerate(
        map(unpacked, given if isinstance(given, list) else [given] if given else [])
    ):
        declared = _first(tool, _DECLARED) if isinstance(tool, dict) else None
        if declared is None:
            if isinstance(tool, dict) and ("name" in tool or "function" in tool):
                found.append(tool)
                continue
            if isinstance(tool, dict) and (kind := next(iter(without_nulls(tool)), "")):
                raise RowProblem(
                    f"`{where}[{index}].{str(kind)[:40]}` is a tool of the service, which no model of yours has.",
                    "Leave the row out, or declare it as a function.",
                )
            continue
        for one in declared if isinstance(declared, list) else [declared]:
            found.append(_declared(without_nulls(unpacked(one))))
    return tools_in(found, where)


def _declared(function: Any) -> Any:
    if not isinstance(function, dict):
        return function
    schema = _first(function, ("parameters", *_SCHEMAS))
    rest = {key: value for key, value in function.items() if key not in ("parameters", *_SCHEMAS)}
    return rest | ({"parameters": _lowered(schema)} if schema is not None else {})


def _lowered(schema: Any) -> Any:
    """A schema with the types as JSON Schema writes them: `STRING` is `string`."""
    if isinstance(schema, list):
        return [_lowered(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value.lower() if key == "type" and isinstance(value, str) else _lowered(value)
        for key, value in schema.items()
    }
