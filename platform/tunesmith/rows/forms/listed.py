"""Conversations in a list under a name that says little: ShareGPT's `items`, UltraChat's `data`, any column of turns.

Knows lists of turns and of texts; knows nothing of what a turn holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.conversation import with_beside
from tunesmith.rows.chat.turns import (
    MAX_MESSAGES,
    Message,
    alternating,
    is_round,
    is_turns,
    too_many,
    turns_of,
)
from tunesmith.rows.columns import SYSTEMS, TOOLS, is_filled, named, plain_name
from tunesmith.rows.files.decoding import Row
from tunesmith.rows.forms.turn_forms import form_of_turns
from tunesmith.rows.json_text import unpacked

_TEXTS = ("data", "dialog", "dialogue")
"""What UltraChat and DailyDialog call their list of texts. Under other names a list of texts may be anything."""
_NO_TALK = ("tools", "functions", "chosen", "rejected", "history", "prompt", "completion")
"""Columns that may hold turns and are no whole conversation."""


@dataclass(frozen=True)
class Turns:
    """Rows whose turns stand in a column that is called otherwise."""

    column: str
    system: str | None
    tools: str | None
    name: str

    @classmethod
    def among(cls, rows: Sequence[Row], found: Sequence[str]) -> "Turns | None":
        """This form with the columns of a file; None where no row is written so, or more than one column is."""
        held = [
            name
            for name in found
            if plain_name(name) not in _NO_TALK and any(_is_talk(unpacked(row.get(name))) for row in rows)
        ]
        if len(held) != 1:
            return None
        turns = next(turns for row in rows if _is_talk(turns := unpacked(row.get(held[0]))))
        return cls(held[0], named(SYSTEMS, found), named(TOOLS, found), form_of_turns(turns))

    @property
    def meaning(self) -> dict[str, str]:
        """What its columns become."""
        means = {self.system: "system", self.column: "turns", self.tools: "tools"}
        return {name: meaning for name, meaning in means.items() if name}

    def holds(self, row: Row) -> bool:
        """Whether a row is written so."""
        return is_filled(row.get(self.column))

    def read(self, row: Row) -> list[Message]:
        """The conversation in a row."""
        return with_beside(turns_of(row[self.column], self.column), row, self.column, self.system, self.tools)


@dataclass(frozen=True)
class Alternating:
    """Rows of texts: a question, its answer, the next question."""

    column: str
    system: str | None
    name: str = "UltraChat"

    @classmethod
    def among(cls, rows: Sequence[Row], found: Sequence[str]) -> "Alternating | None":
        """This form with the columns of a file; None where no row is written so."""
        column = named(_TEXTS, found)
        if column is None or not any(_is_texts(row.get(column)) for row in rows):
            return None
        return cls(column, named(SYSTEMS, found))

    @property
    def meaning(self) -> dict[str, str]:
        """What its columns become."""
        return ({self.system: "system"} if self.system else {}) | {self.column: "turns"}

    def holds(self, row: Row) -> bool:
        """Whether a row is written so."""
        return is_filled(row.get(self.column))

    def read(self, row: Row) -> list[Message]:
        """The conversation in a row."""
        texts: Any = unpacked(row[self.column])
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise RowProblem(
                f"`{self.column}` is no list of texts.",
                f'Write `"{self.column}": ["question", "answer", ...]`, or the conversation as `messages`.',
            )
        if len(texts) > MAX_MESSAGES:
            raise too_many(self.column, len(texts))
        messages = alternating(texts, self.column)
        return with_beside(messages, row, self.column, self.system, None)


def _is_talk(value: Any) -> bool:
    return is_turns(value) or (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, dict) and is_round(one) for one in value)
    )


def _is_texts(value: Any) -> bool:
    found = unpacked(value)
    return isinstance(found, list) and len(found) > 1 and all(isinstance(text, str) for text in found)
