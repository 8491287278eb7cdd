"""Parts and tools as Amazon Bedrock's Converse names them, in the form of those that name their type.

`{"text"}`, `{"toolUse"}`, `{"toolResult"}`, `{"reasoningContent"}`, and `{"toolSpec"}` in `toolConfig` (the API's
reference, `ContentBlock` and `Tool`, 2024). Knows these keys; knows nothing of turns.
"""

from typing import Any

from tunesmith.rows.json_text import packed, unpacked

NOTHING = ("cachePoint",)
"""Parts that say nothing of the text."""


def typed(part: Any) -> Any:
    """A part with its type where only its key says it; anything else as it is."""
    if not isinstance(part, dict) or "type" in part:
        return part
    filled = [key for key, value in part.items() if value is not None]
    if len(filled) != 1:
        return part
    key, value = filled[0], unpacked(part[filled[0]])
    if not isinstance(value, dict):
        return part
    if key == "toolUse":
        return {
            "type": "tool_use",
            "id": value.get("toolUseId"),
            "name": value.get("name"),
            "input": value.get("input"),
        }
    if key == "toolResult":
        return {
            "type": "tool_result",
            "tool_use_id": value.get("toolUseId"),
            "content": _results(value.get("content")),
        }
    if key == "reasoningContent":
        return {"type": "reasoning", "text": _thought(value)}
    return part


def tools_of_config(config: Any) -> Any:
    """The list of tools in a `toolConfig`, or in the JSON text of one; anything else as it is."""
    found = unpacked(config)
    return found["tools"] if isinstance(found, dict) and isinstance(found.get("tools"), list) else config


def declared(tool: Any) -> Any:
    """The function that a `toolSpec` declares; any other tool as it is."""
    said = unpacked(tool.get("toolSpec")) if isinstance(tool, dict) else None
    if not isinstance(said, dict):
        return tool
    schema = unpacked(said.get("inputSchema"))
    inner = unpacked(schema["json"]) if isinstance(schema, dict) and set(schema) == {"json"} else schema
    return said | ({"inputSchema": inner} if inner is not None else {})


def _results(content: Any) -> Any:
    parts = unpacked(content)
    if not isinstance(parts, list):
        return content
    return [
        {"type": "text", "text": packed(part["json"])}
        if isinstance(part, dict) and set(part) == {"json"}
        else part
        for part in map(unpacked, parts)
    ]


def _thought(value: dict[str, Any]) -> Any:
    text = unpacked(value.get("reasoningText"))
    return text.get("text") if isinstance(text, dict) else text
