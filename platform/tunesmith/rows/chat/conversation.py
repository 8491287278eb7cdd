"""The conversation in a row: chat `messages`, ShareGPT's `conversations`, or `instruction`/`input`/`output`.

Knows the three shapes and how people get them wrong. Knows nothing of files, templates or tokens.
"""

from typing import Any, NamedTuple

from tunesmith.row_problem import RowProblem
from tunesmith.rows.problems import EmptyText
from tunesmith.spec.problems import did_you_mean

ROLES = ("system", "user", "assistant", "tool")
MAX_MESSAGES = 1000
"""A template is rendered about twice an answer, so the work grows with the square of the turns."""

_ACCEPTED = (
    'Accepted: `{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}`, or '
    '`{"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}`, or '
    '`{"instruction": "...", "input": "...", "output": "..."}`. Other columns are named by `prompt_column` and '
    "`response_column`, or by `text_column`."
)
_SHAREGPT = (
    "These are turns in the ShareGPT shape: call the list `conversations`, or rename `from` to `role` and `value` to "
    "`content`."
)
CONVERSATION_COLUMNS = ("messages", "conversations", "conversation", "instruction")
"""A row with one of these holds a conversation."""
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
_SHAREGPT_ROLES = {name: name for name in ROLES} | {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
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

    Fields besides the shapes' own (`id`, `source`, a message's `name`) are passed over.

    Raises:
        RowProblem: The row cannot be trained on; says why and what to write instead.
    """
    if "messages" in row:
        return _chat(row, "messages")
    for name in ("conversations", "conversation"):
        if name in row:
            return _chat(row, name)
    if "instruction" in row:
        return _instruction(row)
    raise RowProblem(
        f"The row has neither `messages`, `conversations` nor `instruction`; it has {columns_of(row)}.",
        _ACCEPTED,
    )


def columns_of(row: dict[str, Any]) -> str:
    """The names of a row's first columns, for a message."""
    return ", ".join(f"`{str(key)[:40]}`" for key in list(row)[:8]) or "nothing"


def pair(question: str, answer: str, system: str = "") -> list[Message]:
    """The conversation of one question and its answer."""
    head = [Message("system", system)] if system.strip() else []
    return [*head, Message("user", question), Message("assistant", answer)]


def _chat(row: dict[str, Any], name: str) -> list[Message]:
    turns = row[name]
    if not isinstance(turns, list):
        raise RowProblem(f"`{name}` is {kind_of(turns)}, not a list.", _ACCEPTED)
    if not turns:
        raise RowProblem(f"`{name}` is empty.", _ACCEPTED)
    if "chosen" in row and "rejected" in row:
        raise RowProblem(
            "The row is a preference pair: `chosen` and `rejected` answers to the last question, of which fine-tuning "
            "takes one.",
            f"Write the chosen answer as the last turn of `{name}`, and remove `chosen` and `rejected`.",
        )
    if len(turns) > MAX_MESSAGES:
        raise RowProblem(
            f"`{name}` holds {len(turns)} turns; at most {MAX_MESSAGES} are read.",
            "Split the conversation.",
        )
    if row.get("tools"):
        raise RowProblem("`tools` is not supported.", "Remove `tools`, or describe them in a system message.")
    read = _turn if name == "messages" else _sharegpt_turn
    messages = [_plain_turn(turn) or read(turn, f"{name}[{index}]") for index, turn in enumerate(turns)]
    system = row.get("system")
    if name != "messages" and isinstance(system, str) and system.strip() and messages[0].role != "system":
        messages.insert(0, Message("system", system))
    answers = [message for message in messages if message.role == "assistant"]
    if not answers:
        raise RowProblem("No turn has the role `assistant`, so there is nothing to train on.", _ACCEPTED)
    if not answers[0].weight and not any(answer.weight for answer in answers):
        raise RowProblem(
            "Every answer has `weight` 0, so there is nothing to train on.",
            "Give one answer `weight` 1, or none.",
        )
    return messages


def _sharegpt_turn(turn: Any, where: str) -> Message:
    """A turn of `from` and `value`; one of `role` and `content` is read as it is."""
    if not isinstance(turn, dict) or "from" not in turn:
        return _turn(turn, where)
    role = turn["from"]
    if not isinstance(role, str) or role.strip().lower() not in _SHAREGPT_ROLES:
        raise RowProblem(
            f"`{where}.from` is `{str(role)[:40]}`, which is no known role.",
            "Use `system`, `human`, `gpt` or `tool`.",
        )
    value = turn.get("value")
    if not isinstance(value, str):
        raise RowProblem(f"`{where}.value` is {kind_of(value)}, not a string.", 'Write `"value": "..."`.')
    return _turn({**turn, "role": _SHAREGPT_ROLES[role.strip().lower()], "content": value}, where)


def _turn(turn: Any, where: str) -> Message:
    if not isinstance(turn, dict):
        raise RowProblem(f"`{where}` is {kind_of(turn)}, not an object.", _ACCEPTED)
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
            f"`{where}.content` is {kind_of(content)}, not a string.",
            "Join the text parts into one string."
            if isinstance(content, list)
            else 'Write `"content": "..."`.',
        )
    if role != "assistant":
        return Message(role, content)
    if not content.strip():
        raise EmptyText(
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


def _plain_turn(turn: Any) -> Message | None:
    """A turn of a known role and a text, and nothing else, as nearly all are; None when it must be looked at."""
    if turn.__class__ is not dict or len(turn) != 2:
        return None
    role, content = turn.get("role"), turn.get("content")
    if role not in ROLES or content.__class__ is not str:
        return None
    if role == "assistant" and not content.strip():
        return None
    return Message(role, content)


def _unknown_role(role: Any, where: str) -> RowProblem:
    message = f"`{where}.role` is {kind_of(role)}." if not isinstance(role, str) else ""
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
            raise RowProblem(f"`{name}` is {kind_of(value)}, not a string.", _ACCEPTED)
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
        raise EmptyText("`instruction` and `input` are both empty.", "Write the question or remove the row.")
    if not texts["output"].strip():
        raise EmptyText("`output` is empty: an answer needs text.", "Write the answer or remove the row.")
    return pair(question, texts["output"], texts["system"])


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
