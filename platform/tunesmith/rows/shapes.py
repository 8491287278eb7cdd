"""Which columns of a file hold what is trained. Decided once, from its first rows and the columns that were asked for.

| shape | columns | training types |
|---|---|---|
| conversation | `messages`, `conversations` (ShareGPT), `instruction`/`output` (alpaca), another tool's form | sft |
| pair | a prompt, a response, perhaps a system column | sft |
| text | one column of text, trained whole | sft, pretrain |
| labelled | a text and its class | classification |

Knows names of columns; knows nothing of tokens.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal, NamedTuple, Protocol

from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.content_parts import kind_of
from tunesmith.rows.chat.conversation import (
    CONVERSATION_COLUMNS,
    TURNS_COLUMNS,
    answered,
    last_text,
    only_read,
    preference,
    system_of,
    to_messages,
    with_history,
)
from tunesmith.rows.chat.tool_calls import calls_in, is_calls, tools_in
from tunesmith.rows.chat.turns import Message, is_turns, turns_of
from tunesmith.rows.columns import (
    ANSWERS,
    INPUTS,
    LABELS,
    MEDIA,
    MORE,
    PAIRS,
    SYSTEMS,
    TEXTS,
    TOOLS,
    is_filled,
    named,
    plain_name,
    says_nothing,
)
from tunesmith.rows.files.decoding import Row
from tunesmith.rows.forms.form import Form
from tunesmith.rows.forms.found import form_of
from tunesmith.rows.forms.turn_forms import form_of_turns
from tunesmith.rows.json_text import unpacked
from tunesmith.rows.labels import label_name
from tunesmith.rows.shape_problems import (
    bad_answer,
    filled,
    need,
    no_column,
    no_text,
    not_text,
    refuse_single_turns,
)
from tunesmith.rows.verdicts import judged, verdict_column
from tunesmith.spec.training import TrainSpec

_FIRST_ROWS = 100
_COLUMNS = {
    "sft": ("text_column", "prompt_column", "response_column", "system_column"),
    "pretrain": ("text_column",),
    "classification": ("text_column", "label_column"),
}
"""The parameters that a training type heeds."""


class Rows(Protocol):
    """Rows under a name: a file (`RowFile`), or a part of one."""

    name: str

    def scan(self) -> Iterator[tuple[int, Row | RowProblem]]:
        """Every row with its number; a bad one as its problem."""
        ...


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
    more: str = ""
    """A column that belongs to the prompt, behind it."""
    response: str = ""
    system: str | None = None
    label: str = ""
    tools: str = ""
    history: str = ""
    verdict: str = ""
    """The column that says whether the answer is a good one."""
    names: tuple[tuple[str, str], ...] = ()
    """Columns of a conversation that are called otherwise here, each with the name that it is read by."""
    talks: tuple[str, ...] = ()
    """The columns that conversations are read from, by the names that they are read by: rows may differ."""
    media: tuple[str, ...] = ()
    """Columns of pictures, sound or films that answers are about."""
    form: Form | None = None
    """How another tool writes conversations, where rows are written so."""
    written_as: tuple[str, ...] = ()
    """What the ways are called in which the conversations of the first rows are written."""
    is_preference: bool = False
    """Whether rows hold a chosen and a rejected answer, and none that is to be trained."""

    @property
    def is_chat(self) -> bool:
        """Whether the rows are conversations, which need a chat template."""
        return self.kind in ("conversation", "pair")

    def read(self, row: Row) -> Sample:
        """The sample in a row.

        Raises:
            RowProblem: The row cannot be trained on; says why and what to write instead.
            BadAnswer: The row says itself that its answer is a bad one.
        """
        if self.verdict and judged(self.verdict, row.get(self.verdict)) is False:
            raise bad_answer(self.verdict)
        for name in self.media:
            if is_filled(row.get(name)):
                raise not_text(name)
        if self.is_preference:
            raise preference(self.prompt or "the last question")
        if self.kind == "conversation":
            return self._conversation(row)
        if self.kind == "pair":
            return self._pair(row)
        text = filled(row, self.text)
        return Text(text, label_name(row.get(self.label), self.label) if self.kind == "labelled" else None)

    def _conversation(self, row: Row) -> list[Message]:
        if self.form is not None and self.form.holds(row):
            return self.form.read(row)
        for actual, canonical in self.names:
            if actual in row and canonical not in row:
                row = {**row, canonical: row[actual]}
        if not self.response:
            return to_messages(row)
        # The answer lies in a column of its own, as in preference data.
        name = next((name for name in CONVERSATION_COLUMNS if name in row), self.prompt)
        given = unpacked(row.get(self.response))
        if name == "instruction":
            return to_messages({**row, "output": given if isinstance(given, str) else last_text(given)})
        if isinstance(given, str) and name not in row:
            raise RowProblem(
                f"`{self.response}` is a text, and no column holds the question that it answers.",
                "Write the question as `prompt`, or the whole conversation as a list of turns.",
            )
        answer = turns_of(given if isinstance(given, list) else [given], self.response)
        rest = turns_of(row[name], name) if name in row and answer[0].role == "assistant" else []
        tools = tools_in(row.get(self.tools), self.tools) if self.tools else ""
        return answered([*only_read(rest), *answer], tools)

    def _pair(self, row: Row) -> list[Message]:
        system = system_of(row.get(self.system), self.system) if self.system else ""
        tools = tools_in(row.get(self.tools), self.tools) if self.tools else ""
        question, answer = unpacked(row.get(self.prompt)), unpacked(row.get(self.response))
        if isinstance(row.get(self.response), dict):
            answer = [answer]
        if is_turns(answer) or is_turns(question):
            messages = self._of_turns(row, question, answer)
        elif self.tools and is_calls(answer):
            messages = [
                Message("user", self._question(row)),
                Message("assistant", "", calls=calls_in(answer, self.response)),
            ]
        else:
            messages = [
                Message("user", self._question(row)),
                Message("assistant", filled(row, self.response)),
            ]
        if system and messages[0].role != "system":
            messages.insert(0, Message("system", system))
        if self.history:
            messages = with_history(messages, row.get(self.history), self.history)
        return answered(messages, tools) if tools else messages

    def _question(self, row: Row) -> str:
        text = filled(row, self.prompt)
        more = row.get(self.more) if self.more else None
        if not is_filled(more):
            return text
        if not isinstance(more, str):
            raise RowProblem(
                f"`{self.more}` belongs to the question, and is {kind_of(more)}, not a string.",
                "Write it as text, or leave that column out (`select`).",
            )
        return text if says_nothing(more) else f"{text}\n{more}"

    def _of_turns(self, row: Row, question: Any, answer: Any) -> list[Message]:
        """The conversation of a prompt and a response of which one is a list of turns."""
        turns = turns_of(answer, self.response) if is_turns(answer) else []
        if turns and turns[0].role != "assistant":
            return answered(turns)  # the whole conversation
        # What is asked, earlier answers in it too, is read; the answer is learned.
        if is_turns(question):
            asked = only_read(turns_of(question, self.prompt))
        else:
            asked = [Message("user", self._question(row))]
        return answered([*asked, *(turns or [Message("assistant", filled(row, self.response))])])

    def meaning(self, found: Iterable[str]) -> dict[str, str]:
        """What columns become, by their names; those that nobody reads are not in it.

        Args:
            found: The names that a file has.
        """
        found = list(found)
        means: dict[str, str] = {}
        if self.kind == "conversation":
            renamed = dict(self.names)
            as_read = {renamed.get(name, name): name for name in reversed(found)}
            own: dict[str, str] = {}
            for talk in self.talks or [name for name in CONVERSATION_COLUMNS if name in as_read][:1]:
                own |= _INSTRUCTION if talk == "instruction" else {talk: "turns"} | _BESIDE
            means = {as_read[name]: meaning for name, meaning in own.items() if name in as_read}
            means.pop(self.response, None)
            means |= self.form.meaning if self.form is not None else {}
        means |= {
            column: meaning
            for column, meaning in (
                (self.prompt if self.kind == "pair" else "", "user"),
                (self.more, "user"),
                (self.response, "assistant"),
                (self.system, "system"),
                (self.text, "text"),
                (self.label, "class"),
                (self.tools, "tools"),
                (self.history, "earlier rounds"),
                (self.verdict, "whether the answer is good"),
            )
            if column and column in found
        }
        return {name: means[name] for name in found if name in means}


_BESIDE = {"system": "system"} | dict.fromkeys(TOOLS, "tools")
_INSTRUCTION = {
    "system": "system",
    "instruction": "user",
    "input": "user",
    "output": "assistant",
    "history": "earlier rounds",
}
_CHOSEN, _REJECTED = ("chosen", "rejected")


def shape_of(file: Rows, spec: TrainSpec) -> Shape:
    """The shape of a file's rows under a spec.

    Raises:
        InvalidData: A column that was asked for is not there, or none fits the training type; names those there are.
    """
    rows = [row for _, row in islice(file.scan(), _FIRST_ROWS) if not isinstance(row, RowProblem)]
    found = list(dict.fromkeys(str(key) for row in rows for key in row))
    asked: dict[str, str | None] = {name: getattr(spec, name) for name in _COLUMNS[spec.training_type]}
    for parameter, name in asked.items():
        if name and rows and name not in found:
            raise no_column(file.name, parameter, name, found)
    if spec.training_type == "classification":
        text = asked["text_column"] or need(file.name, "text_column", TEXTS, found)
        label = asked["label_column"] or need(file.name, "label_column", LABELS, found)
        return Shape("labelled", text=text, label=label)
    if spec.training_type == "pretrain":
        if not asked["text_column"] and found and named(TEXTS, found) is None:
            raise no_text(file.name, found)
        return Shape("text", text=asked["text_column"] or named(TEXTS, found) or TEXTS[0])
    if asked["text_column"]:
        return Shape("text", text=asked["text_column"])
    # Tables put together have the columns of all of them: turns that no row holds are no conversation.
    usable = [name for name in found if any(_may_hold(name, row) for row in rows if name in row)]
    shape = _chat_shape(file, usable if usable and not asked["response_column"] else found, asked)
    if shape.kind == "conversation" and not shape.is_preference and not shape.response:
        # Tables put together: rows of our own columns beside those of another form.
        shape = replace(shape, form=form_of([row for row in rows if not _is_talk(row)], found))
    if shape.kind == "text" or (shape.kind == "conversation" and not any(map(_is_talk, rows))):
        refuse_single_turns(file.name, rows, found)
    if not shape.is_chat:
        return shape
    shape = replace(shape, media=tuple(name for name in found if plain_name(name) in MEDIA))
    if shape.kind == "conversation":
        renamed = dict(shape.names)
        own = [{renamed.get(name, name) for name in row if _may_hold(name, row)} for row in rows]
        read = (next((name for name in CONVERSATION_COLUMNS if name in names), "") for names in own)
        shape = replace(shape, talks=tuple(name for name in dict.fromkeys(read) if name))
        shape = replace(shape, written_as=_written_as(shape, rows))
        if not shape.talks and not shape.response and shape.form is None:
            return shape  # nothing in it is an answer that could be judged
    return replace(shape, verdict=verdict_column(rows, shape.meaning(found)) or "")


def _is_talk(row: Row) -> bool:
    return any(plain_name(name) in CONVERSATION_COLUMNS and is_filled(row[name]) for name in row)


def _written_as(shape: Shape, rows: Iterable[Row]) -> tuple[str, ...]:
    """What the ways are called in which conversations are written."""
    renamed = {canonical: actual for actual, canonical in shape.names}
    found = [shape.form.name] if shape.form is not None else []
    for talk in shape.talks:
        column = renamed.get(talk, talk)
        if talk == "instruction":
            found.append("Alpaca")
        else:
            found += [form_of_turns(row[column]) for row in rows if is_filled(row.get(column))]
    return tuple(name for name in dict.fromkeys(found) if name)


def _may_hold(name: str, row: Row) -> bool:
    """Whether a conversation may be in a column of a row."""
    return plain_name(name) not in TURNS_COLUMNS or is_filled(row[name])


def _chat_shape(file: Rows, found: list[str], asked: dict[str, str | None]) -> Shape:
    system = asked["system_column"] or named(SYSTEMS, found)
    talk = named(CONVERSATION_COLUMNS, found)
    chosen, rejected = named((_CHOSEN,), found), named((_REJECTED,), found)
    tools = named(TOOLS, found) or ""
    history = named(("history",), found) or ""
    if (
        asked["response_column"]
        and not asked["prompt_column"]
        and asked["response_column"] in (chosen, rejected)
    ):
        prompt = None if talk else named([prompt for prompt, _ in PAIRS], found)
        if prompt is None:
            names = _renamed(found, talk, [], asked["system_column"])
            return Shape(prompt=talk or "", response=asked["response_column"], tools=tools, names=names)
    if asked["prompt_column"] or asked["response_column"]:
        prompt = asked["prompt_column"] or need(file.name, "prompt_column", [p for p, _ in PAIRS], found)
        response = asked["response_column"] or need(
            file.name, "response_column", [r for _, r in PAIRS], found
        )
        system = asked["system_column"] or None
        return Shape("pair", prompt=prompt, response=response, system=system, tools=tools, history=history)
    if talk is not None:
        answers = [named(ANSWERS, found)] if plain_name(talk) == "instruction" else []
        has_answer = plain_name(talk) != "instruction" or answers != [None]
        is_preference = bool(chosen and rejected and (plain_name(talk) != "instruction" or not has_answer))
        return Shape(
            prompt=talk if is_preference else "",
            names=_renamed(found, talk, answers, asked["system_column"]),
            is_preference=is_preference,
        )
    for asks, answers_to in PAIRS:
        question, answer = named((asks,), found), named((answers_to,), found)
        if question and answer and question != answer:
            more = named(MORE.get(plain_name(question), ()), found)
            return Shape(
                "pair",
                prompt=question,
                more=more or "",
                response=answer,
                system=system,
                tools=tools,
                history=history,
            )
    if chosen and rejected:
        return Shape(prompt=named([prompt for prompt, _ in PAIRS], found) or "", is_preference=True)
    plain = named(TEXTS[:1], found)
    return Shape("text", text=plain) if plain else Shape()


def _renamed(
    found: list[str], talk: str | None, answers: list[str | None], system: str | None
) -> tuple[tuple[str, str], ...]:
    """Columns of a conversation under other names than it is read by."""
    wanted: dict[str, tuple[str, ...]] = {name: (name,) for name in CONVERSATION_COLUMNS}
    wanted |= {"system": (system,) if system else SYSTEMS, "tools": TOOLS}
    if talk is not None and plain_name(talk) == "instruction":
        wanted |= {
            "output": tuple(name for name in answers if name) or ("output",),
            "input": INPUTS,
            "history": ("history",),
        }
    pairs = ((named(names, found), canonical) for canonical, names in wanted.items())
    return tuple((actual, canonical) for actual, canonical in pairs if actual and actual != canonical)
