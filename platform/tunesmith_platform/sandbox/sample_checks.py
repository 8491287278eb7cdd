"""What the API asks its workers of files that models are asked from: samples, scorers, a user's own benchmarks."""

import functools
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.evaluation.benchmark_file import OwnBenchmark
from tunesmith.evaluation.results import Split
from tunesmith.evaluation.sample_edit import Edited
from tunesmith.evaluation.sample_views import SampleCheck
from tunesmith.evaluation.samples import Columns, SampleSizes
from tunesmith_platform.file_state import FileState, state_of_file
from tunesmith_platform.sandbox.pool import Limits
from tunesmith_platform.sandbox.shared_workers import ask, optional

_SAMPLES_ANSWER = 160 * 2**20
"""Every text of the largest sample file, each letter escaped."""


def check_asked(file: Path, prompt_column: str | None) -> None:
    """See that a file's first row asks a model something.

    Raises:
        InvalidData: It does not.
    """
    ask("first_asked", str(file), file=str(file), prompt_column=prompt_column)


def sample_check(
    file: Path, *, columns: Columns, default_split: Split, split: Split | None, first: int
) -> SampleCheck:
    """What a sample file holds, with its first samples; the others stay in the worker.

    Args:
        file: The sample file.
        columns: Which hold what.
        default_split: What rows belong to that name no `split`.
        split: Show samples of this split alone.
        first: How many samples to show.

    Raises:
        InvalidData: It is of no use as a whole.
    """
    raw = ask(
        "sample_check",
        str(file),
        limits=Limits(answer_bytes=_SAMPLES_ANSWER),
        file=str(file),
        columns=dict(columns),
        default_split=default_split,
        split=split,
        first=first,
    )
    return SampleCheck.model_validate_json(raw)


def edited_samples(file: Path | None, add: Sequence[Mapping[str, Any]], remove: Collection[str]) -> Edited:
    """The next version of a sample file. See `evaluation.sample_edit.edited`.

    Raises:
        InvalidData: The file, or what is to be added, is of no use; or nothing would be left.
    """
    raw = ask(
        "edited_samples",
        str(file or "new samples"),
        limits=Limits(answer_bytes=_SAMPLES_ANSWER),
        file=optional(file),
        add=[dict(one) for one in add],
        remove=sorted(remove),
    )
    return Edited(**json.loads(raw))


def scorer_names(file: Path) -> list[str]:
    """The names of a file's scorers.

    Raises:
        InvalidInput: It is no file of scorers, or a pattern or a schema in it is none.
    """
    return list(json.loads(ask("scorer_names", str(file), file=str(file))))


def own_benchmark(file: Path) -> OwnBenchmark:
    """The benchmark of a user's file, its files of rows by their whole paths; these are not looked at.

    Raises:
        InvalidInput: It is no benchmark, or names a program.
    """
    return OwnBenchmark.model_validate_json(ask("own_benchmark", str(file), file=str(file)))


def unknown_benchmarks(names: Collection[str], version: str) -> dict[str, list[str]]:
    """Those names that are no benchmark of lm-eval's, each with those that it may stand for.

    The first time in a worker takes some seconds; what was asked before is known. Where nobody can say, none is.

    Args:
        names: Which.
        version: lm-eval's, as it is installed.
    """
    return _unknown_benchmarks(tuple(sorted(set(names))), version)


@functools.lru_cache(maxsize=64)
def _unknown_benchmarks(names: tuple[str, ...], version: str) -> dict[str, list[str]]:
    raw = ask("unknown_benchmarks", f"lm-eval {version}", limits=Limits(seconds=60.0), names=list(names))
    return json.loads(raw) or {}


def count_samples(file: Path, split: str, columns: Mapping[str, str | None]) -> SampleSizes:
    """How many samples a part of a file has, and how long they are; each can be asked and scored.

    Args:
        file: The sample file.
        split: The part.
        columns: `prompt_column`, `response_column` and `system_column`, where they are named.

    Raises:
        InvalidData: It cannot be read, or one of them cannot be used.
    """
    return _counted_samples(state_of_file(file), tuple(sorted(columns.items())))[split]


@functools.lru_cache(maxsize=64)
def _counted_samples(file: FileState, columns: tuple[tuple[str, str | None], ...]) -> dict[str, SampleSizes]:
    """The sizes of each part; a forecast, a submit and their checks read a file once as long as it stays."""
    raw = ask("count_samples", file.path, file=file.path, columns=dict(columns))
    return {split: SampleSizes(*sizes) for split, sizes in json.loads(raw).items()}
