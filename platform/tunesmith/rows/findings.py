"""What rows hold that is not trained, or not as it stands: counted while they are read, and said in one way.

A report, a preview, an estimate and a training feed the same census and say the same findings. A census can be added to
another, as several processes read one file. Knows rows, shapes and what became of them as tokens; knows no verdicts.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from tunesmith.dataset_views import Example, Finding
from tunesmith.row_problem import RowProblem
from tunesmith.rows.column_counts import NAMED, ColumnCounts, share_of
from tunesmith.rows.files.decoding import Row
from tunesmith.rows.labels import MAX_CLASSES, alike_classes, sort_classes
from tunesmith.rows.report.excerpts import beginning_of
from tunesmith.rows.shapes import Shape
from tunesmith.rows.tokens.encode_rows import batches, encode_batch
from tunesmith.rows.tokens.encoding import Encoded, RowEncoder

SHOWN = 3
"""Rows that are shown of one cause."""
FIRST_ROWS = 1000
"""Rows that are looked at where not all are read."""
_LEAST_RENDERED = 0.05
"""Of rows: fewer may speak of templates."""


class Census:
    """Counts what is not trained of the rows of one file."""

    def __init__(self) -> None:
        self._rows = self._encoded = 0
        self._columns = ColumnCounts()
        self._said: Counter[str] = Counter()
        """Rows that something is true of, by its code."""
        self._answers: Counter[str] = Counter()
        self._examples: dict[str, list[tuple[int, str]]] = {}
        self._kept = self._cut = 0
        self._classes: Counter[str] = Counter()
        self._templates: Counter[str] = Counter()
        """Rows that a template wrote already, by what it is called."""

    def take(self, number: int, row: Row, one: Encoded | None = None) -> None:
        """Count a row that can be trained on.

        Args:
            number: Its number in the file.
            row: The row.
            one: What it was encoded to; None where it was only read.
        """
        self._rows += 1
        self._columns.take(row)
        if one is not None:
            self.take_tokens(number, row, one)

    def take_class(self, name: str) -> None:
        """Count a row's class."""
        if name in self._classes or len(self._classes) <= MAX_CLASSES:
            self._classes[name] += 1

    def take_tokens(self, number: int, row: Row, one: Encoded) -> None:
        """Count what became of a row as tokens."""
        self._encoded += 1
        self._kept += len(one.input_ids)
        self._cut += one.cut
        if one.cut:
            self._note("rows_cut", number, row)
        if one.label is None and not one.is_supervised:
            self._note("rows_without_labels", number, row)
        if one.dropped:
            self._note("reasoning_dropped", number, row, one.dropped)
        if one.lost:
            self._note("answers_rewritten", number, row, one.lost)
        if one.not_offered:
            self._note("calls_not_offered", number, row, one.not_offered)
        if one.marks:
            self._note("marks_in_answers", number, row, one.marks)
        if one.rendered:
            self._note("rendered_already", number, row)
            self._templates[one.rendered] += 1

    def _note(self, code: str, number: int, row: Row, answers: int = 0) -> None:
        self._said[code] += 1
        self._answers[code] += answers
        shown = self._examples.setdefault(code, [])
        if len(shown) < SHOWN:
            shown.append((number, beginning_of(row)))

    def as_json(self) -> dict[str, Any]:
        """It, for another process or a file."""
        return {
            "rows": self._rows, "encoded": self._encoded, "kept": self._kept, "cut": self._cut,
            "said": dict(self._said), "answers": dict(self._answers), "examples": self._examples,
            "classes": dict(self._classes), "templates": dict(self._templates), "columns": self._columns.as_json(),
        }  # fmt: skip

    def add(self, other: Mapping[str, Any]) -> None:
        """Add what `as_json` said of further rows of the file."""
        self._rows += other["rows"]
        self._encoded += other["encoded"]
        self._kept += other["kept"]
        self._cut += other["cut"]
        for name, count in other["classes"].items():
            if name in self._classes or len(self._classes) <= MAX_CLASSES:
                self._classes[name] += count
        self._columns.add(other["columns"])
        for counter, name in (
            (self._said, "said"), (self._answers, "answers"), (self._templates, "templates"),
        ):  # fmt: skip
            counter.update(other[name])
        for code, shown in other["examples"].items():
            mine = self._examples.setdefault(code, [])
            mine += [(number, excerpt) for number, excerpt in shown[: SHOWN - len(mine)]]

    def findings(
        self, shape: Shape, place: Callable[[int], str], max_length: int | None, training_type: str = "sft"
    ) -> list[Finding]:
        """What is to be said of the rows, the most serious first.

        Args:
            shape: What the file's rows hold.
            place: Where the row with a number is.
            max_length: Tokens that rows are cut to; None where none is cut.
            training_type: What is trained.
        """
        return [
            *self._of_classes(),
            *self._of_rendered(shape, place, training_type),
            *self._of_answers(place),
            *self._of_tokens(shape, place, max_length, training_type),
            *self._columns.findings(shape, training_type),
        ]

    def _finding(self, code: str, message: str, hint: str, place: Callable[[int], str]) -> Finding:
        shown = [Example(place=place(number), excerpt=excerpt) for number, excerpt in self._examples[code]]
        return Finding(
            code=code, message=message, hint=hint, count=self._said[code], rows=self._encoded, examples=shown
        )

    def _of_classes(self) -> Iterable[Finding]:
        if pairs := alike_classes(sort_classes(self._classes)):
            named = "; ".join(f"`{one[:40]}` and `{other[:40]}`" for one, other in pairs[:NAMED])
            yield Finding(
                code="classes_alike",
                message=f"Classes differ in case, width or blanks alone, and are trained as different ones: {named}.",
                hint="Write each in one way, where the same is meant.",
                count=sum(self._classes[other] for _, other in pairs),
                rows=self._rows,
            )

    def _of_rendered(
        self, shape: Shape, place: Callable[[int], str], training_type: str
    ) -> Iterable[Finding]:
        count = self._said["rendered_already"]
        if training_type != "sft" or not count or count < self._encoded * _LEAST_RENDERED:
            return
        named = ", ".join(name for name, _ in self._templates.most_common(NAMED))
        if shape.is_chat:
            yield self._finding(
                "rendered_already",
                f"The questions in {self._of(count)} end with another template's marks ({named}): the model's own "
                "template writes its marks around them, which no user's question will have.",
                "Give the question alone, and the model's template does the rest.",
                place,
            )
        else:
            yield self._finding(
                "rendered_already",
                f"{self._of(count)} hold dialogues that a template wrote into the text ({named}): the questions in "
                "them are trained as the answers are.",
                "Give each dialogue as `messages`, with the `role` and `content` of each turn: then answers alone are "
                "trained.",
                place,
            )

    def _of_answers(self, place: Callable[[int], str]) -> Iterable[Finding]:
        if count := self._said["reasoning_dropped"]:
            yield self._finding(
                "reasoning_dropped",
                "The chat template leaves out the reasoning of "
                f"{_many(self._answers['reasoning_dropped'], 'answer')}, in {self._of(count)}: what stands before "
                "`</think>`, or in `reasoning_content`, is not trained there.",
                "Many templates keep the reasoning of a conversation's last answer alone: give each answer a row of "
                "its own, its history before it. Or choose a `chat_template` that writes it.",
                place,
            )
        if count := self._said["answers_rewritten"]:
            yield self._finding(
                "answers_rewritten",
                f"The chat template leaves out or rewrites {_many(self._answers['answers_rewritten'], 'answer')}, in "
                f"{self._of(count)}: they are not trained as they stand.",
                "Look at one with `tunesmith data preview`; another `chat_template` may write them as they are.",
                place,
            )

        if count := self._said["marks_in_answers"]:
            yield self._finding(
                "marks_in_answers",
                f"{_many(self._answers['marks_in_answers'], 'answer')}, in {self._of(count)}, hold text that looks "
                "like the model's control tokens: it is trained as plain text, letter by letter.",
                "The template writes the marks. Remove those that another rendering left in the answers.",
                place,
            )
        if count := self._said["calls_not_offered"]:
            yield self._finding(
                "calls_not_offered",
                f"{_many(self._answers['calls_not_offered'], 'answer')}, in {self._of(count)}, "
                "call tools that the row offers nowhere, neither in `tools` nor in what was said before: calling what "
                "was never shown is trained.",
                "Write the tools that are called into the row's `tools`, or leave such rows out.",
                place,
            )

    def _of_tokens(
        self, shape: Shape, place: Callable[[int], str], max_length: int | None, training_type: str
    ) -> Iterable[Finding]:
        if count := self._said["rows_without_labels"]:
            yield self._finding(
                "rows_without_labels",
                f"{self._of(count)} are left out: within {max_length} tokens they have nothing to train.",
                "Raise `max_length` to keep them.",
                place,
            )
        if count := self._said["rows_cut"]:
            share = 100 * self._cut / max(1, self._kept + self._cut)
            hint = "Raise `max_length` to keep them whole."
            if shape.kind == "text" and training_type == "sft":
                hint = " ".join(("`training_type=pretrain` reads long texts whole, block by block.", hint))
            yield self._finding(
                "rows_cut",
                f"{self._of(count)} are longer than {max_length} tokens and are cut: {share_of(share)} of all tokens "
                "are never seen.",
                hint,
                place,
            )

    def _of(self, count: int) -> str:
        return f"{count} of {_many(self._encoded, 'row')}"


def look_at(
    rows: Iterable[tuple[int, Row | RowProblem]], encoder: RowEncoder, shape: Shape, most: int = FIRST_ROWS
) -> Census:
    """The census of a file's first rows, for those who do not read all of it.

    Args:
        rows: The rows with their numbers.
        encoder: Turns what they hold into tokens.
        shape: Where in a row its sample is.
        most: Rows that are looked at.
    """
    census = Census()
    for batch in batches(islice(rows, most)):
        for (number, row), one in zip(batch, encode_batch(batch, encoder, shape), strict=True):
            if not isinstance(one, RowProblem) and not isinstance(row, RowProblem):
                census.take(number, row, one)
                if one.label is not None:
                    census.take_class(one.label)
    return census


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
