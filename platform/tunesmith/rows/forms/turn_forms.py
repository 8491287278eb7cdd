"""What a list of turns is called, by the keys of its turns. Knows no columns."""

from collections.abc import Iterator
from typing import Any

from tunesmith.rows.chat.bedrock import typed
from tunesmith.rows.chat.content_parts import RESULT
from tunesmith.rows.chat.roles import speaker_key
from tunesmith.rows.chat.turns import is_round
from tunesmith.rows.json_text import unpacked

_ANTHROPIC = ("tool_use", RESULT)
_BY_SPEAKER = {"from": "ShareGPT", "author": "PaLM messages", "speaker": "turns with a speaker"}


def form_of_turns(value: Any) -> str:
    """Who writes turns so; empty where they are none."""
    turns = unpacked(value)
    first = unpacked(turns[0]) if isinstance(turns, list) and turns else None
    if isinstance(first, str):
        return "questions and answers in turn"
    if not isinstance(first, dict):
        return ""
    key = "from" if "from" in first else speaker_key(first)
    if key is None:
        return "rounds of question and answer" if is_round(first) else ""
    if key in _BY_SPEAKER:
        return _BY_SPEAKER[key]
    parts = [part for turn in turns for part in _parts(unpacked(turn))]
    if any(part.get("type") in _ANTHROPIC for part in parts):
        return "Anthropic messages"
    return "Bedrock messages" if any(typed(part) is not part for part in parts) else "OpenAI messages"


def _parts(turn: Any) -> Iterator[dict[str, Any]]:
    parts = turn.get("content") if isinstance(turn, dict) else None
    yield from (
        part for part in map(unpacked, parts if isinstance(parts, list) else []) if isinstance(part, dict)
    )
