"""What a row says of tools: those that may be called, and the calls in an answer, in the one form templates take.

Takes OpenAI's form, ShareGPT's, Bedrock's, the bare `{"name", "arguments"}`, each also as JSON text, and "none" in any
spelling. Knows these forms; knows nothing of templates.
"""

from typing import Any

from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.bedrock import declared, tools_of_config
from tunesmith.rows.files.decoding import DECODER
from tunesmith.rows.json_text import packed, unpacked, without_nulls

_NONE = ("", "[]", "{}", "[{}]", "null", "none", "nan", "n/a", "na", "<na>", "#n/a")
_ARGUMENTS = ("arguments", "parameters", "args", "input")
_SCHEMAS = ("input_schema", "inputSchema")
"""What Anthropic's and MCP's tools call their parameters, which templates do not know."""
_CALL = 'Write `{"name": "...", "arguments": {...}}`, or a list of them.'
_TOOLS = 'Write a list of `{"type": "function", "function": {"name": "...", "parameters": {...}}}`, or its JSON text.'


def tools_in(value: Any, where: str) -> str:
    """The tools of a row as JSON, each as `{"type": "function", "function": {...}}`; empty where there are none.

    Raises:
        RowProblem: It is no list of tools.
    """
    tools = []
    for index, item in enumerate(
        _listed(tools_of_config(value), f"`{where}` is no list of tools, nor the JSON text of one.", _TOOLS)
    ):
        if not item:
            continue  # a table without tools in a row may still hold a place for one
        tool = declared(without_nulls(unpacked(item)))
        if isinstance(tool, dict) and isinstance(tool.get("function"), str):
            tool = tool | {"function": unpacked(tool["function"])}
        if isinstance(tool, dict) and isinstance(tool.get("name"), str) and "function" not in tool:
            kind = tool.pop("type", "function")
            tool = {"type": kind if isinstance(kind, str) else "function", "function": tool}
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise RowProblem(f"`{where}[{index}]` names no function.", _TOOLS)
        schema = next((key for key in _SCHEMAS if key in function), None)
        if schema is not None and "parameters" not in function:
            function = {("parameters" if key == schema else key): value for key, value in function.items()}
            tool = tool | {"function": function}
        if isinstance(function.get("parameters"), str):
            tool = tool | {"function": function | {"parameters": unpacked(function["parameters"])}}
        tools.append({"type": "function"} | tool)
    return packed(tools) if tools else ""


def _listed(value: Any, otherwise: str, cure: str) -> list[Any]:
    """What is given as a list, as one of its items, or as the JSON text of either; "none" in any spelling is empty."""
    if value is None or (isinstance(value, str) and value.strip().casefold() in _NONE):
        return []
    found = _unpacked(value)
    if isinstance(found, dict):
        return [found] if found else []
    if not isinstance(found, list):
        raise RowProblem(otherwise, cure)
    return found


def _unpacked(value: Any) -> Any:
    """What a text holds, also where it was written as JSON twice."""
    if isinstance(value, str) and value.strip()[:1] == '"':
        try:
            inner = DECODER.decode(value.strip())
        except (ValueError, RecursionError):
            return value
        return unpacked(inner) if isinstance(inner, str) else value
    return unpacked(value)


def names_of(tools: str) -> list[str]:
    """The names of the tools that `tools_in` found."""
    return [tool["function"]["name"] for tool in unpacked(tools)] if tools else []


def calls_in(value: Any, where: str) -> str:
    """The calls of an answer as JSON, each as `{"type": "function", "function": {"name", "arguments": {...}}}`.

    Raises:
        RowProblem: Something in it is no call.
    """
    found = _listed(value, f"`{where}` is no call of a function, nor the JSON text of one.", _CALL)
    calls = []
    for index, item in enumerate(found):
        place = f"{where}[{index}]" if len(found) > 1 else where
        calls.append(_call(unpacked(item), place, is_text=isinstance(value, str) or isinstance(item, str)))
    return packed(calls) if calls else ""


def is_calls(value: Any) -> bool:
    """Whether a value is a list of calls, and no other JSON."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(item, dict)
            and ("function" in item or ("name" in item and any(key in item for key in _ARGUMENTS)))
            for item in value
        )
    )


def _call(item: Any, where: str, *, is_text: bool) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise RowProblem(f"`{where}` is no call of a function.", _CALL)
    function = unpacked(item["function"]) if isinstance(item.get("function"), dict | str) else item
    name = function.get("name") if isinstance(function, dict) else function
    if not isinstance(name, str) or not name.strip():
        raise RowProblem(f"`{where}` names no function.", _CALL)
    given = function if isinstance(function, dict) else item
    raw: Any = next((given[key] for key in _ARGUMENTS if given.get(key) is not None), {})
    arguments = _unpacked(raw)
    if not is_text and arguments is raw:
        # Text means what it says; an object may come out of a table, which fills it up with null.
        arguments = without_nulls(arguments)
    if isinstance(arguments, str) and arguments.strip().casefold() in _NONE:
        arguments = {}
    if not isinstance(arguments, dict):
        raise RowProblem(f"The arguments of `{where}` are no object, nor the JSON text of one.", _CALL)
    call: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": arguments}}
    identity = item.get("id")
    return ({"id": identity} if isinstance(identity, str) and identity else {}) | call
