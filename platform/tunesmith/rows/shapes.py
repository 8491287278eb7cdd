"""Which columns of a file hold what is trained. Decided once, from its first rows and the columns that were asked for.

| shape | columns | training types |
|---|---|---|
| conversation | `messages`, `conversations` (ShareGPT), or `instruction`/`input`/`output` (alpaca) | sft |
| pair | a prompt, a response, perhaps a system column | sft |
| text | one column of text, trained whole | sft, pretrain |
| labelled | a text and its class | classification |

Knows names of columns; knows nothing of tokens.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

from tunesmith.errors import InvalidData
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.conversation import (
    CONVERSATION_COLUMNS,
    Message,
    columns_of,
    kind_of,
    pair,
    to_messages,
)
from tunesmith.rows.files.decoding import Row
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.labels import label_name
from tunesmith.rows.problems import EmptyText, bad_file
from tunesmith.spec.problems import did_you_mean
from tunesmith.spec.training import TrainSpec

_FIRST_ROWS = 20
_TEXT = ("text", "content", "sentence", "document")
_LABEL = ("label", "labels", "class", "category")
_COLUMNS = {
    "sft": ("text_column", "prompt_column", "response_column", "system_column"),
    "pretrain": ("text_column",),
    "classification": ("text_column", "label_column"),
}
"""The parameters that a training type heeds."""
_PAIRS = (
    ("prompt", "response"),
    ("prompt", "completion"),
    ("question", "answer"),
    ("question", "response"),
    ("input", "output"),
)


class Text(NamedTuple):
    """A text, with its class where it has one."""

    text: str
    label: str | None = None


Sample = list[Message] | Text
"""What a row holds: a conversation or a text."""


@dataclass(frozen=True)
class Shape:
    """Where in a row of one file the sample is."""

    kind: Literal["conversation", "pair", "text", "labelled"] = "conversation"
    text: str = ""
    prompt: str = ""
    response: str = ""
    system: str | None = None
    label: str = ""

    @property
    def is_chat(self) -> bool:
        """Whether the rows are conversations, which need a chat template."""
        return self.kind in ("conversation", "pair")

    def read(self, row: Row) -> Sample:
        """The sample in a row.

        Raises:
            RowProblem: The row cannot be trained on; says why and what to write instead.
        """
        if self.kind == "conversation":
            return to_messages(row)
        if self.kind == "pair":
            system = row.get(self.system) if self.system else None
            if system is not None and not isinstance(system, str):
                raise RowProblem(f"`{self.system}` is {kind_of(system)}, not a string.", "Write it as text.")
            return pair(_filled(row, self.prompt), _filled(row, self.response), system or "")
        text = _filled(row, self.text)
        return Text(text, label_name(row.get(self.label), self.label) if self.kind == "labelled" else None)


def shape_of(file: RowFile, spec: TrainSpec) -> Shape:
    """The shape of a file's rows under a spec.

    Raises:
        InvalidData: A column that was asked for is not there, or none fits the training type; names those there are.
    """
    rows = [row for _, row in islice(file.scan(), _FIRST_ROWS) if not isinstance(row, RowProblem)]
    found = list(dict.fromkeys(str(key) for row in rows for key in row))
    asked: dict[str, str | None] = {name: getattr(spec, name) for name in _COLUMNS[spec.training_type]}
    for parameter, name in asked.items():
        if name and rows and name not in found:
            raise _no_column(file, parameter, name, found)
    if spec.training_type == "classification":
        text = asked["text_column"] or _need(file, "text_column", _TEXT, found)
        label = asked["label_column"] or _need(file, "label_column", _LABEL, found)
        return Shape("labelled", text=text, label=label)
    if spec.training_type == "pretrain":
        if not asked["text_column"] and found and not set(_TEXT) & set(found):
            raise _no_text(file, found)
        return Shape("text", text=asked["text_column"] or _first(_TEXT, found) or _TEXT[0])
    if asked["text_column"]:
        return Shape("text", text=asked["text_column"])
    if asked["prompt_column"] or asked["response_column"]:
        prompt = asked["prompt_column"] or _need(file, "prompt_column", [p for p, _ in _PAIRS], found)
        response = asked["response_column"] or _need(file, "response_column", [r for _, r in _PAIRS], found)
        return Shape("pair", prompt=prompt, response=response, system=asked["system_column"] or None)
    if set(CONVERSATION_COLUMNS) & set(found):
        return Shape()
    for prompt, response in _PAIRS:
        if prompt in found and response in found:
            system = asked["system_column"] or ("system" if "system" in found else None)
            return Shape("pair", prompt=prompt, response=response, system=system)
    plain = _first(_TEXT[:1], found)
    return Shape("text", text=plain) if plain else Shape()


def _filled(row: Row, column: str) -> str:
    value: Any = row.get(column)
    if not isinstance(value, str):
        state = "is missing" if column not in row else f"is {kind_of(value)}, not a string"
        raise RowProblem(f"`{column}` {state}; the row has {columns_of(row)}.", "Write it as text.")
    if not value.strip():
        raise EmptyText(f"`{column}` is empty.", "Write the text or remove the row.")
    return value


def _first(names: Iterable[str], found: Sequence[str]) -> str | None:
    return next((name for name in names if name in found), None)


def _need(file: RowFile, parameter: str, names: Iterable[str], found: Sequence[str]) -> str:
    names = list(dict.fromkeys(names))
    name = _first(names, found)
    if name is None and found:
        expected = " or ".join(f"`{name}`" for name in names)
        raise bad_file(
            file.name,
            f"`{file.name}` has no column {expected}; it has {_listed(found)}.",
            f"Name the column with `{parameter}`.",
        )
    return name or names[0]


def _no_column(file: RowFile, parameter: str, name: str, found: Sequence[str]) -> InvalidData:
    meant = did_you_mean(name, found)
    return bad_file(
        file.name,
        f"`{parameter}`: `{file.name}` has no column `{name}`; it has {_listed(found)}.",
        f"Did you mean `{meant}`?" if meant else "Name one of them.",
    )


def _no_text(file: RowFile, found: Sequence[str]) -> InvalidData:
    is_chat = bool(set(CONVERSATION_COLUMNS) & set(found))
    return bad_file(
        file.name,
        f"Pre-training reads documents; `{file.name}` has no column of text, only {_listed(found)}.",
        "Train conversations with `training_type=sft`."
        if is_chat
        else "Name the column that holds the text with `text_column`.",
    )


def _listed(found: Sequence[str]) -> str:
    return columns_of(dict.fromkeys(found))
