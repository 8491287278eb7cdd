"""What the content of a turn holds: text, or parts of text, of reasoning, and of calls of tools.

Knows OpenAI's, Anthropic's, Bedrock's and LLaMA-Factory's parts; knows nothing of turns.
"""

from typing import Any, NamedTuple

from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.bedrock import NOTHING, typed
from tunesmith.rows.chat.tool_calls import calls_in
from tunesmith.rows.json_text import packed, unpacked

_CALL_PARTS = ("tool_call", "tool_calls", "tool_use", "function_call")
"""Parts of an answer that are calls of tools."""
RESULT = "tool_result"
"""A part of a user's turn that is what a tool answered."""
_TEXT_KEYS = ("text", "content", "value")
"""Where a part keeps its text."""


class Parts(NamedTuple):
    """What a turn's content holds."""

    text: str | None
    """None where there is no text."""
    thought: str = ""
    calls: str = ""


def content_of(value: Any, where: str, role: str) -> Parts:
    """The text of a turn, and the reasoning and the calls among its parts.

    Raises:
        RowProblem: A part of it is no text.
    """
    if value is None or isinstance(value, str):
        return Parts(value)
    if role == "tool" and not (isinstance(value, list) and all(_is_part(part) for part in value)):
        return Parts(packed(value))  # what a tool answered, as the model is shown it
    if not isinstance(value, list):
        raise no_text(value, where)
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[Any] = []
    for index, given in enumerate(value):
        part, place = typed(unpacked(given)), f"{where}[{index}]"
        if isinstance(part, dict) and set(part) <= set(NOTHING):
            continue
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("thinking", "reasoning"):
            thought = next((part[key] for key in (kind, *_TEXT_KEYS) if isinstance(part.get(key), str)), None)
            if thought is not None:
                thoughts.append(thought)
                continue
        if kind in _CALL_PARTS and role == "assistant":
            calls.append(next((part[key] for key in (kind, *_TEXT_KEYS) if part.get(key)), part))
            continue
        if kind not in (None, "text", "input_text", "output_text"):
            raise RowProblem(
                f"`{place}` is a part of the type `{str(kind)[:40]}`: only text is trained.",
                "Leave the row out, or write what is to be learned as text.",
            )
        text = part if isinstance(part, str) else None
        if isinstance(part, dict):
            text = next((part[key] for key in _TEXT_KEYS if isinstance(part.get(key), str)), None)
        if text is None:
            raise RowProblem(f"`{place}` has no text.", 'Write `{"type": "text", "text": "..."}`.')
        if calls and text.strip():
            raise RowProblem(
                f"`{place}` is text behind a call of a tool: chat templates write an answer's calls last.",
                "Write it before the call, or into an answer of its own.",
            )
        texts.append(text)
    found = [call for one in map(unpacked, calls) for call in (one if isinstance(one, list) else [one])]
    return Parts(
        "\n".join(texts) if texts or not calls else None, "\n".join(thoughts), calls_in(found, where)
    )


def _is_part(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("type"), str)


def no_text(value: Any, where: str) -> RowProblem:
    """The problem of a content that is no text."""
    return RowProblem(f"`{where}` is {kind_of(value)}, not a string.", 'Write `"content": "..."`.')


def kind_of(value: Any) -> str:
    """What a value is, for a message."""
    if value is None:
        return "missing or `null`"
    names = {
        list: "a list",
        dict: "an object",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), type(value).__name__)
