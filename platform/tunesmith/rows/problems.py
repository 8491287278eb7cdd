"""How a bad row or a bad data file is said: the row's own error, and the `InvalidData` that names its place.

Knows wording and places; knows nothing of files, templates or tokens.
"""

from tunesmith.errors import InvalidData, Problem


class RowProblem(ValueError):
    """One row cannot be trained on. The reader of the file adds the place."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.excerpt = ""
        """How the row begins, where it is no JSON object."""

    def at(self, place: str) -> InvalidData:
        """The error for a user, with the row's place (`train.jsonl:17`)."""
        return InvalidData(f"{place}: {self.message}", hint=self.hint, problems=[self.problem(place)])

    def problem(self, place: str) -> Problem:
        """One entry in a list of problems."""
        return Problem(field=place, message=self.message, hint=self.hint)


class EmptyText(RowProblem):
    """A text that is needed is empty."""


def bad_file(place: str, message: str, hint: str) -> InvalidData:
    """The whole file is of no use; `place` is its name, or its name with a line."""
    return InvalidData(message, hint=hint, problems=[Problem(field=place, message=message, hint=hint)])
