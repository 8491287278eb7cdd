"""What speakers are called in files that people have, and which of the four roles each is. Knows names only."""

from typing import Any

from tunesmith.rows.columns import plain_name

ROLES = ("system", "user", "assistant", "tool")
CALL = "function_call"
"""The role of a turn whose text is a call of a tool."""
SPEAKERS = ("role", "from", "speaker", "author")
"""What the key of a turn's speaker is called; `from` is ShareGPT's."""
_NAMES = {
    "system": ("system", "developer", "系统", "系統"),
    "user": ("user", "human", "prompter", "question", "prompt", "customer", "用户", "用戶", "人类"),
    "assistant": (
        "assistant", "gpt", "chatgpt", "gpt4", "gpt-4", "claude", "bing", "bard", "bot", "chatbot", "model", "ai",
        "llm", "agent", "answer", "助手", "助理", "机器人",
    ),
    "tool": ("tool", "function", "observation", "tool_response", "tool_result", "function_response"),
    CALL: ("function_call", "tool_call", "tool_calls"),
}  # fmt: skip
_ROLES = {plain_name(name): role for role, names in _NAMES.items() for name in names}
"""What a role is called that is taken as it is meant, wherever it stands."""


def role_of(name: Any) -> str | None:
    """One of `ROLES` or `CALL` by what a file calls it; None where it says nothing that is known."""
    return _ROLES.get(plain_name(name)) if isinstance(name, str) else None


def speaker_key(turn: dict[str, Any]) -> str | None:
    """The key that names a turn's speaker; None where none does."""
    return next((key for key in SPEAKERS if turn.get(key) is not None), None)
