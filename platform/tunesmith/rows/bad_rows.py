"""The bad rows of a data file under a policy: refused at the first one, or left out up to a share of the rows.

Knows counts and places; knows nothing of what makes a row bad.
"""

from collections.abc import Callable

from tunesmith.errors import InvalidData, Problem
from tunesmith.row_problem import RowProblem

SHOWN = 10
"""So many bad rows are named."""


class BadRows:
    """Counts the rows of one file that cannot be trained on.

    Args:
        place: Where the row with a number is.
        allowed_percent: The share of the rows that may be left out; 0 refuses the first bad row.
    """

    def __init__(self, place: Callable[[int], str], allowed_percent: float = 0.0) -> None:
        self._place, self._allowed = place, allowed_percent
        self.count = 0
        self.first: list[Problem] = []
        """The first of them."""

    def note(self, number: int, problem: RowProblem) -> None:
        """Count a bad row.

        Raises:
            InvalidData: None may be left out.
        """
        if not self._allowed:
            raise problem.at(self._place(number))
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(problem.problem(self._place(number)))

    def check(self, rows: int) -> None:
        """Whether what was left out is within the policy.

        Args:
            rows: How many rows were read, bad ones included.

        Raises:
            InvalidData: Too many of them are bad, or all are; names the first ones with their places.
        """
        if not self.count or (self.count < rows and 100 * self.count <= self._allowed * rows):
            return
        first = self.first[0]
        share = (
            f"more than the {self._allowed:g} % that `allowed_bad_percent` allows"
            if self.count < rows
            else "so that nothing is left"
        )
        raise InvalidData(
            f"{self.count} of {rows} rows cannot be trained on, {share}. {first.field}: {first.message}",
            hint="Mend them; `tunesmith data validate` lists them. " + (first.hint or ""),
            problems=self.first,
            details={"bad_rows": self.count, "rows": rows},
        )
