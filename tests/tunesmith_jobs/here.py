"""Work that an evaluation hands out, done in this process at once: a stand-in for the cluster (`evaluate.fan.Fan`)."""

from collections.abc import Callable
from typing import Any


class Here:
    """Does what is handed out as it is handed out."""

    cpus, slots = 1.0, 1

    def submit(self, function: Callable[[dict[str, Any]], Any], order: dict[str, Any]) -> Any:
        """See `Fan`."""
        try:
            return (True, function(order | {"cpus": self.cpus}))
        except Exception as error:
            return (False, error)

    def done(self, handles: list[Any]) -> list[Any]:
        """See `Fan`."""
        return list(handles)

    def result(self, handle: Any) -> Any:
        """See `Fan`."""
        is_done, value = handle
        if not is_done:
            raise value
        return value

    def cancel(self, handles: list[Any]) -> None:
        """See `Fan`."""
