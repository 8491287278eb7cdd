"""What is wrong with one row, in words: said by whatever reads, checks or changes rows.

Below the specs, whose conditions and templates say it, and below `rows`. Knows wording; knows nothing of files.
"""

from tunesmith.errors import InvalidData, Problem


class RowProblem(ValueError):
    """One row cannot be used as asked. The reader of the file adds the place."""

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
