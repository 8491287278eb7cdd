"""What is wrong with a text that is needed, and with a whole data file: the `InvalidData` that names its place.

Knows wording and places; knows nothing of files, templates or tokens.
"""

from tunesmith.errors import InvalidData, Problem
from tunesmith.row_problem import RowProblem


class EmptyText(RowProblem):
    """A text that is needed is empty."""


class BadAnswer(RowProblem):
    """The row itself says that its answer is a bad one, so that learning it would teach the opposite."""


def no_answer(where: str, text: str) -> EmptyText:
    """The problem of an answer that is empty, or what tables write where nothing is."""
    state = f"`{text.strip()}`, which tables write where nothing is" if text.strip() else "empty"
    return EmptyText(f"`{where}` is {state}: an answer needs text.", "Write the answer or remove the row.")


def bad_file(place: str, message: str, hint: str) -> InvalidData:
    """The whole file is of no use; `place` is its name, or its name with a line."""
    return InvalidData(message, hint=hint, problems=[Problem(field=place, message=message, hint=hint)])
