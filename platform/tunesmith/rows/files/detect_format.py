"""What a data file is, from its first rows: its format, and what its rows hold. For a registry's list.

Knows files and shapes; which parameters will read the file is not known yet.
"""

from itertools import islice
from pathlib import Path

from pydantic import BaseModel, Field

from tunesmith.row_problem import RowProblem
from tunesmith.rows.columns import LABELS, TEXTS, named
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.shapes import shape_of
from tunesmith.spec.training import TrainSpec

_FIRST_ROWS = 20
_SHOWN = 50


class FileKind(BaseModel):
    """What a file is."""

    format: str
    packing: str | None = None
    kind: str = Field(
        description="`conversation`, `pair`, `text`, `labelled`, `preference`, `judged` where a column says which "
        "answers are good, or `unknown` where its columns must be named."
    )
    columns: list[str]


def recognise(path: Path) -> FileKind:
    """Look at a file's first rows.

    Raises:
        InvalidData: It is of no use as a whole, or none of its first rows can be read.
    """
    file = RowFile(path)
    rows = list(islice(file.scan(), _FIRST_ROWS))
    good = [row for _, row in rows if not isinstance(row, RowProblem)]
    if not good:
        number, first = rows[0]
        assert isinstance(first, RowProblem)
        raise first.at(file.place(number))
    columns = list(dict.fromkeys(str(name)[:80] for row in good for name in row))
    shape = shape_of(file, TrainSpec.read({"model_name_or_path": "-", "train_file": "-"}))
    kind: str = shape.kind
    if shape.is_preference:
        kind = "preference"
    elif shape.verdict:
        kind = "judged"
    elif kind == "conversation" and not shape.meaning(columns):
        kind = "labelled" if named(TEXTS, columns) and named(LABELS, columns) else "unknown"
    elif kind == "text" and named(LABELS, columns):
        kind = "labelled"
    return FileKind(format=file.format, packing=file.packing, kind=kind, columns=columns[:_SHOWN])
