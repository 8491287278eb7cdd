"""Rows of several data sets as one: drawn by weights, each row at most once, in a shape that one file may hold.

Conversations are read row by row, whatever they are written as; a file of prompts and responses is read by its columns,
which another file may not have. So prompts and responses, and other tools' forms, become conversations where several
are mixed. Knows rows; knows nothing of jobs.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.errors import InvalidData
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.conversation import CONVERSATION_COLUMNS, as_row
from tunesmith.rows.files.decoding import Row
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.shapes import Shape, shape_of
from tunesmith.spec.dataset import MixSpec
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.data.table import Table

_DRAWS = 32
"""How many sources are drawn at once: in each such stretch the weights are kept to the row, in an order that the seed
draws. So a small data set is not off by chance when it ends in the middle of one."""
_FIRST_ROWS = 20
_WRITTEN_ANEW = ("pair", "form")
"""Kinds of rows that are read by the columns of their file."""


def mixed(spec: MixSpec) -> Iterator[tuple[int, Row]]:
    """The rows in the order in which they are drawn, each with the number of its data set.

    Raises:
        InvalidData: Plain texts and conversations are put together, or a file cannot be read.
    """
    shapes = _shapes(spec.datasets)
    limits = spec.limits or [0] * len(spec.datasets)
    sources = [
        islice(_rows(file, shape), limit or None)
        for file, shape, limit in zip(spec.datasets, shapes, limits, strict=True)
    ]
    weights = np.array(spec.weights or [1.0] * len(sources), dtype=float)
    draw = np.random.default_rng(spec.seed)
    left = list(range(len(sources)))
    owed = np.zeros(len(sources))
    while left:
        for choice in draw.permutation(_stretch(weights[left] / weights[left].sum(), owed, left)).tolist():
            row = next(sources[left[choice]], None)
            if row is not None:
                yield left[choice], row
                continue
            if spec.stop == "first_exhausted":
                return
            del left[choice]
            break


def _stretch(
    share: np.ndarray[Any, Any], owed: np.ndarray[Any, Any], left: list[int]
) -> np.ndarray[Any, Any]:
    """Which sources a stretch takes, by their place in `left`; `owed` carries what did not come out even."""
    owed[left] += share * _DRAWS
    counts = np.floor(owed[left]).astype(int).clip(0)
    while counts.sum() < _DRAWS:
        counts[np.argmax(owed[left] - counts)] += 1
    owed[left] -= counts
    return np.repeat(np.arange(len(left)), counts)


def _shapes(files: list[str]) -> list[Shape | None]:
    """How the rows of each file become conversations; None for one whose rows stay as they are."""
    found = [_kind(Path(file)) for file in files]
    kinds = {kind for kind, _ in found}
    if "text" in kinds and kinds & {"conversation", *_WRITTEN_ANEW}:
        text = files[[kind for kind, _ in found].index("text")]
        raise InvalidData(
            f"`{Path(text).name}` holds plain texts, and the others conversations: one training learns one of them.",
            hint="Train on them one after the other: texts with `training_type=pretrain`, then a new stage.",
        )
    columns = {
        (shape.prompt, shape.response, shape.system, shape.form)
        for kind, shape in found
        if kind in _WRITTEN_ANEW
    }
    is_one = len(columns) <= 1 and "conversation" not in kinds
    return [None if is_one or kind not in _WRITTEN_ANEW else shape for kind, shape in found]


def _kind(file: Path) -> tuple[str, Shape]:
    """What a file holds, as a training would read it."""
    opened = RowFile(file)
    rows = [row for _, row in islice(opened.scan(), _FIRST_ROWS) if not isinstance(row, RowProblem)]
    shape = shape_of(opened, TrainSpec(model_name_or_path="-", train_file="-"))
    if shape.form is not None:
        return "form", shape
    is_talk = any(column in row for row in rows for column in CONVERSATION_COLUMNS)
    return ("conversation" if is_talk else shape.kind if shape.kind != "conversation" else "other"), shape


def _rows(file: str, shape: Shape | None) -> Iterator[Row]:
    for row in Table(file):
        yield row if shape is None else _as_conversation(row, shape)


def _as_conversation(row: Row, shape: Shape) -> Row:
    """A row of another shape as messages; one that cannot be read stays, for the training to say so."""
    try:
        turns = shape.read(row)
    except RowProblem:
        return row
    assert isinstance(turns, list)
    return as_row(turns)
