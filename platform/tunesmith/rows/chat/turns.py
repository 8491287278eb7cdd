"""The turns of a conversation: text, parts of text, calls of tools, and what tools answered.

Knows chat `messages`, ShareGPT's turns and how people get them wrong. Knows nothing of columns, files or templates.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.bedrock import typed
from tunesmith.rows.chat.content_parts import RESULT, Parts, content_of, kind_of, no_text
from tunesmith.rows.chat.roles import CALL, ROLES, role_of, speaker_key
from tunesmith.rows.chat.tool_calls import calls_in, tools_in
from tunesmith.rows.columns import is_filled, says_nothing
from tunesmith.rows.json_text import unpacked
from tunesmith.rows.problems import BadAnswer, EmptyText, no_answer
from tunesmith.rows.verdicts import is_good_answer, said_of_turn
from tunesmith.spec.problems import did_you_mean

MAX_MESSAGES = 1000
"""A template is rendered about twice an answer, so the work grows with the square of the turns."""

ACCEPTED = (
    'Accepted: `{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}`, or '
    '`{"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}`, or '
    '`{"instruction": "...", "input": "...", "output": "..."}`. Other columns are named by `prompt_column` and '
    "`response_column`, or by `text_column`."
)
_SHAREGPT = (
    "These are turns in the ShareGPT shape: call the list `conversations`, or rename `from` to `role` and `value` to "
    "`content`."
)
_ROUNDS = (("human", "assistant"), ("user", "assistant"), ("input", "output"), ("question", "answer"))
"""The keys of a round that is one object."""
_REASONING = ("reasoning_content", "reasoning", "thinking")
"""What an answer's own reasoning is called."""
_CALLS = ("tool_calls", "function_call", "tool_call", "function_calls")
"""What an answer's calls of tools are called."""
_CONTENTS = ("content", "value", "text")
"""What a turn's text is called."""
_OTHER_CONTENTS = ("message", "utterance")
"""What it is called in a turn that has none of those: beside them these may be anything."""
_NOT_TEXT = ("images", "image", "audio", "audios", "videos", "video")
"""What would change the trained text if it were passed over in silence."""
_NOT_TRAINED = ("train", "training", "loss", "need_loss", "trainable")
"""An answer that says `false`, nought or "no" under one of these is read and not learned, as with `weight` 0."""


class Message(NamedTuple):
    """One turn."""

    role: str
    content: str
    weight: int = 1
    """0 for an answer that is read but not trained on."""
    reasoning: str = ""
    """What an answer was thought out with, where the row keeps it apart."""
    calls: str = ""
    """The tools that an answer calls, as JSON (`tool_calls.calls_in`)."""
    name: str = ""
    """The tool that a tool's turn is of."""
    call_id: str = ""
    """The call that a tool's turn answers."""

    @property
    def texts(self) -> tuple[str, ...]:
        """Everything in it that people wrote."""
        return (self.content, self.reasoning, self.calls, self.name, self.call_id)


class Conversation(list[Message]):
    """Turns, and the tools that may be called in them.

    Args:
        turns: The turns.
        tools: As JSON (`tool_calls.tools_in`); empty for none.
    """

    def __init__(self, turns: Iterable[Message], tools: str = "") -> None:
        super().__init__(turns)
        self.tools = tools


def tools_of_turns(value: Any, name: str) -> str:
    """The tools that a turn itself brings, as GLM's rows have them in the system's; as JSON, empty for none.

    Raises:
        RowProblem: They are no list of tools.
    """
    turns = unpacked(value)
    for index, turn in enumerate(turns if isinstance(turns, list) else []):
        if isinstance(turn, dict) and turn.get("tools") is not None:
            return tools_in(turn["tools"], f"{name}[{index}].tools")
    return ""


def tools_of(messages: Any) -> str:
    """The tools of some turns, as JSON; empty where there are none."""
    return messages.tools if isinstance(messages, Conversation) else ""


def like(messages: Any, turns: Iterable[Message]) -> list[Message]:
    """Other turns with the tools of some."""
    tools = tools_of(messages)
    return Conversation(turns, tools) if tools else list(turns)


def is_turns(value: Any) -> bool:
    """Whether a value is a list of turns."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, dict) and _is_turn(turn) for turn in value)
    )


def _is_turn(turn: dict[str, Any]) -> bool:
    if "from" in turn:
        return any(name in turn for name in ("value", "text"))
    key = speaker_key(turn)
    # Under other names than `role` a list may be of posts, or of books: its speakers tell it.
    return (
        key is not None
        and (key == "role" or role_of(turn[key]) is not None)
        and any(name in turn for name in (*_CONTENTS, *_OTHER_CONTENTS, *_CALLS))
    )


def turns_of(value: Any, name: str) -> list[Message]:
    """The turns in a list, whoever speaks them.

    Raises:
        RowProblem: It is no list of turns.
    """
    turns = unpacked(value)
    if not isinstance(turns, list):
        text = (
            " JSON cannot be read from it either."
            if isinstance(turns, str) and turns.strip()[:1] == "["
            else ""
        )
        raise RowProblem(f"`{name}` is {kind_of(turns)}, not a list.{text}", ACCEPTED)
    if not turns:
        raise RowProblem(f"`{name}` is empty.", ACCEPTED)
    if len(turns) > MAX_MESSAGES:
        raise too_many(name, len(turns))
    if len(turns) > 1 and all(isinstance(unpacked(turn), str) for turn in turns):
        return alternating(turns, name)
    read = _turn if name == "messages" else _sharegpt_turn
    messages: list[Message] = []
    for index, given in enumerate(turns):
        plain = _plain_turn(given)
        if plain is not None:
            messages.append(plain)
            continue
        turn = unpacked(given)
        place = f"{name}[{index}]"
        found = _round(turn, place)
        if found and messages and found[0].role == "system":
            before = next((said for said in reversed(messages) if said.role == "system"), None)
            found = found[1:] if found[0] == before else found  # said with each round, meant once
        messages += found or _results(turn, place) or [read(turn, place)]
    return messages


def alternating(texts: list[str], name: str) -> list[Message]:
    """A conversation of texts alone: a question, its answer, the next question (LIMA's and UltraChat's way).

    Raises:
        RowProblem: One of them is empty.
    """
    messages: list[Message] = []
    for index, text in enumerate(texts):
        if index % 2 and says_nothing(text):
            raise no_answer(f"{name}[{index}]", text)
        if says_nothing(text):
            raise EmptyText(f"`{name}[{index}]` is empty.", "Write the question or remove the row.")
        messages.append(Message("assistant" if index % 2 else "user", text))
    return messages


def too_many(name: str, count: int) -> RowProblem:
    """The problem of a conversation with too many turns."""
    return RowProblem(
        f"`{name}` holds {count} turns; at most {MAX_MESSAGES} are read.", "Split the conversation."
    )


def _results(turn: Any, where: str) -> list[Message]:
    """What tools answered in a user's turn (Anthropic's way), and its texts; empty where there is no such part."""
    if not isinstance(turn, dict) or not isinstance(turn.get("content"), list):
        return []
    parts = [typed(unpacked(part)) for part in turn["content"]]
    if not any(isinstance(part, dict) and part.get("type") == RESULT for part in parts):
        return []
    if role_of(turn.get("role")) not in ("user", "tool"):
        raise RowProblem(
            f"`{where}.content` holds a part of the type `{RESULT}`, and its role is "
            f"`{str(turn.get('role'))[:40]}`.",
            "What a tool answered stands in a turn of the role `user` or `tool`.",
        )
    messages: list[Message] = []
    texts: list[str] = []
    for index, part in enumerate(parts):
        place = f"{where}.content[{index}]"
        if not isinstance(part, dict) or part.get("type") != RESULT:
            texts.append(content_of([part], place, "user").text or "")
            continue
        if texts:
            messages.append(Message("user", "\n".join(texts)))
            texts = []
        said = content_of(part.get("content"), f"{place}.content", "user").text
        call_id = part.get("tool_use_id")
        messages.append(Message("tool", said or "", call_id=call_id if isinstance(call_id, str) else ""))
    return [*messages, Message("user", "\n".join(texts))] if texts else messages


def is_round(turn: dict[str, Any]) -> bool:
    """Whether an object holds a question and its answer."""
    return any(question in turn and answer in turn for question, answer in _ROUNDS)


def _round(turn: Any, where: str) -> list[Message]:
    """A question and its answer in one object (Firefly's and XTuner's way); empty where it is something else.

    What stands beside an answer (a weight, a verdict, its reasoning) says of it what it says in a turn of its own.
    """
    if not isinstance(turn, dict) or speaker_key(turn) is not None:
        return []
    for question, answer in _ROUNDS:
        asked, said = turn.get(question), turn.get(answer)
        if isinstance(asked, str) and isinstance(said, str) and said.strip():
            system = turn.get("system")
            head = [Message("system", system)] if isinstance(system, str) and is_filled(system) else []
            beside = {
                name: value
                for name, value in turn.items()
                if name not in (question, answer, "system", *_CONTENTS)
            }
            read = _turn({**beside, "role": "assistant", "content": said}, where) if beside else None
            return [*head, Message("user", asked), read or Message("assistant", said)]
    return []


def _sharegpt_turn(turn: Any, where: str) -> Message:
    """A turn of `from` and `value`; one of `role` and `content` is read as it is."""
    if not isinstance(turn, dict) or turn.get("from") is None:
        return _turn(turn, where)
    role = role_of(turn["from"])
    if role is None:
        raise RowProblem(
            f"`{where}.from` is `{str(turn['from'])[:40]}`, which is no known role.",
            "Use `system`, `human`, `gpt`, `function_call`, `observation` or `tool`.",
        )
    value, place = _said(turn, where)
    if not isinstance(value, str | list) and not (value is None and any(turn.get(key) for key in _CALLS)):
        place = place if value is not None else f"{where}.value"
        raise RowProblem(f"`{place}` is {kind_of(value)}, not a string.", 'Write `"value": "..."`.')
    return _turn({**turn, "role": role}, where)


def _said(turn: dict[str, Any], where: str) -> tuple[Any, str]:
    """What a turn says, and the place of it.

    Raises:
        RowProblem: It says two things under two names.
    """
    there = [name for name in _CONTENTS if turn.get(name) is not None]
    if len(there) > 1 and any(turn[name] != turn[there[0]] for name in there):
        raise RowProblem(
            f"`{where}` holds `{there[0]}` and `{there[1]}`, which differ: which of them the turn says cannot be told.",
            "Keep one of them.",
        )
    name = next((name for name in (*there, *_OTHER_CONTENTS) if turn.get(name) is not None), "content")
    return turn.get(name), f"{where}.{name}"


def _turn(turn: Any, where: str) -> Message:
    if not isinstance(turn, dict):
        raise RowProblem(f"`{where}` is {kind_of(turn)}, not an object.", ACCEPTED)
    key = speaker_key(turn) or ("role" if "role" in turn else None)
    if key is None or key == "from":
        hint = _SHAREGPT if "from" in turn else 'Write `{"role": "user", "content": "..."}`.'
        raise RowProblem(f"`{where}` has no `role`.", hint)
    role = role_of(turn[key])
    if role is None:
        raise _unknown_role(turn[key], f"{where}.{key}")
    for name in _NOT_TEXT:
        if turn.get(name):
            raise RowProblem(
                f"`{where}.{name}` is not supported: models of text are trained.",
                f"Write what should be trained into `content` and remove `{name}`.",
            )
    said, place = _said(turn, where)
    parts = content_of(said, place, role)
    content = parts.text
    if role in ("assistant", CALL):
        return _answer(turn, where, role, parts, place)
    for name in _REASONING:
        if turn.get(name):
            raise RowProblem(f"`{where}.{name}`: only an answer has reasoning.", f"Remove `{name}`.")
    if content is None:
        raise no_text(said, place)
    if role != "tool":
        return Message(role, content)
    own, call_id = turn.get("name"), turn.get("tool_call_id")
    return Message(
        role,
        content,
        name=own if isinstance(own, str) else "",
        call_id=call_id if isinstance(call_id, str) else "",
    )


def _answer(turn: dict[str, Any], where: str, role: str, parts: Parts, place: str) -> Message:
    """The turn of an assistant: its words, its calls of tools, its reasoning."""
    content, thought, calls = parts
    weight = _weight(turn, where)
    judged = next((name for name, value in turn.items() if said_of_turn(str(name), value) is False), None)
    if weight and judged is not None:
        raise BadAnswer(
            f"`{where}.{judged}` marks the answer as a bad one: `sft` would teach it as a good one.",
            "Give the turn `weight` 0 to read it without learning it, or leave such rows out with "
            "`allowed_bad_percent=100`.",
        )
    if role == CALL:
        calls = calls_in(content, place)
        if not calls:
            raise EmptyText(f"`{place}` is empty: it calls no tool.", "Write the call or remove the row.")
        return Message("assistant", "", weight, calls=calls)
    calls = next((found for key in _CALLS if (found := calls_in(turn.get(key), f"{where}.{key}"))), calls)
    for name in _REASONING:
        value = turn.get(name)
        if isinstance(value, str) and value.strip():
            thought = thought or value
        elif value and not isinstance(value, str):
            raise RowProblem(f"`{where}.{name}` is {kind_of(value)}, not a string.", "Write it as text.")
    if content is None and not calls:
        raise no_text(content, place)
    if not calls and says_nothing(content or ""):
        raise no_answer(place, content or "")
    return Message("assistant", content or "", weight, thought, calls)


def _weight(turn: dict[str, Any], where: str) -> int:
    name = "weight" if turn.get("weight") is not None else "loss_weight"
    weight = turn.get(name)
    if weight is None:
        return 0 if any(is_good_answer(turn.get(name)) is False for name in _NOT_TRAINED) else 1
    if weight not in (0, 1):
        raise RowProblem(
            f"`{where}.{name}` is {str(weight)[:40]}.", "Use 1 (train on it, the default) or 0 (do not)."
        )
    return int(weight)


def _plain_turn(turn: Any) -> Message | None:
    """A turn of a known role and a text, and nothing else, as nearly all are; None when it must be looked at."""
    if turn.__class__ is not dict or len(turn) != 2:
        return None
    role, content = turn.get("role"), turn.get("content")
    if role not in ROLES or content.__class__ is not str:
        return None
    if role == "assistant" and says_nothing(content):
        return None
    return Message(role, content)


def _unknown_role(role: Any, where: str) -> RowProblem:
    message = f"`{where}` is {kind_of(role)}." if not isinstance(role, str) else ""
    message = message or f"`{where}` is `{role[:40]}`, which is no known role."
    meant = did_you_mean(role.strip()[:40], ROLES) if isinstance(role, str) else None
    return RowProblem(
        message, f"Did you mean `{meant}`?" if meant else "Use `system`, `user`, `assistant` or `tool`."
    )
