"""What a list of turns is called, by the keys of its turns. Knows no columns."""

from typing import Any

from tunesmith.rows.chat.content_parts import RESULT
from tunesmith.rows.chat.turns import is_round
from tunesmith.rows.json_text import unpacked

_ANTHROPIC = ("tool_use", RESULT)


def form_of_turns(value: Any) -> str:
    """Who writes turns so; empty where they are none."""
    turns = unpacked(value)
    first = unpacked(turns[0]) if isinstance(turns, list) and turns else None
    if not isinstance(first, dict):
        return ""
    if "from" in first:
        return "ShareGPT"
    if "role" not in first:
        return "rounds of question and answer" if is_round(first) else ""
    return "Anthropic messages" if any(map(_has_its_parts, turns)) else "OpenAI messages"


def _has_its_parts(turn: Any) -> bool:
    found = unpacked(turn)
    parts = found.get("content") if isinstance(found, dict) else None
    return isinstance(parts, list) and any(
        isinstance(part, dict) and part.get("type") in _ANTHROPIC for part in map(unpacked, parts)
    )
