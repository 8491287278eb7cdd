"""Which samples stand in the rows that a model was trained on: an answer that was learned proves nothing.

Rows stream by, read as the training reads them; what is kept in memory are hashes of the samples, never of the rows.
Texts are compared without case, width, blanks and the marks of sentences. Knows rows and samples; knows nothing of
checkpoints.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from tunesmith.evaluation.results import Sample
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.turns import Message
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.shapes import Shape, Text, shape_of
from tunesmith.spec.training import TrainSpec

Grade = Literal["exact", "prompt", "span"]
"""How a sample stands in the rows: with its answer; its question alone; a long part of its answer."""
SPAN_WORDS = 13
"""So many words of a reference, one after the other, are no accident: as GPT-3's authors took it."""
SPAN_LETTERS = 30
"""The same, of a text that is written without blanks between words."""
_GRADES: tuple[Grade, ...] = ("exact", "prompt", "span")
# Rows are looked at in steps: a span of 13 words holds, wherever it begins, a whole block of 7 at a multiple of 7.
_BLOCK_WORDS = (SPAN_WORDS + 1) // 2
_BLOCK_LETTERS = (SPAN_LETTERS + 1) // 2
_MARKS = "!?;:\"'`()[]{}“”‘’„«»。，、；：？！（）【】《》〈〉「」『』…—_#~"
_TO_BLANKS = str.maketrans(dict.fromkeys(f"{_MARKS}.,", " "))
_TO_BLANKS_IN_NUMBERS = str.maketrans(dict.fromkeys(_MARKS, " "))
_IN_A_NUMBER = re.compile(r"\d[.,]\d")
_NOT_IN_A_NUMBER = re.compile(r"[.,](?!\d)|(?<!\d)[.,]")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_BETWEEN = "\x00"


def seen_in(
    samples: Sequence[Sample],
    files: Iterable[Path],
    *,
    spec: TrainSpec | None = None,
    only_rows: Sequence[int] | None = None,
) -> dict[str, Grade]:
    """The samples that the rows of a training hold, each with how.

    `exact`: a row asks the same and answers the same. `prompt`: a row asks the same. `span`: a row holds 13 words, or
    of a text without blanks 30 letters, of the reference one after the other. A paraphrase is not found.

    Args:
        samples: What would be asked.
        files: The training's rows.
        spec: The training, for its columns and its type; columns are found by their names where it is not given.
        only_rows: The numbers of the rows that were trained on (`RowOrder.numbers`), where others of the file were held
            out; all of them where it is not given.

    Returns:
        Ids of samples; those that were not found are not in it.

    Raises:
        InvalidData: A file cannot be read.
    """
    spec = spec or TrainSpec.read({"model_name_or_path": "-", "train_file": "-"})
    wanted = _Wanted(samples)
    trained = None if only_rows is None else _marked(only_rows)
    for path in files:
        file = RowFile(path)
        shape = shape_of(file, spec)
        for number, row in file.scan():
            if isinstance(row, RowProblem) or (
                trained is not None and not (number < len(trained) and trained[number])
            ):
                continue
            _look(wanted, shape, row)
            if wanted.is_complete:
                return wanted.found
    return wanted.found


def _marked(numbers: Sequence[int]) -> bytearray:
    """A byte a row, 1 for those that are named: a set of numbers takes sixty times as much."""
    marks = bytearray(max(numbers, default=0) + 1)
    for number in numbers:
        marks[number] = 1
    return marks


def plain_text(text: str) -> str:
    """A text without what makes no difference: case, width, blanks, the marks of sentences. Signs of sums stay."""
    return "".join(_words(text))


def _words(text: str) -> list[str]:
    """What stands between blanks and the marks of sentences."""
    # A table of letters takes a quarter of the time that a pattern takes; few texts have a number with a point.
    even = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    if _IN_A_NUMBER.search(even):
        return _NOT_IN_A_NUMBER.sub(" ", even).translate(_TO_BLANKS_IN_NUMBERS).split()
    return even.translate(_TO_BLANKS).split()


def _look(wanted: "_Wanted", shape: Shape, row: dict[str, object]) -> None:
    """See whether a row holds samples; one that was not trained on holds none."""
    try:
        found = shape.read(row)
    except RowProblem:
        return
    if isinstance(found, Text):
        wanted.see_text(found.text, found.label)
    else:
        wanted.see_turns(found)


class _Wanted:
    """Hashes of samples, and what of them was seen."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.found: dict[str, Grade] = {}
        self._samples, self._exacts = len({sample.id for sample in samples}), 0
        self._exact: dict[int, list[str]] = {}
        self._asked: dict[int, list[str]] = {}
        self._words = _Spans(SPAN_WORDS, _BLOCK_WORDS)
        self._letters = _Spans(SPAN_LETTERS, _BLOCK_LETTERS)
        for sample in samples:
            turns = [plain_text(turn.content) for turn in sample.turns if turn.role != "system"]
            answer = plain_text(sample.reference)
            _note(self._exact, _pair(turns[-1], answer), sample.id)
            _note(self._asked, hash(_BETWEEN.join(turns)), sample.id)
            if _is_unspaced(sample.reference):
                self._letters.want(answer, sample.id)
            else:
                self._words.want(_words(sample.reference), sample.id)

    @property
    def is_complete(self) -> bool:
        """Whether nothing more can be found."""
        return self._exacts == self._samples

    def see_turns(self, messages: Sequence[Message]) -> None:
        """A conversation that was trained on."""
        before: list[str] = []
        question: str | None = None
        for message in messages:
            if message.role == "system":
                continue
            words = _words(message.content)
            text = "".join(words)
            before.append(text)
            if message.role == "user":
                question = text
                # From its beginning, and by itself: a question of one turn may stand inside a longer talk.
                for asked in {hash(_BETWEEN.join(before)), hash(text)}:
                    self._see(self._asked.get(asked), "prompt")
            elif question is not None:
                self._see(self._exact.get(_pair(question, text)), "exact")
            self._see_spans(words, text)

    def see_text(self, text: str, label: str | None) -> None:
        """A text that was trained on, with its class where it has one."""
        words = _words(text)
        plain = "".join(words)
        self._see(self._asked.get(hash(plain)), "prompt")
        if label is not None:
            self._see(self._exact.get(_pair(plain, plain_text(label))), "exact")
        self._see_spans(words, plain)

    def _see_spans(self, words: Sequence[str], plain: str) -> None:
        if self._letters and not plain.isascii():
            self._see(self._letters.seen(plain), "span")
        if self._words:
            self._see(self._words.seen(words), "span")

    def _see(self, ids: Iterable[str] | None, grade: Grade) -> None:
        for one in ids or ():
            known = self.found.get(one)
            if known is None or _GRADES.index(grade) < _GRADES.index(known):
                self.found[one] = grade
                self._exacts += grade == "exact"


class _Spans:
    """Long parts of references, and whether a text holds one: a run of `length` parts (words, or letters).

    Args:
        length: Of a run.
        block: Parts that are looked up together.
    """

    def __init__(self, length: int, block: int) -> None:
        self._length, self._block = length, block
        self._blocks: set[int] = set()
        self._runs: dict[int, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._runs)

    def want(self, parts: Sequence[str], sample_id: str) -> None:
        """Look for the runs of a reference."""
        for start in range(len(parts) - self._length + 1):
            _note(self._runs, _hash(parts[start : start + self._length]), sample_id)
        if len(parts) >= self._length:
            for start in range(len(parts) - self._block + 1):
                self._blocks.add(_hash(parts[start : start + self._block]))

    def seen(self, parts: Sequence[str]) -> set[str]:
        """The samples of which a text holds a run."""
        found: set[str] = set()
        block, blocks, last = self._block, self._blocks, len(parts) - self._length
        if last < 0:
            return found
        for start in range(0, len(parts) - block + 1, block):
            if _hash(parts[start : start + block]) in blocks:
                # The run may begin up to so many parts before its whole block.
                first = max(0, start - (self._length - block))
                for run in range(first, min(start, last) + 1):
                    found.update(self._runs.get(_hash(parts[run : run + self._length]), ()))
        return found


def _is_unspaced(text: str) -> bool:
    """Whether a text is mostly of a script without blanks between words."""
    return 2 * len(_UNSPACED.findall(text)) > len("".join(text.split()))


def _pair(question: str, answer: str) -> int:
    return hash((question, answer))


def _hash(parts: Sequence[str]) -> int:
    return hash(parts if isinstance(parts, str) else tuple(parts))


def _note(found: dict[int, list[str]], key: int, sample_id: str) -> None:
    ids = found.setdefault(key, [])
    if sample_id not in ids:
        ids.append(sample_id)
