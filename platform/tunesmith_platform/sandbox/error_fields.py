"""Says which parameter an error belongs to. Shared by the API and its workers, so it knows nothing of either."""

import contextlib
from collections.abc import Iterator

from tunesmith.errors import InvalidInput


@contextlib.contextmanager
def at(place: str) -> Iterator[None]:
    """Put a place before that of every problem that is raised."""
    try:
        yield
    except InvalidInput as error:
        error.problems = [problem.under(place, ": ") for problem in error.each_problem()]
        raise


@contextlib.contextmanager
def at_spec() -> Iterator[None]:
    """Say of every problem with a parameter that it is one of a task's, which are sent below `spec`, once."""
    try:
        yield
    except InvalidInput as error:
        error.problems = [
            problem.under("spec") if problem.field and not problem.field.startswith("spec.") else problem
            for problem in error.each_problem()
        ]
        raise
