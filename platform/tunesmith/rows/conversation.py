"""What a row means: the conversation in it, as chat `messages` or as `instruction`/`input`/`output`.

Knows the two shapes and how people get them wrong. Knows nothing of files, templates or tokens.
"""

from typing import Any, NamedTuple

from tunesmith.rows.problems import RowProblem
from tunesmith.spec.parameter import did_you_mean

ROLES = ("system", "user", "assistant", "tool")
MAX_MESSAGES = 1000
"""A template is rendered about twice an answer, so the work grows with the square of the turns."""

_ACCEPTED = (
    'Accepted: `{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}`, or '
    '`{"instruction": "...", "input": "...", "output": "..."}`.'
)
_SHAREGPT = (
    "This is the ShareGPT shape. Rename `conversations` to `messages`, `from` to `role`, `value` to `content`, and the "
    "roles `human` to `user` and `gpt` to `assistant`."
)
_OTHER_NAMES = {
    "human": "user",
    "question": "user",
    "prompt": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "developer": "system",
    "function": "tool",
    "observation": "tool",
}
# What would change the trained text if it were passed over in silence.
_NOT_SUPPORTED = (
    "tool_calls",
    "function_call",
    "reasoning_content",
    "reasoning",
    "thinking",
    "images",
    "audio",
)


class Message(NamedTuple):
    """One turn. `weight` is 0 for an answer that is read but not trained on."""

    role: str
    content: str
    weight: int = 1


def to_messages(row: dict[str, Any]) -> list[Message]:
    """The conversation that a row holds, with at least one answer to train on.

    Fields besides the two shapes' own (`id`, `source`, a message's `name`) are passed over.

    Raises:
        RowProblem: The row cannot be trained on; says why and what to write instead.
    """
    if "messages" in row:
        return _chat(row)
    if "instruction" in row:
        return _instruction(row)
    found = ", ".join(f"`{str(key)[:40]}`" for key in list(row)[:8]) or "nothing"
    if "conversations" in row or "conversation" in row:
        raise RowProblem(f"The row has neither `messages` nor `instruction`; it has {found}.", _SHAREGPT)
    raise RowProblem(f"The row has neither `messages` nor `instruction`; it has {found}.", _ACCEPTED)


def _chat(row: dict[str, Any]) -> list[Message]:
    turns = row["messages"]
    if not isinstance(turns, list):
        raise RowProblem(f"`messages` is {_kind(turns)}, not a list.", _ACCEPTED)
    if not turns:
        raise RowProblem("`messages` is empty.", _ACCEPTED)
    if len(turns) > MAX_MESSAGES:
        raise RowProblem(
            f"`messages` holds {len(turns)} turns; at most {MAX_MESSAGES} are read.",
            "Split the conversation.",
        )
    if row.get("tools"):
        raise RowProblem("`tools` is not supported.", "Remove `tools`, or describe them in a system message.")
    messages = [_turn(turn, f"messages[{index}]") for index, turn in enumerate(turns)]
    answers = [message for message in messages if message.role == "assistant"]
    if not answers:
        raise RowProblem("No turn has the role `assistant`, so there is nothing to train on.", _ACCEPTED)
    if not any(answer.weight for answer in answers):
        raise RowProblem(
            "Every answer has `weight` 0, so there is nothing to train on.",
            "Give one answer `weight` 1, or none.",
        )
    return messages


def _turn(turn: Any, where: str) -> Message:
    if not isinstance(turn, dict):
        raise RowProblem(f"`{where}` is {_kind(turn)}, not an object.", _ACCEPTED)
    if "role" not in turn:
        hint = _SHAREGPT if "from" in turn else 'Write `{"role": "user", "content": "..."}`.'
        raise RowProblem(f"`{where}` has no `role`.", hint)
    role = turn["role"]
    if role not in ROLES:
        raise _unknown_role(role, where)
    for name in _NOT_SUPPORTED:
        if turn.get(name):
            raise RowProblem(
                f"`{where}.{name}` is not supported.",
                f"Write what should be trained into `content` and remove `{name}`.",
            )
    content = turn.get("content")
    if not isinstance(content, str):
        raise RowProblem(
            f"`{where}.content` is {_kind(content)}, not a string.",
            "Join the text parts into one string."
            if isinstance(content, list)
            else 'Write `"content": "..."`.',
        )
    if role != "assistant":
        return Message(role, content)
    if not content.strip():
        raise RowProblem(
            f"`{where}.content` is empty: an answer needs text.", "Write the answer or remove the row."
        )
    weight = turn.get("weight")
    if weight is None:
        return Message(role, content)
    if weight not in (0, 1):
        raise RowProblem(
            f"`{where}.weight` is {str(weight)[:40]}.", "Use 1 (train on it, the default) or 0 (do not)."
        )
    return Message(role, content, int(weight))


def _unknown_role(role: Any, where: str) -> RowProblem:
    message = f"`{where}.role` is {_kind(role)}." if not isinstance(role, str) else ""
    message = message or f"`{where}.role` is `{role[:40]}`, which is no known role."
    meant = None
    if isinstance(role, str):
        meant = _OTHER_NAMES.get(role.strip().lower()) or did_you_mean(role.strip()[:40], ROLES)
    return RowProblem(
        message, f"Did you mean `{meant}`?" if meant else "Use `system`, `user`, `assistant` or `tool`."
    )


def _instruction(row: dict[str, Any]) -> list[Message]:
    texts: dict[str, str] = {}
    for name in ("system", "instruction", "input", "output"):
        value = row.get(name)
        if value is not None and not isinstance(value, str):
            raise RowProblem(f"`{name}` is {_kind(value)}, not a string.", _ACCEPTED)
        texts[name] = value or ""
    if "output" not in row:
        meant = did_you_mean("output", [str(key) for key in row])
        meant = meant or next((name for name in ("response", "answer", "completion") if name in row), None)
        raise RowProblem(
            "The row has `instruction` but no `output`.", f"Rename `{meant}`." if meant else _ACCEPTED
        )
    if row.get("history"):
        raise RowProblem("`history` is not supported.", "Write the whole conversation as `messages`.")
    question = "\n".join(part for part in (texts["instruction"], texts["input"]) if part)
    if not question.strip():
        raise RowProblem("`instruction` and `input` are both empty.", "Write the question or remove the row.")
    if not texts["output"].strip():
        raise RowProblem("`output` is empty: an answer needs text.", "Write the answer or remove the row.")
    head = [Message("system", texts["system"])] if texts["system"].strip() else []
    return [*head, Message("user", question), Message("assistant", texts["output"])]


def _kind(value: Any) -> str:
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
