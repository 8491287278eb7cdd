"""Check a whole data file before anything runs, and name every bad row at once.

Knows files and what their rows hold; knows nothing of models. What a model's template refuses shows in
`tunesmith.rows.tokens.encoding`.
"""

from pathlib import Path

from pydantic import BaseModel, Field

from tunesmith.row_problem import RowProblem
from tunesmith.rows.bad_rows import BadRows
from tunesmith.rows.files.reading import Format, RowFile
from tunesmith.rows.labels import MAX_CLASSES, sort_classes
from tunesmith.rows.shapes import Shape, Text

_CONVERSATION = Shape()
_ALL = 2**62


class FileFacts(BaseModel):
    """What a data file holds."""

    rows: int = Field(description="Rows that can be trained on.")
    bytes: int
    format: Format
    classes: tuple[str, ...] = Field(
        (), description="The classes of labelled rows, in the order of their numbers."
    )


def check_file(path: str | Path, shape: Shape = _CONVERSATION, allowed_bad_percent: float = 0.0) -> FileFacts:
    """Read every row of a file once.

    Raises:
        InvalidData: The file is of no use, or more of its rows are than may be left out: `problems` lists each cause
            once, with its count, its first rows and the cure; `details` has `bad_rows` and `rows`, the counts over the
            whole file.
    """
    file = RowFile(path)
    bad = BadRows(file.place, allowed_bad_percent, enough=_ALL)
    classes: set[str] = set()
    rows = 0
    for number, row in file.scan():
        rows += 1
        try:
            if isinstance(row, RowProblem):
                raise row
            sample = shape.read(row)
            if isinstance(sample, Text) and sample.label is not None and len(classes) <= MAX_CLASSES:
                classes.add(sample.label)
        except RowProblem as problem:
            bad.note(number, problem, row)
    bad.check(rows)
    return FileFacts(
        rows=rows - bad.count, bytes=file.bytes, format=file.format, classes=sort_classes(classes)
    )
