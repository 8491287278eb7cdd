"""Samples: what an evaluation asks, read from a file, chosen by content, and ours where a user has none.

A file is used whole or not at all: whatever cannot be asked and scored is refused with its place. Rows mean here what
they mean to a training (`tunesmith.rows.shapes`): what is asked is all up to the last answer, and that answer is the
reference. Knows nothing of models or scores.
"""

import functools
import hashlib
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypedDict, Unpack

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.errors import InvalidData, InvalidInput, Problem
from tunesmith.evaluation.results import Sample, Split, Text
from tunesmith.evaluation.sample_file import SPLITS, entries_of
from tunesmith.evaluation.sample_rows import SampleReader
from tunesmith.row_problem import RowProblem
from tunesmith.rows.bad_rows import Causes
from tunesmith.spec.evaluation import DEFAULT_SAMPLES

Language = Literal["en", "zh"]
_SHOWN = 10
_ASCII_PER_TOKEN, _OTHER_PER_TOKEN = 4.1, 1.7
"""Bytes of a token in English and in Chinese: measured on our own samples with SmolLM2's tokenizer."""
_PLACES = (
    Path(__file__).parents[3] / "configs" / "evaluation",  # the repository
    Path(__file__).parents[1] / "configs" / "evaluation",  # an installed wheel
)


class SampleSet(BaseModel):
    """The samples of a file."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="The file's name.")
    samples: tuple[Sample, ...] = Field(description="In the file's order, each once.")
    problems: tuple[Problem, ...] = Field(
        (), description="What cannot be used, cause by cause; none in a set that was read for use."
    )
    bad: int = Field(0, ge=0, description="How many entries cannot be used.")
    notes: tuple[Text, ...] = Field((), description="What was passed over or deserves a look.")

    def of(self, split: Split) -> list[Sample]:
        """The samples of a split, in the file's order."""
        return [sample for sample in self.samples if sample.split == split]

    @property
    def counts(self) -> dict[Split, int]:
        """How many samples each split has."""
        return {split: len(self.of(split)) for split in SPLITS}


class Columns(TypedDict, total=False):
    """Which columns of a file of rows hold what; found by their names where they are not given."""

    prompt_column: str | None
    """What is asked."""
    response_column: str | None
    """The expected answer."""
    system_column: str | None
    """System prompts."""


def read_samples(
    path: Path,
    *,
    default_split: Split = "validation",
    scorers: Collection[str] | None = None,
    **columns: Unpack[Columns],
) -> SampleSet:
    """The samples of a file, for use: all of them are sound.

    Args:
        path: `{"train": [...], "validation": [...]}` as JSON, or any file of rows that is trained on.
        default_split: What rows belong to that name no `split`.
        scorers: Names of the custom scorers, which samples may name among their checks. Where they are not known, a
            name that is no check's is noted, and not refused.
        columns: Which hold what.

    Raises:
        InvalidData: The file cannot be read, has no sample, too many, or one that cannot be asked and scored.
    """
    found = inspect_samples(path, default_split=default_split, scorers=scorers, **columns)
    if found.problems:
        first = found.problems[0]
        raise InvalidData(
            f"`{found.name}`: samples that cannot be used: {found.bad}. {first.field}: {first.message}",
            hint=first.hint or "Fix it, or remove it: a file is used whole or not at all.",
            problems=list(found.problems),
            details={"bad_samples": found.bad},
        )
    return found


def inspect_samples(
    path: Path,
    *,
    default_split: Split = "validation",
    scorers: Collection[str] | None = None,
    **columns: Unpack[Columns],
) -> SampleSet:
    """As `read_samples`, for a look: what cannot be used stands in `problems`.

    Raises:
        InvalidData: The file is of no use as a whole.
    """
    entries = entries_of(path, default_split)
    named = {parameter: str(column) for parameter, column in columns.items() if column}
    reader = SampleReader(path.name, entries, named, scorers)
    causes = Causes()
    samples: list[Sample] = []
    for entry in entries:
        try:
            samples.append(reader.read(entry))
        except RowProblem as problem:
            causes.note(entry.place, problem, entry.row)
    kept, notes = _each_once(samples)
    if reader.perhaps_scorers:
        names = ", ".join(f"`{name}`" for name in sorted(reader.perhaps_scorers)[:_SHOWN])
        notes.append(
            Text(
                en=f"Checks that are custom scorers, or none at all: {names}.",
                zh=f"这些检查是自定义评分器，或者根本不存在：{names}。",
            )
        )
    if not any(sample.split == "validation" for sample in kept) and not causes.count:
        notes.append(
            Text(
                en="No sample is of the split `validation`: no checkpoint can be recommended by them.",
                zh="没有一个样本属于 `validation`：无法据此推荐检查点。",
            )
        )
    return SampleSet(
        name=path.name,
        samples=tuple(kept),
        problems=tuple(causes.problems()),
        bad=causes.count,
        notes=tuple(notes),
    )


class SampleSizes(NamedTuple):
    """How many samples there are, and about how many tokens they are: no tokenizer is asked."""

    number: int
    asked: float
    """Tokens of all that is asked, without what a template writes around it."""
    expected: float
    """Tokens of all answers that are expected."""
    longest: float
    """Tokens of the longest sample, both together."""
    sortable: int = 0
    """How many are one text with a class, as a classifier can be asked."""


def sample_sizes(samples: Sequence[Sample]) -> SampleSizes:
    """How many samples there are, and about how many tokens they are."""
    asked = [sum(_tokens(turn.content) for turn in one.turns) for one in samples]
    expected = [_tokens(one.reference) for one in samples]
    longest = max(map(sum, zip(asked, expected, strict=True)), default=0.0)
    return SampleSizes(len(samples), sum(asked), sum(expected), longest, sum(map(is_sortable, samples)))


def is_sortable(sample: Sample) -> bool:
    """Whether a classifier can be asked: one text, and the class that is expected."""
    return sample.label is not None and len(sample.turns) == 1


def _tokens(text: str) -> float:
    ascii_letters = sum(letter.isascii() for letter in text)
    return (
        ascii_letters / _ASCII_PER_TOKEN
        + (len(text.encode("utf-8", "replace")) - ascii_letters) / _OTHER_PER_TOKEN
    )


def how_many(count: int, ratio: float, minimum: int, maximum: int) -> int:
    """How many of `count` samples `select` chooses."""
    # 0.07 x 100 is a little above 7 as computers count.
    return min(max(math.ceil(round(ratio * count, 9)), minimum), maximum, count)


def select(
    samples: SampleSet | Sequence[Sample],
    *,
    ratio: float,
    minimum: int,
    maximum: int,
    seed: int,
    split: Split = "validation",
) -> list[Sample]:
    """The samples that are asked: a share of a split, within bounds, the same for everybody who asks with this seed.

    There are ceil(`ratio` x N), at least `minimum`, at most `maximum` and N. Each sample draws a number from the seed
    and its own content, and the lowest are chosen: one sample more in the file is one more in the selection, or takes
    the place of one.

    Args:
        samples: Of all splits.
        ratio: The share of the split, above 0 up to 1.
        minimum: So many at least, where there are so many.
        maximum: So many at most.
        seed: Another seed chooses others.
        split: Whose samples.

    Returns:
        Them in the file's order.

    Raises:
        InvalidInput: The bounds contradict each other, or the share is none.
    """
    if not 0 < ratio <= 1:
        raise InvalidInput(f"The sample ratio is {ratio:g}.", hint="Give a number above 0, up to 1.")
    if minimum > maximum:
        raise InvalidInput(
            f"At least {minimum} samples are asked for, and at most {maximum}.",
            hint="Lower the minimum, or raise the maximum.",
        )
    every = (
        samples.of(split)
        if isinstance(samples, SampleSet)
        else [one for one in samples if one.split == split]
    )
    wanted = how_many(len(every), ratio, minimum, maximum)
    if wanted == len(every):
        return every
    lots = sorted(every, key=lambda sample: _lot(seed, sample.id))
    chosen = {sample.id for sample in lots[:wanted]}
    return [sample for sample in every if sample.id in chosen]


def default_files() -> dict[Language, Path]:
    """The sample files that come with Tunesmith, by language."""
    folder = next((place for place in _PLACES if place.is_dir()), None)
    assert folder is not None, "the package carries its samples"
    return {"en": folder / "samples-en.json", "zh": folder / "samples-zh.json"}


def default_samples(languages: Sequence[Language] = ("en", "zh")) -> SampleSet:
    """The samples that come with Tunesmith: 64 for validation and a few for training, in each language.

    Args:
        languages: Whose.
    """
    files = default_files()
    found = [_read_default(files[language]) for language in languages]
    samples = [sample for one in found for sample in one.samples]
    return SampleSet(name=DEFAULT_SAMPLES, samples=tuple(samples))


@functools.lru_cache(maxsize=8)
def _read_default(file: Path) -> SampleSet:
    return read_samples(file)


def _lot(seed: int, sample_id: str) -> bytes:
    return hashlib.sha256(f"{seed}:{sample_id}".encode()).digest()


def _each_once(samples: Sequence[Sample]) -> tuple[list[Sample], list[Text]]:
    """Each sample once, and what was passed over; one that stands in both splits is of `train`."""
    trained = {sample.id for sample in samples if sample.split == "train"}
    seen: set[str] = set()
    kept: list[Sample] = []
    doubles = both = 0
    for sample in samples:
        if sample.split != "train" and sample.id in trained:
            both += 1
        elif sample.id in seen:
            doubles += 1
        else:
            seen.add(sample.id)
            kept.append(sample)
    notes: list[Text] = []
    if doubles:
        notes.append(
            Text(
                en=f"Samples that stand there again, and are asked once: {doubles}.",
                zh=f"重复出现、只提问一次的样本：{doubles} 个。",
            )
        )
    if both:
        notes.append(
            Text(
                en=f"Samples of `validation` that stand in `train` too, and count as trained: {both}.",
                zh=f"`validation` 中也出现在 `train` 里、按训练样本计的样本：{both} 个。",
            )
        )
    return kept, notes
