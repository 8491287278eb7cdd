"""A storage elsewhere that does not do what it is asked: told apart from a fault of this machine's disk, or of a user.

Knows what pyarrow raises; knows nothing of what is stored.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

_Kind = TypeVar("_Kind")


class StorageAway(OSError):
    """A storage elsewhere does not answer, or refuses: the same may succeed a little later."""


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        # Of this machine's files an error has a number; what pyarrow makes of a server's answer has none.
        if error.errno is not None or isinstance(error, StorageAway):
            raise
        raise StorageAway(str(error)) from error


def telling_away(kind: type[_Kind]) -> type[_Kind]:
    """Have every public method of a storage raise `StorageAway` where its server is why it fails."""
    for name, method in list(vars(kind).items()):
        if not name.startswith("_") and inspect.isfunction(method):
            setattr(kind, name, _told(method))
    return kind


def _told(method: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.isgeneratorfunction(method):

        @functools.wraps(method)
        def pieces(*given: Any, **named: Any) -> Iterator[Any]:
            with _telling():
                yield from method(*given, **named)

        return pieces

    @functools.wraps(method)
    def call(*given: Any, **named: Any) -> Any:
        with _telling():
            return method(*given, **named)

    return call
