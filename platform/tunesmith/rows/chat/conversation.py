"""The conversation in a row: chat `messages`, ShareGPT's `conversations`, or `instruction`/`input`/`output`.

Knows these columns and what stands beside them: a system prompt, tools, earlier rounds. Knows nothing of files,
templates or tokens.
"""

import re
from typing import Any

from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.content_parts import content_of, kind_of
from tunesmith.rows.chat.tool_calls import names_of, tools_in
from tunesmith.rows.chat.turns import (
    ACCEPTED,
    Conversation,
    Message,
    is_turns,
    tools_of,
    tools_of_turns,
    turns_of,
)
from tunesmith.rows.columns import TOOLS, is_filled, plain_name, says_nothing
from tunesmith.rows.json_text import unpacked
from tunesmith.rows.problems import EmptyText, no_answer
from tunesmith.spec.problems import did_you_mean

TURNS_COLUMNS = ("messages", "conversations", "conversation")
"""A row with one of these that is filled holds turns."""
CONVERSATION_COLUMNS = (*TURNS_COLUMNS, "instruction")
"""A row with one of these holds a conversation."""
_INSTRUCTION = ("instruction", "input", "output")
_ONE_OF_SEVERAL = re.compile(
    r"(response|answer|completion|output|reply|conversation|human_ref)_?[ab012]|(non_|dis)?preferred(_output)?"
)
"""Columns of answers of which one is the better one, as comparisons of two models have them."""
_LISTS_OF_ANSWERS = (
    "completions",
    "responses",
    "answers",
    "generations",
    "candidates",
    "human_answers",
    "correct_answers",
)
"""Columns of a list of answers."""


def to_messages(row: dict[str, Any]) -> list[Message]:
    """The conversation that a row holds, with at least one answer to train on.

    Fields besides the shapes' own (`id`, `source`) are passed over.

    Raises:
        RowProblem: The row cannot be trained on; says why and what to write instead.
    """
    there = [name for name in TURNS_COLUMNS if name in row]
    for name in there:
        if is_filled(row[name]):
            return _chat(row, name)
    # Rows of several tables put together have the columns of all, and null in those of the others.
    if "instruction" in row and (not there or any(is_filled(row.get(name)) for name in _INSTRUCTION)):
        return _instruction(row)
    if there:
        return _chat(row, there[0])
    _refuse_several_answers(row)
    raise RowProblem(
        f"The row has neither `messages`, `conversations` nor `instruction`; it has {columns_of(row)}.",
        ACCEPTED,
    )


def as_row(messages: list[Message]) -> dict[str, Any]:
    """The row of `messages` that is read as this conversation."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        turn: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.role == "assistant" and not message.weight:
            turn["weight"] = 0
        if message.calls:
            turn["tool_calls"] = unpacked(message.calls)
        beside = {
            "reasoning_content": message.reasoning,
            "name": message.name,
            "tool_call_id": message.call_id,
        }
        turns.append(turn | {key: value for key, value in beside.items() if value})
    tools = tools_of(messages)
    return {"messages": turns} | ({"tools": unpacked(tools)} if tools else {})


def columns_of(row: dict[str, Any]) -> str:
    """The names of a row's first columns, for a message."""
    return ", ".join(f"`{str(key)[:40]}`" for key in list(row)[:8]) or "nothing"


def pair(question: str, answer: str, system: str = "") -> list[Message]:
    """The conversation of one question and its answer."""
    head = [Message("system", system)] if system.strip() else []
    return [*head, Message("user", question), Message("assistant", answer)]


def answered(messages: list[Message], tools: str = "") -> list[Message]:
    """A conversation, if there is an answer in it to train on.

    Tools that the system turn describes already are not told a second time.

    Raises:
        RowProblem: There is none.
    """
    answers = [message for message in messages if message.role == "assistant"]
    if not answers:
        raise RowProblem("No turn has the role `assistant`, so there is nothing to train on.", ACCEPTED)
    if not answers[0].weight and not any(answer.weight for answer in answers):
        raise RowProblem(
            "Every answer has `weight` 0, so there is nothing to train on.",
            "Give one answer `weight` 1, or none.",
        )
    if (
        tools
        and messages[0].role == "system"
        and all(f'"{name}"' in messages[0].content for name in names_of(tools))
    ):
        return messages
    return Conversation(messages, tools) if tools else messages


def history_of(value: Any, name: str) -> list[Message]:
    """Earlier rounds: a list of pairs of question and answer, as LLaMA-Factory keeps them, or a list of turns.

    Raises:
        RowProblem: It is something else.
    """
    rounds = unpacked(value)
    if rounds is None or rounds in ("", []):
        return []
    if is_turns(rounds):
        return turns_of(rounds, name)
    messages: list[Message] = []
    for one in map(unpacked, rounds if isinstance(rounds, list) else [rounds]):
        if (
            not isinstance(one, list | tuple)
            or len(one) != 2
            or not all(isinstance(text, str) for text in one)
        ):
            raise RowProblem(
                f"`{name}` is no list of pairs of question and answer.",
                f'Write `"{name}": [["question", "answer"], ...]`, or the whole conversation as `messages`.',
            )
        if not any(text.strip() for text in one):
            continue  # the place of a round that never was
        if not one[1].strip():
            raise EmptyText(f"`{name}` holds an empty answer.", "Write it, or leave the round out.")
        messages += pair(*one)
    return messages


def _chat(row: dict[str, Any], name: str) -> list[Message]:
    if "chosen" in row and "rejected" in row:
        raise preference(name)
    tools = next((key for key in TOOLS if row.get(key) is not None), None)
    return with_beside(turns_of(row[name], name), row, name, "system", tools)


def with_beside(
    messages: list[Message], row: dict[str, Any], name: str, system: str | None, tools: str | None
) -> list[Message]:
    """A conversation with the system text and the tools that stand in columns beside it.

    Args:
        messages: Its turns.
        row: The row.
        name: The column of the turns, which may hold tools too.
        system: The column of the system text, where there is one.
        tools: The column of tools, where there is one.

    Raises:
        RowProblem: The system text is none, or another than the first turn's; or nothing in it is trained.
    """
    said = system_of(row.get(system), system) if system else ""
    if said and messages[0].role != "system":
        messages.insert(0, Message("system", said))
    elif said and messages[0].content.strip() != said.strip():
        raise RowProblem(
            f"`{system}` and the first turn of `{name}` are two system texts that differ: one of them would be lost.",
            "Keep one of them: leave that column out (`select`), or that turn.",
        )
    offered = tools_in(row[tools], tools) if tools and row.get(tools) is not None else ""
    return answered(messages, offered or tools_of_turns(row[name], name))


def system_of(value: Any, name: str) -> str:
    """A system text, also as a list of parts of text (Anthropic's way); empty where there is none.

    Raises:
        RowProblem: It is no text.
    """
    found = unpacked(value) if isinstance(value, list | dict) else value
    if not is_filled(found):
        return ""
    parts = content_of([found] if isinstance(found, dict) else found, name, "system")
    text = parts.text or ""
    return "" if says_nothing(text) else text


def _refuse_several_answers(row: dict[str, Any]) -> None:
    """Say that a row holds several answers of which one is to be chosen, where it does.

    Raises:
        RowProblem: It does.
    """
    rivals = [
        name for name in row if _ONE_OF_SEVERAL.fullmatch(plain_name(str(name))) and is_filled(row[name])
    ]
    lists = [name for name in row if plain_name(str(name)) in _LISTS_OF_ANSWERS and is_filled(row[name])]
    if len(rivals) < 2 and not lists:
        return
    names = " and ".join(f"`{str(name)[:40]}`" for name in (rivals[:2] if len(rivals) > 1 else lists[:1]))
    raise RowProblem(
        f"The row holds several answers to one question ({names}), of which fine-tuning takes one.",
        "Write the one that is to be learned as `response`. Preference training (DPO) is not offered.",
    )


def preference(name: str) -> RowProblem:
    """What is wrong with a row of a chosen and a rejected answer; `name` is the column of the question."""
    return RowProblem(
        f"The row is a preference pair: `chosen` and `rejected` answers to `{name}`, of which fine-tuning takes one.",
        "`response_column=chosen` trains the chosen answers. Preference training (DPO) is not offered.",
    )


def _instruction(row: dict[str, Any]) -> list[Message]:
    texts: dict[str, str] = {}
    for name in ("system", "instruction", "input", "output"):
        value = row.get(name)
        if value is not None and not isinstance(value, str):
            raise RowProblem(f"`{name}` is {kind_of(value)}, not a string.", ACCEPTED)
        texts[name] = "" if value is None or (name != "output" and says_nothing(value)) else value
    if "output" not in row:
        if "chosen" in row and "rejected" in row:
            raise preference("instruction")
        _refuse_several_answers(row)
        meant = did_you_mean("output", [str(key) for key in row])
        meant = meant or next((name for name in ("response", "answer", "completion") if name in row), None)
        raise RowProblem(
            "The row has `instruction` but no `output`.", f"Rename `{meant}`." if meant else ACCEPTED
        )
    question = "\n".join(part for part in (texts["instruction"], texts["input"]) if part)
    if says_nothing(question):
        raise EmptyText("`instruction` and `input` are both empty.", "Write the question or remove the row.")
    if says_nothing(texts["output"]):
        raise no_answer("output", texts["output"])
    return with_history(pair(question, texts["output"], texts["system"]), row.get("history"), "history")


def with_history(messages: list[Message], history: Any, name: str) -> list[Message]:
    """A conversation with earlier rounds before its last one."""
    rounds = history_of(history, name) if history is not None else []
    head = 1 if messages[0].role == "system" else 0
    return [*messages[:head], *rounds, *messages[head:]] if rounds else messages


def only_read(turns: list[Message]) -> list[Message]:
    """Turns whose answers are not learned."""
    return [turn._replace(weight=0) if turn.role == "assistant" else turn for turn in turns]


def last_text(turns: Any) -> Any:
    """The text of the last of some turns, where that is what they are."""
    last = turns[-1] if isinstance(turns, list) and turns else turns
    return last.get("content", last.get("value")) if isinstance(last, dict) else last
