"""The operations on data sets: rows in, rows out, each a stream.

Only `shuffle` and `select` of rows look at rows by their place, through a scratch file; nothing keeps rows in memory.
What is drawn is drawn by the seed: the same rows and the same seed give the same bytes. Knows rows; knows nothing of
jobs or pipelines.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.data_step import DataOutput
from tunesmith.errors import InvalidData
from tunesmith.removal import claim, lay, lies_in_own, remove_own, require_place, staged
from tunesmith.row_problem import RowProblem
from tunesmith.rows.files.decoding import Row
from tunesmith.spec.dataset import (
    ConcatSpec,
    DedupSpec,
    FilterSpec,
    MapSpec,
    MixSpec,
    SelectSpec,
    ShuffleSpec,
    SplitSpec,
)
from tunesmith.spec.expression import parse_condition
from tunesmith.spec.loading import LoadSpec
from tunesmith.spec.operation import OperationSpec
from tunesmith.spec.problems import did_you_mean
from tunesmith.spec.text_template import parse_filling
from tunesmith_jobs.data.duplicates import Seen, SeenNearly
from tunesmith_jobs.data.loading import DatasetSource
from tunesmith_jobs.data.meter import Meter, estimated_rows
from tunesmith_jobs.data.mixing import mixed
from tunesmith_jobs.data.table import Places, Table, Writer

DATA = "data"
"""The name of the output of what has only one."""


def run(
    spec: OperationSpec, folder: Path, meter: Meter | None = None, owner: str = "data"
) -> dict[str, DataOutput]:
    """Carry out an operation.

    Args:
        spec: Which, on what.
        folder: Where the rows go. It appears whole or not at all; the owner's own earlier one is replaced.
        meter: Counts the rows that go through.
        owner: Whose rows they are: the task.

    Returns:
        The outputs by their name: `data`, or the parts of a split.

    Raises:
        InvalidInput: What is given cannot be worked on.
        InvalidData: A row cannot, with its place.
        NotOurs: Something stands at the folder's place that the owner did not make.
    """
    # Where the platform gave the folder, what carries no mark in it is of an attempt from before there were marks.
    is_given = lies_in_own(folder)
    require_place(folder, owner, unfinished=is_given)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with staged(folder, owner) as part:
        claim(part, owner)
        work = _Work(part, meter or Meter())
        outputs = work.outputs(spec, folder)
        remove_own(work.scratch, owner)
        lay(part, folder, owner, unfinished=is_given)
    return outputs


class _Work:
    """One operation on its way: where scratch files go, and who counts.

    Args:
        part: The folder for the rows.
        meter: Counts the rows that go through.
    """

    def __init__(self, part: Path, meter: Meter) -> None:
        self._part = part
        self._meter = meter
        self.scratch = part / "scratch"
        self.scratch.mkdir()
        self._parts: list[int] = []

    def outputs(self, spec: OperationSpec, folder: Path) -> dict[str, DataOutput]:
        """Do the work; the outputs as they will lie in a folder."""
        self._meter.expect(_passes(spec) * estimated_rows(_files_of(spec)))
        if isinstance(spec, SplitSpec):
            return self._split(spec, folder)
        with Writer(self._part / f"{DATA}.jsonl") as writer:
            for row in self._rows(spec):
                writer.write(row)
            output = writer.output(folder)
            return {DATA: output.model_copy(update={"parts": list(self._parts)})}

    def _mixed(self, spec: MixSpec) -> Iterator[Row]:
        self._parts = [0] * len(spec.datasets)
        for source, row in mixed(spec):
            self._parts[source] += 1
            yield row

    def _rows(self, spec: OperationSpec) -> Iterator[Row]:
        match spec:
            case LoadSpec():
                return self._load(spec)
            case ConcatSpec(direction="vertical"):
                return self._meter.through(row for file in spec.datasets for row in Table(file))
            case ConcatSpec():
                return self._meter.through(_beside(spec))
            case SelectSpec(axis="rows"):
                return self._select_rows(spec)
            case SelectSpec():
                return _select_columns(spec, self._numbered(spec.dataset))
            case FilterSpec():
                return _filter(spec, self._numbered(spec.dataset))
            case MapSpec():
                return _map(spec, self._numbered(spec.dataset))
            case ShuffleSpec():
                return self._shuffled(Table(spec.dataset), spec.seed)
            case DedupSpec():
                return _dedup(spec, self._numbered(spec.dataset), self.scratch)
            case MixSpec():
                return self._meter.through(self._mixed(spec))
        raise AssertionError(f"{type(spec).__name__} is no operation")

    def _numbered(self, file: str) -> Iterator[tuple[str, Row]]:
        return self._meter.through(Table(file).numbered())

    def _load(self, spec: LoadSpec) -> Iterator[Row]:
        source = DatasetSource(spec, self.scratch)
        self._meter.expect((2 if spec.shuffle else 1) * source.about_rows())
        rows = source.rows()
        if spec.shuffle:
            return _thinned(self._shuffled(rows, spec.seed), spec.fraction)
        return _thinned(self._meter.through(rows), spec.fraction)

    def _shuffled(self, rows: Iterable[Row], seed: int) -> Iterator[Row]:
        places = Places(self._meter.through(rows), self.scratch / "rows")
        order = np.random.default_rng(seed).permutation(len(places)).tolist()
        return self._meter.through(places.take(order))

    def _select_rows(self, spec: SelectSpec) -> Iterator[Row]:
        wanted = spec.indices or []
        places = Places(self._meter.through(Table(spec.dataset)), self.scratch / "rows")
        if max(wanted) >= len(places):
            raise InvalidData(
                f"There is no row {max(wanted)}: there are {len(places)}, counted from 0.",
                hint="Leave it out.",
            )
        return places.take(wanted)

    def _split(self, spec: SplitSpec, folder: Path) -> dict[str, DataOutput]:
        """Each part keeps the order of the file. Counts are exact: what is drawn is which rows go where."""
        table = Table(spec.dataset)
        total = sum(1 for _ in self._meter.through(table))
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
        writers = {
            name: Writer(self._part / f"{name}.jsonl") for name in names if name == "train" or sizes[name]
        }
        try:
            for row, number in zip(self._meter.through(table), goes_to, strict=True):
                writers[names[number]].write(row)
            return {name: writer.output(folder) for name, writer in writers.items()}
        finally:
            for writer in writers.values():
                writer.__exit__()


def _files_of(spec: OperationSpec) -> list[str]:
    """The files whose rows go through; of what is loaded, its source knows."""
    given = getattr(spec, "dataset", None)
    return [given] if given is not None else list(getattr(spec, "datasets", []))


def _passes(spec: OperationSpec) -> int:
    """How often each row goes through."""
    return 2 if isinstance(spec, SplitSpec | ShuffleSpec) else 1


def _thinned(rows: Iterable[Row], fraction: float) -> Iterator[Row]:
    """A share of the rows, spread evenly, without knowing how many there are; at least the first one."""
    taken = 0
    for number, row in enumerate(rows, 1):
        if taken < max(1, int(number * fraction + 1e-9)):
            taken += 1
            yield row


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


def _select_columns(spec: SelectSpec, rows: Iterable[tuple[str, Row]]) -> Iterator[Row]:
    for place, row in rows:
        _need(spec.columns or [], row, place)
        yield {name: row[name] for name in spec.columns or []}


def _need(columns: Iterable[str], row: Row, place: str) -> None:
    for name in columns:
        if name not in row:
            meant = did_you_mean(name, list(row))
            hint = f"Did you mean `{meant}`?" if meant else f"It has {', '.join(f'`{key}`' for key in row)}."
            raise RowProblem(f"The row has no column `{name}`.", hint).at(place)


def _filter(spec: FilterSpec, rows: Iterable[tuple[str, Row]]) -> Iterator[Row]:
    condition = parse_condition(spec.condition)
    for place, row in rows:
        try:
            if condition.holds(row):
                yield row
        except RowProblem as problem:
            raise problem.at(place) from None


def _map(spec: MapSpec, rows: Iterable[tuple[str, Row]]) -> Iterator[Row]:
    filling = parse_filling(spec.template)
    removed = frozenset(spec.remove_columns) - {spec.output_column}
    for place, row in rows:
        _need(removed, row, place)
        try:
            text = filling.fill(row)
        except RowProblem as problem:
            raise problem.at(place) from None
        yield {name: value for name, value in row.items() if name not in removed} | {spec.output_column: text}


def _dedup(spec: DedupSpec, rows: Iterable[tuple[str, Row]], scratch: Path) -> Iterator[Row]:
    seen = SeenNearly(spec.threshold, scratch) if spec.near else Seen(scratch)
    for place, row in rows:
        if spec.columns is not None:
            _need(spec.columns, row, place)
        part: dict[str, Any] = row if spec.columns is None else {name: row[name] for name in spec.columns}
        if seen.is_new(part):
            yield row
