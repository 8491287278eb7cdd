"""What the client's namespaces are made of: answers become views, pages become one list, names become paths.

Knows no endpoint and no HTTP.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from tunesmith import views
from tunesmith.client.transport import Transport, not_understood
from tunesmith.errors import Conflict, InvalidInput, NotFound, TunesmithError
from tunesmith.spec.problems import did_you_mean

View = TypeVar("View", bound=BaseModel)
_TASK_ID = re.compile(r"task-[0-9a-hjkmnp-tv-z]{18}")
_LONGEST_NAME = 120
_NEWEST = 100
"""Tasks among whose names one is looked for that was meant."""


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

    def _id(self, task: str) -> str:
        """The id of a task that is given by its id or its unique name; asks nobody where it is an id."""
        return task if _TASK_ID.fullmatch(task) else self._find(task).id

    def _meant(self, task: str) -> str:
        """What to do about a task that is not there: one of the newest may be called nearly so."""
        page = self._get(views.Page[Any], "/v1/tasks", {"limit": _NEWEST})
        names = [item["name"] for item in page.data if isinstance(item, dict) and item.get("name")]
        meant = did_you_mean(task, names)
        shows = "`tunesmith tasks list` shows them."
        return f"Did you mean `{meant}`? {shows}" if meant else shows

    def _path(self, task: str) -> str:
        """The path of a task that is given by its id or its unique name."""
        return task_path(self._id(task))

    def _find(self, task: str) -> views.TaskView:
        """A task by its id, or by its name when no other task has it.

        Raises:
            NotFound: There is none.
            Conflict: Several tasks have this name.
        """
        path = task_path(task)
        try:
            return self._get(views.TaskView, path)
        except (NotFound, InvalidInput) as error:  # a name may be no possible id
            if not task or len(task) > _LONGEST_NAME:
                raise
            page = self._pages(views.TaskView, "/v1/tasks", 200, {"name": task})
            named = [found for found in page if found.name == task]
            if not named:
                hint = self._meant(task)
                raise NotFound(f"There is no task `{task}`.", hint=hint) from error
        if len(named) > 1:
            newest = ", ".join(f"`{found.id}`" for found in named[:3])
            raise Conflict(
                f"{len(named)} tasks are named `{task}`.", hint=f"Use an id; the newest first: {newest}."
            )
        return self._get(views.TaskView, task_path(named[0].id))

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
