"""What the client's namespaces are made of: answers become views, pages become one list, names become paths.

Knows no endpoint and no HTTP.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from tunesmith import views
from tunesmith.client.transport import Transport, not_understood
from tunesmith.errors import InvalidInput, NotFound, TunesmithError

View = TypeVar("View", bound=BaseModel)


class Calls:
    """Base of every namespace."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _get(self, view: type[View], path: str, query: Mapping[str, Any] | None = None) -> View:
        return self._view(view, self._transport.call("GET", path, query=query))

    def _view(self, view: type[View], raw: Any) -> View:
        try:
            return view.model_validate(raw)
        except ValidationError as error:
            raise not_understood(self._transport.url) from error

    def _pages(
        self, view: type[View], path: str, limit: int, query: Mapping[str, Any] | None = None
    ) -> Iterator[View]:
        """Everything that a list holds, page by page as it is read."""
        after: str | None = None
        while True:
            page = self._get(views.Page[Any], path, {**(query or {}), "limit": limit, "after": after})
            yield from (self._view(view, item) for item in page.data)
            if not page.has_more or page.next is None:
                return
            after = page.next

    def _delete(self, path: str, query: Mapping[str, Any] | None = None) -> None:
        repeats: list[TunesmithError] = []
        try:
            self._transport.call("DELETE", path, query=query, on_retry=repeats.append)
        except NotFound:
            if not repeats:  # else the first try deleted it, and only its answer was lost
                raise


def path_of(place: str, name: str, *, what: str, shown_by: str, safe: str = "") -> str:
    """The path of one thing.

    Args:
        place: Where things of its kind lie.
        name: What it is named by.
        what: What is needed, in words, for who gave nothing.
        shown_by: The command that shows what there is.
        safe: Signs that stay as they are.

    Raises:
        InvalidInput: The name is empty, or would lead to another endpoint.
    """
    if name in {"", ".", ".."}:
        raise InvalidInput(f"{what} is needed.", hint=f"`{shown_by}` shows them.")
    return f"{place}/{quote(name, safe=safe)}"


def task_path(task_id: str) -> str:
    """The path of a task."""
    return path_of("/v1/tasks", task_id, what="A task's id or name", shown_by="tunesmith tasks list")
