"""A data file's report: every bad row with place and reason, what the good ones hold, and what of them is trained.

One pass over the file with bounded memory, and a second one over some rows where a model is named. Knows files, shapes
and encoders; knows nothing of tasks.
"""

import re
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from tunesmith.dataset_views import (
    BadRow,
    Bin,
    Count,
    CutAt,
    DataReport,
    Overlap,
    TokenReport,
    Verdict,
)
from tunesmith.rows.choosing import encoder_of
from tunesmith.rows.conversation import Message
from tunesmith.rows.encoding import IGNORE_INDEX, Encoded, RowEncoder
from tunesmith.rows.labels import MAX_CLASSES
from tunesmith.rows.problems import EmptyText, RowProblem
from tunesmith.rows.reading import Row, RowFile
from tunesmith.rows.shapes import Sample, Shape, Text, shape_of
from tunesmith.spec.training import TrainSpec

MAX_BAD = 50
ENCODED_ROWS = 5000
"""Of a file with more rows, so many are encoded, evenly taken."""
MAX_HASHES = 4_000_000
"""Rows that are told apart; 80 bytes each."""
_LOOKED_AT = 2000
"""Rows whose letters are all looked at; of those behind them, one in fifty."""
_LETTERS = 1000
_PLACES = 10
_NAMES = 30
_BATCH = 64
_LONGEST = 2**20
_BINS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, _LONGEST)
_EXCERPT = 160
_CLOCK_EVERY = 512


def validate(
    path: str | Path,
    spec: TrainSpec,
    *,
    evaluation: str | Path | None = None,
    model: str | Path | None = None,
    tokenizer: str | Path | None = None,
    allowed_bad_percent: float = 0.0,
    max_seconds: float | None = None,
) -> DataReport:
    """Read a file, and say all there is to say of it.

    Args:
        path: The file.
        spec: The parameters that decide how rows are read and encoded.
        evaluation: A file of held-out rows: it gets a report too, and what both files hold is counted.
        model: A model's folder; without one, no token is counted.
        tokenizer: Another folder whose tokenizer is used instead of the model's.
        allowed_bad_percent: Share of the rows that may be bad.
        max_seconds: Stop reading after so long; the report says that it is not complete.

    Raises:
        InvalidData: A file as a whole is of no use.
        InvalidModel: The tokenizer or the chat template is missing or broken.
        InvalidInput: The chosen chat template does not fit.
    """
    clock = _Clock(max_seconds)
    held_out = _Reader(evaluation, spec, clock, keeps_questions=True) if evaluation is not None else None
    if held_out is not None:
        held_out.read()
    reader = _Reader(path, spec, clock, against=held_out)
    reader.read()
    report = reader.report(allowed_bad_percent)
    if held_out is not None:
        report.evaluation = held_out.report(allowed_bad_percent)
        report.overlap = reader.overlap()
    if model is not None:
        encoder = encoder_of(spec, reader.shape, model, tokenizer)
        report.tokens = _Tokens(reader, encoder, spec.max_length, report).report()
    _conclude(report)
    return report


class _Clock:
    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    @property
    def is_over(self) -> bool:
        return self._end is not None and time.monotonic() > self._end


class _Reader:
    """Reads a file once, and counts."""

    def __init__(
        self,
        path: str | Path,
        spec: TrainSpec,
        clock: _Clock,
        *,
        keeps_questions: bool = False,
        against: "_Reader | None" = None,
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
        self._reasons: Counter[str] = Counter()
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
                if self.rows <= _PLACES:
                    self._columns.update(dict.fromkeys(islice(map(str, row), _NAMES)))
                sample = read(row)
            except RowProblem as problem:
                self.note(number, problem, row)
            else:
                self._count(number, sample)

    def note(self, number: int, problem: RowProblem, row: Row | RowProblem) -> None:
        """Enter a bad row."""
        self.bad += 1
        self._empty += isinstance(problem, EmptyText)
        reason = _kind_of_reason(problem.message)
        if reason in self._reasons or len(self._reasons) < _NAMES:
            self._reasons[reason] += 1
        if len(self._listed) < MAX_BAD:
            excerpt = problem.excerpt if isinstance(row, RowProblem) else _begin(row)
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
            if len(self._duplicate_places) < _PLACES:
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
        return hash(tuple(sample)), question

    def _look_at_letters(self, number: int, sample: Sample) -> None:
        for text in [sample.text] if isinstance(sample, Text) else [turn.content for turn in sample]:
            _count_letters(text[:_LETTERS], self._letters)
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
        places = [*self._found.values(), *self._asked.values()][:_PLACES]
        return Overlap(rows=len(self._found), questions=len(self._asked), places=places)

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
            verdict=Verdict.FINE,
            rows=self.rows,
            bad_rows=self.bad,
            allowed_bad_percent=allowed_bad_percent,
            bad=self._listed,
            reasons=_counts(self._reasons),
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


class _Tokens:
    """Encodes rows of a file that was read, and counts tokens."""

    def __init__(self, reader: _Reader, encoder: RowEncoder, max_length: int, report: DataReport) -> None:
        self._reader, self._encoder = reader, encoder
        self._max_length = max_length
        self._report = report
        self._lengths: list[int] = []
        self._trained = self._kept = 0
        self._without: list[str] = []
        self._unsupervised = 0

    def report(self) -> TokenReport:
        """Encode, and say what was found; rows that the template refuses become bad rows of the report."""
        reader, report = self._reader, self._report
        good = reader.rows - reader.bad
        stride = max(1, -(-good // ENCODED_ROWS))
        chosen = islice(self._good_rows(), 0, None, stride)
        looked = 0
        while batch := list(islice(chosen, _BATCH)):
            if reader.clock.is_over:
                report.is_complete = False
                break
            kept = self._encoder.try_batch([sample for _, sample, _ in batch])
            for (number, _, row), one in zip(batch, kept, strict=True):
                looked += 1
                if isinstance(one, RowProblem):
                    reader.note(number, one, row)
                else:
                    self._count(number, one)
        fresh = reader.report(report.allowed_bad_percent)
        report.bad, report.bad_rows, report.reasons = fresh.bad, fresh.bad_rows, fresh.reasons
        return self._sums(is_sample=stride > 1 or looked < good)

    def _good_rows(self) -> Iterator[tuple[int, Sample, Row]]:
        for count, (number, row) in enumerate(self._reader.file.scan()):
            if count >= self._reader.rows:
                return
            if isinstance(row, RowProblem):
                continue
            try:
                sample = self._reader.shape.read(row)
            except RowProblem:
                continue
            yield number, sample, row

    def _count(self, number: int, one: Encoded) -> None:
        self._lengths.append(len(one.input_ids) + one.cut)
        self._kept += len(one.input_ids)
        if self._reader.shape.kind == "labelled":
            self._trained += 1
            return
        # The first token is never predicted, so a label there trains nothing.
        trained = sum(label != IGNORE_INDEX for label in one.labels[1:])
        self._trained += trained
        if not trained:
            self._unsupervised += 1
            if len(self._without) < _PLACES:
                self._without.append(self._reader.file.place(number))

    def _sums(self, *, is_sample: bool) -> TokenReport:
        lengths = sorted(self._lengths) or [0]
        rows = len(self._lengths)
        bounds = [0, *_BINS]
        bins = [
            Bin(upto=high, rows=sum(low < length <= high for length in lengths))
            for low, high in zip(bounds, _BINS, strict=False)
            if low < lengths[-1]
        ]
        cuts = self._encoder.max_length is not None  # pre-training cuts no document
        candidates = (
            sorted({self._max_length, *(b for b in _BINS[2:9] if b <= 4 * lengths[-1])}) if cuts else []
        )
        return TokenReport(
            rows=rows,
            is_sample=is_sample,
            max_length=self._max_length,
            median=lengths[len(lengths) // 2],
            p95=lengths[int(len(lengths) * 0.95)],
            longest=lengths[-1],
            histogram=bins,
            cut_rows=sum(length > self._max_length for length in lengths) if cuts else 0,
            cut_at=[
                CutAt(max_length=at, share=sum(length > at for length in lengths) / max(1, rows))
                for at in candidates
            ],
            supervised_share=self._trained / max(1, self._kept),
            unsupervised_rows=self._unsupervised,
            unsupervised_places=self._without,
        )


def _conclude(report: DataReport) -> None:
    """The verdict, and what follows from the numbers."""
    for part in (report, report.evaluation):
        if part is None:
            continue
        share = 100 * part.bad_rows / max(1, part.rows)
        if part.bad_rows:
            allowed = share <= part.allowed_bad_percent and part.bad_rows < part.rows
            part.verdict = Verdict.SKIPS if allowed else Verdict.REFUSED
        if not part.is_complete:
            part.notes.append(
                "Time ran out: only the first rows were read. On the file's machine, it has no end."
            )
    if report.evaluation is not None and report.evaluation.verdict is Verdict.REFUSED:
        report.verdict = Verdict.REFUSED
    tokens = report.tokens
    if tokens is not None and tokens.rows and tokens.unsupervised_rows == tokens.rows:
        report.verdict = Verdict.REFUSED
        report.notes.append(
            f"Nothing is left to train on within {tokens.max_length} tokens: raise `max_length`."
        )
    if report.overlap is not None and report.overlap.rows + report.overlap.questions:
        report.notes.append(
            "The evaluation file holds rows of the training file: its loss will look too good."
        )


_NUMBERS = re.compile(r"\d+")
_PLACEHOLDER = re.compile(r"\{\{ ?[a-z_]{1,30} ?\}\}")
_QUOTED = re.compile(r"(?<=near )`[^`]*`|(?<=is )`[^`]*`")


def _kind_of_reason(message: str) -> str:
    """A message without what differs from row to row."""
    return _NUMBERS.sub("N", _QUOTED.sub("`...`", message))[:200]


def _begin(row: Row) -> str:
    parts: list[str] = []
    size = 0
    for name, value in row.items():
        parts.append(f"{str(name)[:40]}: {_short(value)}")
        size += len(parts[-1])
        if size > _EXCERPT:
            break
    return " ".join(", ".join(parts).split())[:_EXCERPT]


def _short(value: Any) -> str:
    if isinstance(value, str):
        return value[:_EXCERPT]
    # Only its beginning is written out: a row may be megabytes.
    if isinstance(value, list):
        return (
            f"{_shorter(value[0]) if value else ''}{f', and {len(value) - 1} more' if len(value) > 1 else ''}"
        )
    return _shorter(value) if isinstance(value, dict) else str(value)[:_EXCERPT]


def _shorter(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{str(k)[:20]}: {_scalar(v)}" for k, v in islice(value.items(), 4))
    return _scalar(value)


def _scalar(value: Any) -> str:
    return value[:60] if isinstance(value, str) else type(value).__name__


def _last_answer(messages: list[Message]) -> int:
    return next((i for i in range(len(messages) - 1, -1, -1) if messages[i].role == "assistant"), 0)


def _counts(counter: "Counter[str]") -> list[Count]:
    return [Count(name=name, count=count) for name, count in counter.most_common(_NAMES)]


def _count_letters(text: str, letters: "Counter[str]") -> None:
    if text.isascii():
        letters["Latin"] += sum(map(str.isalpha, text))
        return
    for char, count in Counter(text).items():
        script = _script(char)
        if script:
            letters[script] += count


_SCRIPTS: dict[str, str] = {"CJK": "Han", "FULLWIDTH": "Latin"}


@lru_cache(maxsize=65536)
def _script(char: str) -> str | None:
    """The script of a letter, as its Unicode name begins; None for what is no letter."""
    if not char.isalpha():
        return None
    word = unicodedata.name(char, "").partition(" ")[0]
    return _SCRIPTS.get(word, word.title()) or None
