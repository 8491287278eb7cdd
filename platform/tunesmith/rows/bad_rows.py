"""The bad rows of a data file under a policy: refused, or left out up to a share of the rows; each cause told once.

Knows counts and places; knows nothing of what makes a row bad.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tunesmith.dataset_views import Example, Reason
from tunesmith.errors import InvalidData, Problem
from tunesmith.row_problem import RowProblem
from tunesmith.rows.report.excerpts import beginning_of, kind_of_reason

SHOWN = 3
"""So many rows are shown of a cause."""
_MOST_CAUSES = 30
ENOUGH = 1000
"""So many bad rows tell what is wrong with a file none of whose rows may be bad."""


@dataclass
class _Cause:
    """One thing that is wrong with many rows."""

    message: str
    """Of the first one."""
    hint: str | None
    count: int = 0
    examples: list[Example] = field(default_factory=list)


class Causes:
    """Why rows are bad: each cause with its count and its first rows."""

    def __init__(self) -> None:
        self.count = 0
        self._found: dict[str, _Cause] = {}

    def note(self, place: str, problem: RowProblem, row: Any = None) -> None:
        """Count a bad row.

        Args:
            place: Where it is.
            problem: What is wrong.
            row: What it holds, where it could be read.
        """
        self.count += 1
        kind = kind_of_reason(problem.message)
        cause = self._found.get(kind)
        if cause is None:
            if len(self._found) >= _MOST_CAUSES:
                return
            cause = self._found[kind] = _Cause(problem.message, problem.hint)
        cause.count += 1
        if len(cause.examples) < SHOWN:
            excerpt = beginning_of(row) if isinstance(row, dict) else problem.excerpt
            cause.examples.append(Example(place=place, excerpt=excerpt))

    def _sorted(self) -> list[tuple[str, _Cause]]:
        return sorted(self._found.items(), key=lambda item: -item[1].count)

    def problems(self) -> list[Problem]:
        """Each cause as one problem, at the place of its first row, the commonest first."""
        return [
            Problem(field=cause.examples[0].place, message=_told(cause), hint=cause.hint)
            for _, cause in self._sorted()
        ]

    def reasons(self) -> list[Reason]:
        """The same, for a report."""
        return [
            Reason(
                name=kind, count=cause.count, message=cause.message, hint=cause.hint, examples=cause.examples
            )
            for kind, cause in self._sorted()
        ]


def _told(cause: _Cause) -> str:
    if cause.count == 1:
        return cause.message
    rows = ", ".join(one.in_words() for one in cause.examples)
    more = ", ..." if cause.count > len(cause.examples) else ""
    return f"{cause.message} In {cause.count} rows: {rows}{more}"


class BadRows:
    """Counts the rows of one file that cannot be trained on.

    Args:
        place: Where the row with a number is.
        allowed_percent: The share of the rows that may be left out; 0 refuses the file.
        enough: Where none may be left out: after so many bad rows nothing more is read. More than one tells how common
            a cause is, and `check` must be called at the end.
    """

    def __init__(self, place: Callable[[int], str], allowed_percent: float = 0.0, enough: int = 1) -> None:
        self._place, self._allowed, self._enough = place, allowed_percent, enough
        self._causes = Causes()

    @property
    def count(self) -> int:
        """How many there are."""
        return self._causes.count

    @property
    def first(self) -> list[Problem]:
        """Each cause once, with its count and its first rows."""
        return self._causes.problems()

    def note(self, number: int, problem: RowProblem, row: Any = None) -> None:
        """Count a bad row.

        Raises:
            InvalidData: None may be left out, and enough were seen.
        """
        if not self._allowed and self._enough == 1:
            raise problem.at(self._place(number))
        self._causes.note(self._place(number), problem, row)
        if not self._allowed and self.count >= self._enough:
            raise self._error(
                f"The first {self.count} bad rows were looked at, which cannot be trained on.", number
            )

    def check(self, rows: int) -> None:
        """Whether what was left out is within the policy.

        Args:
            rows: How many rows were read, bad ones included.

        Raises:
            InvalidData: Too many of them are bad, or all are; names each cause with its count and first rows.
        """
        if not self.count or (self.count < rows and 100 * self.count <= self._allowed * rows):
            return
        if rows == 1:
            message = "The only row cannot be trained on."
        elif not self._allowed:
            message = f"{self.count} of {rows} rows cannot be trained on."
        elif self.count < rows:
            message = (
                f"{self.count} of {rows} rows cannot be trained on, and `allowed_bad_percent` allows "
                f"{self._allowed:g} %."
            )
        else:
            message = f"{self.count} of {rows} rows cannot be trained on, so that nothing is left."
        raise self._error(message, rows)

    def _error(self, subject: str, rows: int) -> InvalidData:
        problems = self.first
        first = problems[0]
        return InvalidData(
            f"{subject} {first.field}: {first.message}",
            hint=first.hint or "`tunesmith data validate` lists them.",
            problems=problems,
            details={"bad_rows": self.count, "rows": rows},
        )
