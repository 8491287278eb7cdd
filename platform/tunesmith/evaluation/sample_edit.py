"""Samples added to a file and taken out of it, as the rows of its next version: JSON lines with a `split` each.

What is written reads back as the same samples, or nothing is written. Columns that say nothing to an evaluation stay.
Knows files to read and texts to write; writes none.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.errors import InvalidData
from tunesmith.evaluation.results import Sample, Split
from tunesmith.evaluation.sample_file import MAX_BYTES, MAX_SAMPLES, SPLITS, Entry, entries_of, split_named
from tunesmith.evaluation.sample_rows import SampleReader
from tunesmith.row_problem import RowProblem
from tunesmith.rows.bad_rows import Causes
from tunesmith.rows.files.decoding import Row, as_row
from tunesmith.rows.problems import bad_file

_SIMPLE = (["user"], ["system", "user"])
"""The roles of what fits into a prompt."""


class Edited(NamedTuple):
    """The next version of a sample file."""

    text: str
    """Its bytes, as JSON lines."""
    counts: dict[Split, int]
    added: list[str]
    """Ids of samples that were not there, or stood in the other split."""
    removed: list[str]
    missing: list[str]
    """What was to be removed and is not there."""


class _Kept(NamedTuple):
    sample: Sample
    rest: Row
    """Columns that say nothing to an evaluation."""


def edited(path: Path | None, add: Sequence[Mapping[str, Any]] = (), remove: Collection[str] = ()) -> Edited:
    """A sample file with some samples more and some less.

    Args:
        path: The file; None for a new one.
        add: Samples as they stand in a file, each in the `split` that it names, else for validation. One that is
            there already stays as it is, or moves to the split that is named.
        remove: Ids of samples.

    Raises:
        InvalidData: The file, or what is to be added, is of no use; or nothing would be left.
    """
    there = _read(path.name, entries_of(path, "validation")) if path is not None else []
    new = _read("add", list(_entries(add)))
    wanted = set(remove)
    kept: dict[str, _Kept] = {one.sample.id: one for one in there if one.sample.id not in wanted}
    removed = list(dict.fromkeys(one.sample.id for one in there if one.sample.id in wanted))
    added: list[str] = []
    for one in new:
        old = kept.get(one.sample.id)
        if old is None or old.sample.split != one.sample.split:
            added.append(one.sample.id)
            kept[one.sample.id] = (
                one
                if old is None
                else old._replace(sample=old.sample.model_copy(update={"split": one.sample.split}))
            )
    name = path.name if path is not None else "the sample file"
    if not kept:
        raise bad_file(
            name, "No sample would be left.", "Remove the data set itself: `tunesmith data remove`."
        )
    if len(kept) > MAX_SAMPLES:
        raise bad_file(
            name, f"There would be more than {MAX_SAMPLES} samples.", "Remove some, or begin another file."
        )
    samples = [one.sample for one in kept.values()]
    text = _written(list(kept.values()))
    if len(text.encode()) > MAX_BYTES:
        raise bad_file(
            name, f"The file would have more than {MAX_BYTES} bytes.", "Remove some, or begin another file."
        )
    return Edited(
        text=text,
        counts={split: sum(sample.split == split for sample in samples) for split in SPLITS},
        added=list(dict.fromkeys(added)),
        removed=removed,
        missing=sorted(wanted - set(removed)),
    )


def row_of(sample: Sample, *, as_messages: bool = False) -> Row:
    """A sample as it stands in a file, without its split."""
    turns = list(sample.turns)
    row: Row = {"id": sample.name} if sample.name is not None else {}
    if as_messages or [turn.role for turn in turns] not in _SIMPLE:
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        row["messages"] = [*messages, {"role": "assistant", "content": sample.reference}]
    else:
        if len(turns) > 1:
            row["system"] = turns[0].content
        row |= {"prompt": turns[-1].content, "completion": sample.reference}
    if sample.keywords is not None:
        row["keywords"] = list(sample.keywords)
    if sample.checks:
        row["checks"] = list(sample.checks)
    if sample.label is not None:
        row["label"] = sample.label
    return row


def file_of(samples: Iterable[Sample]) -> dict[Split, list[Row]]:
    """Samples in a sample file's own form: lists by splits."""
    found: dict[Split, list[Row]] = {split: [] for split in SPLITS}
    for sample in samples:
        found[sample.split].append(row_of(sample))
    return found


def _entries(rows: Sequence[Mapping[str, Any]]) -> Iterator[Entry]:
    for number, given in enumerate(rows, 1):
        row = {key: value for key, value in given.items() if key != "split"}
        split: Split = "validation"
        try:
            if given.get("split") is not None:
                split = split_named(given["split"])
            found = as_row(row, suspicious=True)
        except RowProblem as problem:
            found = problem
        yield Entry(f"add.{number}", split, number, found)


def _read(name: str, entries: Sequence[Entry]) -> list[_Kept]:
    """Every sample of some entries, `train` before what stands in both splits.

    Raises:
        InvalidData: One of them is none.
    """
    reader, causes = SampleReader(name, entries, {}), Causes()
    found: list[_Kept] = []
    for entry in entries:
        try:
            sample = reader.read(entry)
        except RowProblem as problem:
            causes.note(entry.place, problem, entry.row)
            continue
        assert isinstance(entry.row, dict)
        found.append(_Kept(sample, reader.rest(entry.row)))
    if causes.count:
        problems = causes.problems()
        raise InvalidData(
            f"{problems[0].field}: {problems[0].message}", hint=problems[0].hint, problems=problems
        )
    return found


def _written(kept: Sequence[_Kept]) -> str:
    """Samples as JSON lines; all in one manner, which is what other readers of rows expect.

    Raises:
        InvalidData: They would not read back as they are.
    """
    is_simple = all([turn.role for turn in one.sample.turns] in _SIMPLE for one in kept)
    for as_messages in (False, True) if is_simple else (True,):
        rows: list[Row] = []
        for one in kept:
            row = {"split": one.sample.split} | row_of(one.sample, as_messages=as_messages)
            rows.append({key: value for key, value in one.rest.items() if key not in row} | row)
        try:
            back = _read("rows", list(_entries(rows)))
        except InvalidData:
            continue
        if [(one.sample.id, one.sample.split) for one in back] == [
            (one.sample.id, one.sample.split) for one in kept
        ]:
            return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    raise InvalidData(
        "These samples would read otherwise once they were written: other columns of theirs mean something, too.",
        hint="Give each sample as `messages` alone, or leave out columns such as `label` or `tools`.",
    )
