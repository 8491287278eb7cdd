"""Reads a data file once with bounded memory, and counts what a report tells of it. Knows no tokens and no verdicts."""

import re
import time
from collections import Counter
from itertools import islice
from pathlib import Path

from tunesmith.dataset_views import BadRow, Count, DataReport, Finding, Overlap, Verdict
from tunesmith.row_problem import RowProblem
from tunesmith.rows.bad_rows import Causes
from tunesmith.rows.chat.turns import Message, tools_of
from tunesmith.rows.files.decoding import Row
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.findings import Census
from tunesmith.rows.labels import MAX_CLASSES
from tunesmith.rows.problems import EmptyText
from tunesmith.rows.report.excerpts import beginning_of, count_letters
from tunesmith.rows.shapes import Sample, Shape, Text, shape_of
from tunesmith.spec.training import TrainSpec

MAX_BAD = 50
MAX_HASHES = 4_000_000
"""Rows that are told apart; 80 bytes each."""
PLACES = 10
"""Places that are listed of a kind."""
_LOOKED_AT = 2000
"""Rows whose letters are all looked at; of those behind them, one in fifty."""
_LETTERS = 1000
_NAMES = 30
_CLOCK_EVERY = 512
_PLACEHOLDER = re.compile(r"\{\{ ?[a-z_]{1,30} ?\}\}")


class Clock:
    """How long a report may take."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    @property
    def is_over(self) -> bool:
        """Whether time has run out."""
        return self._end is not None and time.monotonic() > self._end


class FileReader:
    """Reads a file once, and counts."""

    def __init__(
        self,
        path: str | Path,
        spec: TrainSpec,
        clock: Clock,
        *,
        keeps_questions: bool = False,
        against: "FileReader | None" = None,
    ) -> None:
        self.file = RowFile(path)
        self.shape: Shape = shape_of(self.file, spec)
        self.clock = clock
        self.is_complete = True
        self.rows = self.bad = 0
        self.seen: set[int] = set()
        self.questions: set[int] = set()
        self._keeps_questions, self._against = keeps_questions, against
        self._listed: list[BadRow] = []
        self._causes = Causes()
        self.census = Census()
        self._training_type = spec.training_type
        self._empty = self._duplicates = 0
        self._duplicate_places: list[str] = []
        self._roles: Counter[str] = Counter()
        self._turns: Counter[int] = Counter()
        self._classes: Counter[str] = Counter()
        self._letters: Counter[str] = Counter()
        self._columns: dict[str, None] = {}
        self._placeholder = ""
        self._found: dict[int, str] = {}
        self._asked: dict[int, str] = {}

    def read(self) -> None:
        """Read the whole file, or as far as time goes."""
        read = self.shape.read
        for number, row in self.file.scan():
            self.rows += 1
            if self.rows % _CLOCK_EVERY == 0 and self.clock.is_over:
                self.is_complete = False
                return
            try:
                if isinstance(row, RowProblem):
                    raise row
                if self.rows <= PLACES:
                    self._columns.update(dict.fromkeys(islice(map(str, row), _NAMES)))
                sample = read(row)
            except RowProblem as problem:
                self.note(number, problem, row)
            else:
                self._count(number, sample)
                self.census.take(number, row)
                if isinstance(sample, Text) and sample.label is not None:
                    self.census.take_class(sample.label)

    def note(self, number: int, problem: RowProblem, row: Row | RowProblem) -> None:
        """Enter a bad row."""
        self.bad += 1
        self._empty += isinstance(problem, EmptyText)
        self._causes.note(self.file.place(number), problem, row)
        if len(self._listed) < MAX_BAD:
            excerpt = problem.excerpt if isinstance(row, RowProblem) else beginning_of(row)
            self._listed.append(
                BadRow(
                    place=self.file.place(number),
                    message=problem.message,
                    hint=problem.hint,
                    excerpt=excerpt,
                )
            )

    def _count(self, number: int, sample: Sample) -> None:
        whole, question = self._count_text(sample) if isinstance(sample, Text) else self._count_turns(sample)
        if whole in self.seen:
            self._duplicates += 1
            if len(self._duplicate_places) < PLACES:
                self._duplicate_places.append(self.file.place(number))
        elif len(self.seen) < MAX_HASHES:
            self.seen.add(whole)
        if self._keeps_questions and question is not None and len(self.questions) < MAX_HASHES:
            self.questions.add(question)
        if self._against is not None:
            self._compare(number, whole, question)
        if self.rows <= _LOOKED_AT or self.rows % 50 == 0:
            self._look_at_letters(number, sample)

    def _count_text(self, sample: Text) -> tuple[int, int | None]:
        """The hash of a text, and that of what is asked of it: where it has a class, the text alone."""
        if sample.label is None:
            return hash(sample), None
        if sample.label in self._classes or len(self._classes) < MAX_CLASSES:
            self._classes[sample.label] += 1
        return hash(sample), hash(sample.text)

    def _count_turns(self, sample: list[Message]) -> tuple[int, int | None]:
        """The hash of a conversation, and that of what stands before its last answer."""
        self._turns[len(sample)] += 1
        for message in sample:
            self._roles[message.role] += 1
        question = None
        if self._keeps_questions or (self._against is not None and self._against.questions):
            question = hash(tuple(sample[: _last_answer(sample)]))
        return hash((tuple(sample), tools_of(sample))), question

    def _look_at_letters(self, number: int, sample: Sample) -> None:
        for text in [sample.text] if isinstance(sample, Text) else [turn.content for turn in sample]:
            count_letters(text[:_LETTERS], self._letters)
            if not self._placeholder and (found := _PLACEHOLDER.search(text, 0, _LETTERS)):
                self._placeholder = f"`{found.group()}` ({self.file.place(number)})"

    def _compare(self, number: int, whole: int, question: int | None) -> None:
        assert self._against is not None
        if whole in self._against.seen:
            self._found.setdefault(whole, self.file.place(number))
        elif question is not None and question in self._against.questions:
            self._asked.setdefault(question, self.file.place(number))

    def overlap(self) -> Overlap:
        """What the other file holds too."""
        places = [*self._found.values(), *self._asked.values()][:PLACES]
        return Overlap(rows=len(self._found), questions=len(self._asked), places=places)

    def findings(self, max_length: int | None) -> list[Finding]:
        """What of the rows is not trained, or not as it stands."""
        return self.census.findings(self.shape, self.file.place, max_length, self._training_type)

    def report(self, allowed_bad_percent: float) -> DataReport:
        """What was found, without tokens and without a verdict."""
        notes = []
        if len(self.seen) >= MAX_HASHES:
            notes.append(f"Only the first {MAX_HASHES} different rows were looked at for duplicates.")
        if self._placeholder:
            notes.append(
                f"Texts hold placeholders, as {self._placeholder}: the model would learn to write them."
            )
        turns = sorted(self._turns.items())
        return DataReport(
            file=self.file.name,
            format=self.file.format,
            packing=self.file.packing,
            bytes=self.file.bytes,
            kind=self.shape.kind,
            columns=list(self._columns)[:_NAMES],
            meaning=self.shape.meaning(self._columns),
            written_as=[name for name in (self.file.layout, *self.shape.written_as) if name],
            verdict=Verdict.FINE,
            rows=self.rows,
            bad_rows=self.bad,
            allowed_bad_percent=allowed_bad_percent,
            bad=self._listed,
            reasons=self._causes.reasons(),
            empty_texts=self._empty,
            duplicates=self._duplicates,
            duplicate_places=self._duplicate_places,
            roles=_counts(self._roles),
            turns=[Count(name=str(name), count=count) for name, count in turns[:_NAMES]],
            classes=_counts(self._classes),
            scripts=_counts(self._letters),
            is_complete=self.is_complete,
            notes=notes,
        )


def _last_answer(messages: list[Message]) -> int:
    return next((i for i in range(len(messages) - 1, -1, -1) if messages[i].role == "assistant"), 0)


def _counts(counter: "Counter[str]") -> list[Count]:
    return [Count(name=name, count=count) for name, count in counter.most_common(_NAMES)]
