"""The sample in an entry of a sample file: its turns, the answer that is expected, what its answers are checked for.

Rows mean what they mean to a training (`tunesmith.rows.shapes`), as a whole file's first rows say. Knows rows and
their columns; knows nothing of files.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from tunesmith.errors import InvalidData, InvalidInput
from tunesmith.evaluation.results import Sample, Turn
from tunesmith.evaluation.sample_file import Entry
from tunesmith.evaluation.scores.checks import MOST_CHECKS, parse_check
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.content_parts import kind_of
from tunesmith.rows.chat.conversation import CONVERSATION_COLUMNS, columns_of
from tunesmith.rows.chat.turns import Message, tools_of
from tunesmith.rows.columns import LABELS, PAIRS, TEXTS, is_filled, named, plain_name
from tunesmith.rows.files.decoding import Row
from tunesmith.rows.json_text import unpacked
from tunesmith.rows.labels import label_name
from tunesmith.rows.problems import BadAnswer, EmptyText, bad_file
from tunesmith.rows.shapes import Shape, shape_of
from tunesmith.rows.shapes import Text as Labelled
from tunesmith.spec.training import TrainSpec

MAX_KEYWORDS = 100
"""Of one sample."""
MAX_WORD = 500
"""Letters of a keyword, a check, a name."""
_FIRST_ROWS = 100
_OWN = ("keywords", "checks", "id")
"""What stands in a row for the evaluation alone."""
_NAME = re.compile(r"[A-Za-z][\w.-]{0,99}")
"""What a custom scorer may be called."""
_PROMPTS = frozenset(prompt for prompt, _ in PAIRS)


def content_id(
    turns: Sequence[Turn],
    reference: str,
    *,
    keywords: Sequence[str] | None = None,
    checks: Sequence[str] = (),
    label: str | None = None,
) -> str:
    """The id of a sample: 16 hexadecimal digits of the SHA-256 of what is asked, expected and checked.

    Nothing else is in it: a sample that is moved, or named otherwise, has the answers that it had.
    """
    content = {
        "turns": [[turn.role, turn.content] for turn in turns],
        "reference": reference,
        "keywords": None if keywords is None else list(keywords),
        "checks": list(checks),
        "label": label,
    }
    raw = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(raw.encode()).hexdigest()[:16]


class _Entries:
    """Rows of one kind among entries, for what finds their columns."""

    def __init__(self, name: str, rows: Sequence[Row]) -> None:
        self.name, self.rows = name, rows

    def scan(self) -> Iterator[tuple[int, Row | RowProblem]]:
        """Every row."""
        yield from enumerate(self.rows, 1)


class _Extras(NamedTuple):
    """What a row says for the evaluation alone."""

    keywords: tuple[str, ...] | None
    checks: tuple[str, ...]
    name: str | None


class SampleReader:
    """Reads entries as samples; which columns hold what is decided once.

    A file may hold pairs and conversations side by side: each of the two kinds has columns of its own.
    """

    def __init__(
        self,
        name: str,
        entries: Sequence[Entry],
        columns: dict[str, str],
        scorers: Collection[str] | None = None,
    ) -> None:
        self._is_named = bool(columns)
        self._scorers = scorers
        self.perhaps_scorers: set[str] = set()
        """Checks of which only the custom scorers' names could say whether they are any."""
        groups: dict[bool, list[Row]] = {}
        for entry in entries:
            if not isinstance(entry.row, RowProblem):
                row, is_talk = self._plain(entry.row)
                groups.setdefault(is_talk, []).append(row)
        self._shapes = {is_talk: _shape_of(_Entries(name, rows), columns) for is_talk, rows in groups.items()}

    def rest(self, row: Row) -> Row:
        """The columns of a row that say nothing to an evaluation."""
        plain, is_talk = self._plain(row)
        shape, label = self._shapes[is_talk]
        read = set(shape.meaning(plain)) | {label}
        return {key: value for key, value in plain.items() if key not in read and is_filled(value)}

    def _examine(self, check: str) -> None:
        try:
            parse_check(check, self._scorers or ())
        except InvalidInput as error:
            if self._scorers is not None or not _NAME.fullmatch(check):
                raise RowProblem(error.message, error.hint) from None
            self.perhaps_scorers.add(check)

    def _plain(self, row: Row) -> tuple[Row, bool]:
        """A row without what is the evaluation's own, and whether a conversation is read from it."""
        row = {key: value for key, value in row.items() if key not in _OWN}
        talks = [key for key in row if plain_name(key) in CONVERSATION_COLUMNS]
        if self._is_named or not talks:
            return row, False
        if any(is_filled(row[key]) for key in talks) or not any(
            plain_name(key) in _PROMPTS and is_filled(value) for key, value in row.items()
        ):
            return row, True
        return {key: value for key, value in row.items() if key not in talks}, False

    def read(self, entry: Entry) -> Sample:
        """The sample in an entry.

        Raises:
            RowProblem: It cannot be asked and scored.
        """
        if isinstance(entry.row, RowProblem):
            raise entry.row
        extras = _extras_of(entry.row)
        for check in extras.checks:
            self._examine(check)
        row, is_talk = self._plain(entry.row)
        shape, label_column = self._shapes[is_talk]
        try:
            found = shape.read(row)
        except BadAnswer as problem:
            raise RowProblem(
                problem.message.partition(":")[0] + ": it is nothing to expect.",
                "Keep the good answers alone: `tunesmith data run filter`.",
            ) from None
        label = None
        if isinstance(found, Labelled):
            assert found.label is not None
            turns, reference, label = [Turn(role="user", content=found.text)], found.label, found.label
        else:
            turns, reference = _asked(found)
            value = row.get(label_column) if label_column else None
            if is_filled(value):
                label = label_name(value, label_column)
        return Sample(
            id=content_id(turns, reference, keywords=extras.keywords, checks=extras.checks, label=label),
            split=entry.split,
            row=entry.number,
            turns=tuple(turns),
            reference=reference,
            keywords=extras.keywords,
            checks=extras.checks,
            label=label,
            name=extras.name,
        )


def _shape_of(rows: _Entries, columns: dict[str, str]) -> tuple[Shape, str]:
    """Where samples are in the rows, and the column of their classes beside an answer.

    Raises:
        InvalidData: No columns hold a question and its answer.
    """
    first = rows.rows[:_FIRST_ROWS]
    found = list(dict.fromkeys(str(key) for row in first for key in row))
    spec = TrainSpec.read({"model_name_or_path": "-", "train_file": "-", **columns})
    shape = shape_of(rows, spec)
    text, label = named(TEXTS, found), named(LABELS, found)
    is_empty = not shape.talks and not shape.response and shape.form is None
    if shape.kind == "text" or (shape.kind == "conversation" and is_empty):
        if text and label and not columns:
            return Shape("labelled", text=text, label=label), ""
        if found and not shape.is_preference and not _holds_talk(found):
            raise _no_answers(rows.name, found)
    own = named(("label",), found) or ""
    if own and shape.verdict == own and _names_answers(shape, own, first):
        shape = replace(shape, verdict="")
    return shape, "" if shape.verdict == own else own


def _holds_talk(found: Sequence[str]) -> bool:
    return any(plain_name(name) in CONVERSATION_COLUMNS for name in found)


def _no_answers(name: str, found: Sequence[str]) -> InvalidData:
    prompt = named([prompt for prompt, _ in PAIRS], found)
    listed = columns_of(dict.fromkeys(found))
    if prompt is None:
        return bad_file(
            name,
            f"`{name}` holds no question with its answer: it has {listed}.",
            "Name the columns with `prompt_column` and `response_column`.",
        )
    return bad_file(
        name,
        f"`{name}` asks with `{prompt}` and expects no answer: it has {listed}.",
        "Write the expected answer as `completion`, or name its column with `response_column`.",
    )


def _names_answers(shape: Shape, label: str, rows: Sequence[Row]) -> bool:
    """Whether what looks like a verdict is the class that an answer names: `good` of a review, not of the row."""
    unjudged = replace(shape, verdict="")
    for row in rows:
        value = row.get(label)
        if isinstance(value, bool) or not is_filled(value):
            continue
        try:
            _, reference = _asked(unjudged.read(row))  # type: ignore[arg-type]  # a chat's shape
        except (RowProblem, TypeError):
            continue
        if plain_name(str(value)) in plain_name(reference):
            return True
    return False


def _asked(messages: Sequence[Message]) -> tuple[list[Turn], str]:
    """What a conversation asks, and the answer that it expects: the last one that is learned."""
    last = max(
        number for number, message in enumerate(messages) if message.role == "assistant" and message.weight
    )
    answer, asked = messages[last], messages[:last]
    if tools_of(messages) or answer.calls or any(one.role == "tool" or one.calls for one in asked):
        raise RowProblem(
            "Tools are offered or called in it: an evaluation asks in words alone.",
            "Leave such conversations out.",
        )
    if not asked or asked[-1].role != "user":
        raise RowProblem(
            "No question stands before the last answer.", "Write the user's turn that it answers."
        )
    if not asked[-1].content.strip():
        raise EmptyText("The question is empty.", "Write it, or remove the sample.")
    if not answer.content.strip():
        raise EmptyText("The expected answer is empty.", "Write it, or remove the sample.")
    turns = [Turn.model_validate({"role": one.role, "content": one.content}) for one in asked]
    return turns, answer.content


def _extras_of(row: Row) -> _Extras:
    keywords = _words(row, "keywords", MAX_KEYWORDS)
    name = row.get("id")
    if name is not None and (isinstance(name, bool) or not isinstance(name, str | int | float)):
        raise RowProblem(f"`id` is {kind_of(name)}.", "Write it as text or a number, or leave it out.")
    shown = None if name is None else str(name).strip()[:MAX_WORD]
    return _Extras(keywords, _words(row, "checks", MOST_CHECKS) or (), shown or None)


def _words(row: Row, column: str, most: int) -> tuple[str, ...] | None:
    """A list of words: one text is a list of one, as is JSON in a table's cell."""
    value: Any = unpacked(row.get(column))
    if value is None or value == "":
        return None
    words = [value] if isinstance(value, str) else value
    accepted = f'Write `"{column}": ["...", "..."]`, or leave it out.'
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise RowProblem(f"`{column}` is {kind_of(value)}, not a list of texts.", accepted)
    kept = [word.strip() for word in words]
    if not all(kept):
        raise RowProblem(f"`{column}` holds an empty text.", accepted)
    if len(kept) > most or any(len(word) > MAX_WORD for word in kept):
        raise RowProblem(
            f"`{column}` holds more than {most} texts, or one of more than {MAX_WORD} letters.",
            accepted,
        )
    return tuple(dict.fromkeys(kept))
