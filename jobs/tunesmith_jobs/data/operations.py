"""The operations on data sets: rows in, rows out, each a stream.

Only `shuffle` and `select` of rows look at rows by their place, through a scratch file; nothing keeps rows in memory.
What is drawn is drawn by the seed: the same rows and the same seed give the same bytes. Knows rows; knows nothing of
jobs or pipelines.
"""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.data_step import DataOutput
from tunesmith.errors import InvalidData
from tunesmith.rows.problems import RowProblem
from tunesmith.rows.reading import Row
from tunesmith.spec.dataset import (
    ConcatSpec,
    DedupSpec,
    FilterSpec,
    LoadSpec,
    MapSpec,
    MixSpec,
    OperationSpec,
    SelectSpec,
    ShuffleSpec,
    SplitSpec,
)
from tunesmith.spec.expression import parse_condition
from tunesmith.spec.filling import parse_filling
from tunesmith.spec.parameter import did_you_mean
from tunesmith_jobs.data.duplicates import Seen, SeenNearly
from tunesmith_jobs.data.loading import loaded
from tunesmith_jobs.data.table import Places, Table, Writer

DATA = "data"
"""The name of the output of what has only one."""
_DRAWS = 4096
"""How many sources `mix` draws at once."""


def run(spec: OperationSpec, folder: Path) -> dict[str, DataOutput]:
    """Carry out an operation.

    Args:
        spec: Which, on what.
        folder: Where the rows go. It appears whole or not at all; one that is there is replaced.

    Returns:
        The outputs by their name: `data`, or the parts of a split.

    Raises:
        InvalidInput: What is given cannot be worked on.
        InvalidData: A row cannot, with its place.
    """
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        outputs = _outputs(spec, part, folder)
        for scratch in part.glob("*.scratch"):
            scratch.unlink()
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return outputs


def _outputs(spec: OperationSpec, part: Path, folder: Path) -> dict[str, DataOutput]:
    if isinstance(spec, SplitSpec):
        return _split(spec, part, folder)
    with Writer(part / f"{DATA}.jsonl") as writer:
        for row in _rows(spec, part / "rows.scratch"):
            writer.write(row)
        return {DATA: writer.output(folder)}


def _rows(spec: OperationSpec, scratch: Path) -> Iterator[Row]:
    match spec:
        case LoadSpec():
            return _load(spec, scratch)
        case ConcatSpec(direction="vertical"):
            return (row for file in spec.datasets for row in Table(file))
        case ConcatSpec():
            return _beside(spec)
        case SelectSpec(axis="rows"):
            return _select_rows(spec, scratch)
        case SelectSpec():
            return _select_columns(spec)
        case FilterSpec():
            return _filter(spec)
        case MapSpec():
            return _map(spec)
        case ShuffleSpec():
            return _shuffled(Table(spec.dataset), spec.seed, scratch)
        case DedupSpec():
            return _dedup(spec)
        case MixSpec():
            return _mix(spec)
    raise AssertionError(f"{type(spec).__name__} is no operation")


def _load(spec: LoadSpec, scratch: Path) -> Iterator[Row]:
    rows = loaded(spec)
    return _thinned(_shuffled(rows, spec.seed, scratch) if spec.shuffle else rows, spec.fraction)


def _thinned(rows: Iterable[Row], fraction: float) -> Iterator[Row]:
    """A share of the rows, spread evenly, without knowing how many there are; at least the first one."""
    taken = 0
    for number, row in enumerate(rows, 1):
        if taken < max(1, int(number * fraction + 1e-9)):
            taken += 1
            yield row


def _shuffled(rows: Iterable[Row], seed: int, scratch: Path) -> Iterator[Row]:
    places = Places(rows, scratch)
    return places.take(np.random.default_rng(seed).permutation(len(places)).tolist())


def _beside(spec: ConcatSpec) -> Iterator[Row]:
    tables = [Table(file) for file in spec.datasets]
    try:
        for together in zip(*tables, strict=True):
            found: Row = {}
            for table, row in zip(tables, together, strict=True):
                twice = found.keys() & row.keys()
                if twice:
                    raise InvalidData(
                        f"`{table.name}` has the column `{min(twice)}`, which one before it has too.",
                        hint="Select other columns first.",
                    )
                found |= row
            yield found
    except ValueError:
        raise InvalidData(
            "The data sets have not equally many rows, so they do not lie side by side.",
            hint="Use `direction: vertical`, or select rows first.",
        ) from None


def _select_rows(spec: SelectSpec, scratch: Path) -> Iterator[Row]:
    wanted = spec.indices or []
    places = Places(Table(spec.dataset), scratch)
    if max(wanted) >= len(places):
        raise InvalidData(
            f"There is no row {max(wanted)}: there are {len(places)}, counted from 0.", hint="Leave it out."
        )
    return places.take(wanted)


def _select_columns(spec: SelectSpec) -> Iterator[Row]:
    for place, row in Table(spec.dataset).numbered():
        _need(spec.columns or [], row, place)
        yield {name: row[name] for name in spec.columns or []}


def _need(columns: Iterable[str], row: Row, place: str) -> None:
    for name in columns:
        if name not in row:
            meant = did_you_mean(name, list(row))
            hint = f"Did you mean `{meant}`?" if meant else f"It has {', '.join(f'`{key}`' for key in row)}."
            raise RowProblem(f"The row has no column `{name}`.", hint).at(place)


def _filter(spec: FilterSpec) -> Iterator[Row]:
    condition = parse_condition(spec.condition)
    for place, row in Table(spec.dataset).numbered():
        try:
            if condition.holds(row):
                yield row
        except RowProblem as problem:
            raise problem.at(place) from None


def _map(spec: MapSpec) -> Iterator[Row]:
    filling = parse_filling(spec.template)
    removed = frozenset(spec.remove_columns) - {spec.output_column}
    for place, row in Table(spec.dataset).numbered():
        _need(removed, row, place)
        try:
            text = filling.fill(row)
        except RowProblem as problem:
            raise problem.at(place) from None
        yield {name: value for name, value in row.items() if name not in removed} | {spec.output_column: text}


def _dedup(spec: DedupSpec) -> Iterator[Row]:
    seen = SeenNearly(spec.threshold) if spec.near else Seen()
    for place, row in Table(spec.dataset).numbered():
        if spec.columns is not None:
            _need(spec.columns, row, place)
        part: dict[str, Any] = row if spec.columns is None else {name: row[name] for name in spec.columns}
        if seen.is_new(part):
            yield row


def _mix(spec: MixSpec) -> Iterator[Row]:
    sources = [iter(Table(file)) for file in spec.datasets]
    weights = np.array(spec.weights or [1.0] * len(sources), dtype=float)
    draw = np.random.default_rng(spec.seed)
    left = list(range(len(sources)))
    while left:
        share = weights[left] / weights[left].sum()
        for choice in draw.choice(len(left), size=_DRAWS, p=share).tolist():
            row = next(sources[left[choice]], None)
            if row is not None:
                yield row
                continue
            if spec.stop == "first_exhausted":
                return
            del left[choice]
            break


def _split(spec: SplitSpec, part: Path, folder: Path) -> dict[str, DataOutput]:
    """Each part keeps the order of the file. Counts are exact: what is drawn is which rows go where."""
    table = Table(spec.dataset)
    total = sum(1 for _ in table)
    sizes = {
        name: max(1, round(total * share)) if share else 0
        for name, share in (("eval", spec.eval), ("test", spec.test))
    }
    if total - sum(sizes.values()) < 1:
        raise InvalidData(
            f"{total} rows cannot be parted so that each part has one.",
            hint="Give more rows, or fewer parts.",
        )
    goes_to = np.zeros(total, dtype=np.uint8)
    drawn = np.random.default_rng(spec.seed).permutation(total)
    goes_to[drawn[: sizes["eval"]]] = 1
    goes_to[drawn[sizes["eval"] : sizes["eval"] + sizes["test"]]] = 2
    names = ["train", "eval", "test"]
    writers = {name: Writer(part / f"{name}.jsonl") for name in names if name == "train" or sizes[name]}
    try:
        for row, number in zip(table, goes_to, strict=True):
            writers[names[number]].write(row)
        return {name: writer.output(folder) for name, writer in writers.items()}
    finally:
        for writer in writers.values():
            writer.__exit__()
