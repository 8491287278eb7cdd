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
