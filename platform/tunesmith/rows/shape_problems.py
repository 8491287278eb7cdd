"""What is wrong where a file has not the columns that are trained, or a row not the texts, with the way out."""

from collections.abc import Iterable, Sequence
from typing import Any

from tunesmith.errors import InvalidData
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.content_parts import kind_of
from tunesmith.rows.chat.conversation import CONVERSATION_COLUMNS, columns_of
from tunesmith.rows.chat.roles import SPEAKERS, role_of
from tunesmith.rows.columns import is_filled, named, says_nothing
from tunesmith.rows.files.decoding import Row
from tunesmith.rows.problems import BadAnswer, EmptyText, bad_file
from tunesmith.spec.problems import did_you_mean

_NAMED = 6
"""So many names of a column are said: the usual ones come first."""


def bad_answer(column: str) -> BadAnswer:
    """The problem of a row that is marked as a bad answer."""
    return BadAnswer(
        f"`{column}` marks the answer as a bad one: `sft` would teach it as a good one.",
        "`allowed_bad_percent=100` leaves such rows out and trains the good ones alone, as does a `filter` of the "
        f"data. If `{column}` says something else, leave that column out (`select`).",
    )


def not_text(column: str) -> RowProblem:
    """The problem of a row whose answer is about something that is no text."""
    return RowProblem(
        f"`{column}` holds what the answer is about, and models of text are trained: it would learn to answer about "
        "what it never sees.",
        "`allowed_bad_percent=100` leaves such rows out. If the answers do not need it, leave that column out "
        "(`select`).",
    )


def filled(row: Row, column: str) -> str:
    """A column's text.

    Raises:
        RowProblem: It is none, or empty.
    """
    value: Any = row.get(column)
    if not isinstance(value, str):
        state = "is missing" if column not in row else f"is {kind_of(value)}, not a string"
        raise RowProblem(f"`{column}` {state}; the row has {columns_of(row)}.", "Write it as text.")
    if says_nothing(value):
        state = "empty" if not value.strip() else f"`{value.strip()}`, which tables write where nothing is"
        raise EmptyText(f"`{column}` is {state}.", "Write the text or remove the row.")
    return value


def need(file: str, parameter: str, names: Iterable[str], found: Sequence[str]) -> str:
    """The column among some names that a file has; the first name where it has no columns yet.

    Raises:
        InvalidData: It has others.
    """
    names = list(dict.fromkeys(names))
    name = named(names, found)
    if name is None and found:
        expected = ", ".join(f"`{name}`" for name in names[:_NAMED]) + (", ..." if names[_NAMED:] else "")
        raise bad_file(
            file,
            f"`{file}` has no column {expected}; it has {_listed(found)}.",
            f"Name the column with `{parameter}`.",
        )
    return name or names[0]


def no_column(file: str, parameter: str, name: str, found: Sequence[str]) -> InvalidData:
    """The problem of a parameter that names a column which a file has not."""
    meant = did_you_mean(name, found)
    return bad_file(
        file,
        f"`{parameter}`: `{file}` has no column `{name}`; it has {_listed(found)}.",
        f"Did you mean `{meant}`?" if meant else "Name one of them.",
    )


def no_text(file: str, found: Sequence[str]) -> InvalidData:
    """The problem of a file without a column of text."""
    is_chat = named(CONVERSATION_COLUMNS, found) is not None
    return bad_file(
        file,
        f"Pre-training reads documents; `{file}` has no column of text, only {_listed(found)}.",
        "Train conversations with `training_type=sft`."
        if is_chat
        else "Name the column that holds the text with `text_column`.",
    )


def refuse_single_turns(file: str, rows: Sequence[Row], found: Sequence[str]) -> None:
    """Say that each row is one turn of a conversation, where that is so: alone, no answer would have its question.

    Raises:
        InvalidData: It is so.
    """
    speaker = named(SPEAKERS, found)
    told = [row[speaker] for row in rows if is_filled(row.get(speaker))] if speaker else []
    if not told or any(role_of(name) is None for name in told):
        return
    text = named(("content", "value", "text"), found)
    said = ", ".join(f"`{name[:40]}`" for name in list(dict.fromkeys(told))[:2])
    raise bad_file(
        file,
        f"`{file}` has one turn of a conversation in each row (`{speaker}` is {said}): no answer stands with its "
        "question.",
        'Put the turns of each conversation into one row: `{"messages": [{"role": "user", "content": "..."}, ...]}`.'
        + (f" `text_column={text}` trains each text alone." if text else ""),
    )


def _listed(found: Sequence[str]) -> str:
    return columns_of(dict.fromkeys(found))
