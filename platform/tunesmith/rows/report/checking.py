"""Check a whole data file before anything runs, and name every bad row at once.

Knows files and what their rows hold; knows nothing of models. What a model's template refuses shows in
`tunesmith.rows.tokens.encoding`.
"""

from pathlib import Path

from pydantic import BaseModel, Field

from tunesmith.errors import InvalidData, Problem
from tunesmith.row_problem import RowProblem
from tunesmith.rows.files.reading import Format, RowFile
from tunesmith.rows.labels import MAX_CLASSES, sort_classes
from tunesmith.rows.shapes import Shape, Text

_CONVERSATION = Shape()


class FileFacts(BaseModel):
    """What a data file holds."""

    rows: int = Field(description="Rows that can be trained on.")
    bytes: int
    format: Format
    classes: tuple[str, ...] = Field(
        (), description="The classes of labelled rows, in the order of their numbers."
    )


def check_file(
    path: str | Path,
    max_problems: int = 20,
    shape: Shape = _CONVERSATION,
    allowed_bad_percent: float = 0.0,
) -> FileFacts:
    """Read every row of a file once.

    Raises:
        InvalidData: The file is of no use, or more of its rows are than may be left out: `problems` lists the first
            `max_problems` of them with place and cure, `details` has `bad_rows` and `rows`, the counts over the whole
            file.
    """
    file = RowFile(path)
    problems: list[Problem] = []
    classes: set[str] = set()
    rows = bad = 0
    for number, row in file.scan():
        rows += 1
        try:
            if isinstance(row, RowProblem):
                raise row
            sample = shape.read(row)
            if isinstance(sample, Text) and sample.label is not None and len(classes) <= MAX_CLASSES:
                classes.add(sample.label)
        except RowProblem as problem:
            bad += 1
            if len(problems) < max_problems:
                problems.append(problem.problem(file.place(number)))
    if bad and not (bad < rows and 100 * bad <= allowed_bad_percent * rows):
        first = problems[0] if problems else None
        subject = (
            f"{bad} of {rows} rows cannot be trained on" if rows > 1 else "The only row cannot be trained on"
        )
        raise InvalidData(
            f"{subject}. {first.field}: {first.message}" if first else f"{subject}.",
            hint=first.hint if first else None,
            problems=problems,
            details={"bad_rows": bad, "rows": rows},
        )
    return FileFacts(rows=rows - bad, bytes=file.bytes, format=file.format, classes=sort_classes(classes))
