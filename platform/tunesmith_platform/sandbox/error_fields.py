"""Says which parameter an error belongs to. Shared by the API and its workers, so it knows nothing of either."""

import contextlib
from collections.abc import Iterator

from tunesmith.errors import InvalidInput, Problem


@contextlib.contextmanager
def at(place: str) -> Iterator[None]:
    """Put a place before that of every problem that is raised."""
    try:
        yield
    except InvalidInput as error:
        found = error.problems or [Problem(message=error.message, hint=error.hint)]
        error.problems = [
            problem.model_copy(update={"field": f"{place}: {problem.field}" if problem.field else place})
            for problem in found
        ]
        raise


@contextlib.contextmanager
def at_spec() -> Iterator[None]:
    """Say of every problem with a parameter that it is one of a task's, which are sent below `spec`."""
    try:
        yield
    except InvalidInput as error:
        error.problems = [
            problem.model_copy(update={"field": f"spec.{problem.field}"}) if problem.field else problem
            for problem in error.problems or [Problem(message=error.message, hint=error.hint)]
        ]
        raise
