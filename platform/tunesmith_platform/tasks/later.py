"""Names that are looked up once more later, by a loop that acts for whoever asked.

Such a loop sees one project, that of the work. So the name must mean something there when the work is sent, where its
sender can still be told. Knows scopes; knows nothing of what is looked for.
"""

from collections.abc import Callable
from typing import TypeVar

from tunesmith.errors import InvalidInput, TunesmithError
from tunesmith_platform.scope import Scope

_Found = TypeVar("_Found")


def look_as_later(scope: Scope, project: str | None, look: Callable[[Scope], _Found]) -> _Found:
    """What is found in the one project of the work.

    Args:
        scope: Who asks.
        project: Where the work belongs; the scope's own when None.
        look: Looks for it as a scope sees it. It may be called twice.

    Raises:
        InvalidInput: It is not there; where whoever asks sees it in another project, the error says so.
        Forbidden: The project is none of the scope's.
    """
    own = scope.within(project)
    try:
        return look(own)
    except InvalidInput as error:
        if own != scope and _is_found(look, scope):
            error.hint = (
                f"You see it in another project. What is begun in `{own.project}` goes on with what belongs to that "
                "project alone: begin it in the other one, as `project`, or bring a copy into this one."
            )
            error.problems = [one.model_copy(update={"hint": error.hint}) for one in error.each_problem()]
        raise


def _is_found(look: Callable[[Scope], object], scope: Scope) -> bool:
    try:
        look(scope)
    except TunesmithError:
        return False
    return True
