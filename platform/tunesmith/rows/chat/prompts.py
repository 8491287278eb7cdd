"""What a model is asked: a row's system and user turns, and their tokens up to where it is to answer.

Rows are read as for training, only that they need no answer. Knows rows, columns and the encoder; knows nothing of how
answers are made.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.errors import InvalidInput
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.content_parts import kind_of
from tunesmith.rows.chat.conversation import CONVERSATION_COLUMNS, columns_of, to_messages
from tunesmith.rows.chat.turns import Message, is_turns, turns_of
from tunesmith.rows.columns import MORE, PAIRS, SYSTEMS, named, plain_name
from tunesmith.rows.files.decoding import Row
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.json_text import unpacked
from tunesmith.rows.problems import bad_file
from tunesmith.rows.tokens.encoding import Encoder
from tunesmith.spec.problems import did_you_mean

_FIRST_ROWS = 20
_PROMPTS = ("prompt", "question", "input")
_ANSWER = "-"
_SAID = "Hello."


class Asked(NamedTuple):
    """What one row asks."""

    row: int
    """Its number in the file, from 1."""
    turns: list[Message]
    """Its system and user turns, in their order."""


def asked_rows(path: Path, prompt_column: str | None = None) -> Iterator[Asked]:
    """What the rows of a file ask.

    Args:
        path: The file.
        prompt_column: The column of prompts; found by its name where it is not given.

    Raises:
        InvalidData: No column holds prompts, a row cannot be read, or there is no row.
    """
    file = RowFile(path)
    column = _column_of(file, prompt_column)
    number = 0
    for number, row in file.scan():
        try:
            if isinstance(row, RowProblem):
                raise row
            turns = _turns_of(row) if column is None else _prompt_of(row, column, whole=prompt_column is None)
        except RowProblem as problem:
            hint = problem.hint or "Fix the row, or remove it."
            raise bad_file(file.place(number), problem.message, hint) from problem
        yield Asked(number, turns)
    if not number:
        raise bad_file(file.name, f"`{file.name}` has no rows.", "Give a file that asks something.")


def _column_of(file: RowFile, asked: str | None) -> str | None:
    """The column of prompts; None where rows hold conversations."""
    rows = [row for _, row in islice(file.scan(), _FIRST_ROWS) if not isinstance(row, RowProblem)]
    found = list(dict.fromkeys(str(key) for row in rows for key in row))
    if asked is not None and found and asked not in found:
        meant = did_you_mean(asked, found)
        raise bad_file(
            file.name,
            f"`prompt_column`: `{file.name}` has no column `{asked}`; it has {columns_of(dict.fromkeys(found))}.",
            f"Did you mean `{meant}`?" if meant else "Name one of them.",
        )
    if asked is not None or set(CONVERSATION_COLUMNS) & set(found):
        return asked
    column = named([*_PROMPTS, *(prompt for prompt, _ in PAIRS)], found)
    if column is None and found:
        raise bad_file(
            file.name,
            f"`{file.name}` asks nothing: it has {columns_of(dict.fromkeys(found))}.",
            "Name the column that holds the prompts with `prompt_column`.",
        )
    return column


def _turns_of(row: Row) -> list[Message]:
    """The system and user turns of a conversation, as far as no tool speaks."""
    given = {key: value for key, value in row.items() if key not in ("chosen", "rejected", "tools")}
    # An answer makes a prompt a conversation that can be read as those that are trained on.
    for name in ("messages", "conversations", "conversation"):
        if name in given:
            given[name] = unpacked(given[name])
        if isinstance(given.get(name), list) and given[name]:
            given[name] = [*given[name], {"role": "assistant", "content": _ANSWER}]
    if "instruction" in given:
        given["output"] = _ANSWER
    return _asking(to_messages(given))


def _asking(messages: list[Message]) -> list[Message]:
    turns: list[Message] = []
    for message in messages:
        if message.role == "tool":
            break
        if message.role != "assistant":
            turns.append(message)
    if not any(message.role == "user" for message in turns):
        raise RowProblem(
            "No turn has the role `user`: the row asks nothing.", "Write a question, or remove the row."
        )
    return turns


def _prompt_of(row: Row, column: str, *, whole: bool) -> list[Message]:
    """What a row asks; `whole` with what goes with its question, as rows are read that are trained on."""
    value: Any = unpacked(row.get(column))
    if is_turns(value):
        return _asking(turns_of(value, column))
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        state = f"is {kind_of(value)}, not a string" if not isinstance(value, str) else "is empty"
        raise RowProblem(f"`{column}` {state}.", "Write the prompt, or remove the row.")
    more = row.get(named(MORE.get(plain_name(column), ()), [*row]) or "") if whole else None
    if isinstance(more, str) and more.strip():
        value = f"{value}\n{more}"
    system = row.get(named(SYSTEMS, [*row]) or "")
    head = [Message("system", system)] if isinstance(system, str) and system.strip() else []
    return [*head, Message("user", value)]


class PromptEncoder(Encoder):
    """Encodes conversations up to where the model is to answer, as the training encodes them."""

    def prompt(self, messages: Sequence[Message], variables: Mapping[str, Any] | None = None) -> list[int]:
        """The tokens of a conversation with an answer opened at its end.

        Args:
            messages: The conversation.
            variables: See `ChatTemplate.render`.

        Raises:
            RowProblem: The template refuses it, or a lookalike of a control token cannot be made harmless.
        """
        shown, hidden = self._control.hide(messages)
        text = self.renderer.render(
            self.renderer.turns(shown), shown, add_generation_prompt=True, variables=variables
        )
        self.renderer.require_said(text, shown)
        ids: list[int] = (
            self._encode_around(text, hidden)[0]
            if hidden
            else self._tokenizer.encode(text, add_special_tokens=False).ids
        )
        self._check(text, ids)
        return ids

    def end_of_answer(self) -> int | None:
        """The control token that the template writes behind an answer; None where it writes none, or takes none.

        Found out by a made-up question: a tokenizer that does not know its words, or a template that refuses it, is
        none of the rows' fault.
        """
        messages = [Message("user", _SAID), Message("assistant", _SAID)]
        try:
            encoded = self.encode(messages)
            last = encoded.input_ids[encoded.trained[-1][1] - 1]
            return last if last in self._control_ids else None
        except (RowProblem, InvalidInput):
            return self._mark_behind(messages)

    def _mark_behind(self, messages: Sequence[Message]) -> int | None:
        """The first control token in what stands behind the answer, whatever becomes of its words."""
        try:
            text = self.renderer.render(self.renderer.turns(messages), messages)
        except (RowProblem, InvalidInput):
            return None
        _, answer, behind = text.rpartition(_SAID)
        ids: list[int] = self._tokenizer.encode(behind, add_special_tokens=False).ids if answer else []
        return next((one for one in ids if one in self._control_ids), None)

    def text(self, ids: Sequence[int]) -> str:
        """The text of an answer's tokens."""
        found: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return found
