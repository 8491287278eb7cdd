"""Training quotas: what a project may save, what its tasks hold, and the ledger of both.

Knows the quota's endpoints and views; knows no HTTP.
"""

import secrets
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from tunesmith import views
from tunesmith.client.transport import Transport, not_understood
from tunesmith.errors import InvalidInput

View = TypeVar("View", bound=BaseModel)

DEFAULT_PROJECT = "default"


class Quota:
    """`client.quota`: every call on training quotas. Changes need an administrator's key."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def show(self, project: str = DEFAULT_PROJECT) -> views.QuotaView:
        """A project's quota; one that nobody has set is off and empty."""
        return self._view(views.QuotaView, self._transport.call("GET", _path(project)))

    def list(self) -> Iterator[views.QuotaView]:
        """Every project that has a quota, by name, page by page as they are read."""
        query: dict[str, Any] = {"limit": 500, "after": None}
        return self._pages(views.QuotaView, "/v1/quota", query)

    def change(
        self,
        project: str = DEFAULT_PROJECT,
        *,
        enabled: bool | None = None,
        low_threshold: int | None = None,
    ) -> views.QuotaView:
        """Switch a project's quota on or off, or set the level it warns at; what is None stays.

        Switched on, it holds for the tasks that are submitted from then on.

        Raises:
            Forbidden: The key is no administrator's.
        """
        change = {"enabled": enabled, "low_threshold": low_threshold}
        body = {name: value for name, value in change.items() if value is not None}
        return self._view(views.QuotaView, self._transport.call("PUT", _path(project), body=body))

    def grant(
        self,
        amount: int,
        project: str = DEFAULT_PROJECT,
        *,
        note: str = "",
        idempotency_key: str | None = None,
    ) -> views.QuotaEntryView:
        """Grant a project so many checkpoints.

        Args:
            amount: How many; negative takes away.
            project: Which project.
            note: What for.
            idempotency_key: The same key and body again answer the same grant. One is made when none is given,
                so that a repeat after a lost answer grants nothing twice.

        Raises:
            Forbidden: The key is no administrator's.
            IdempotencyConflict: The key was used with another body.
        """
        headers = {"Idempotency-Key": idempotency_key or secrets.token_urlsafe(18)}
        body = {"amount": amount, "note": note}
        raw = self._transport.call("POST", f"{_path(project)}/grants", body=body, headers=headers)
        return self._view(views.QuotaEntryView, raw)

    def history_page(
        self,
        project: str = DEFAULT_PROJECT,
        limit: int = 100,
        after: str | None = None,
        *,
        task: str | None = None,
    ) -> views.Page[views.QuotaEntryView]:
        """One page of a project's ledger, newest first; go on with `after=<next>`."""
        query = {"task": task, "after": after, "limit": limit}
        raw = self._transport.call("GET", f"{_path(project)}/history", query=query)
        return self._view(views.Page[views.QuotaEntryView], raw)

    def history(
        self, project: str = DEFAULT_PROJECT, *, task: str | None = None
    ) -> Iterator[views.QuotaEntryView]:
        """A project's ledger, newest first, page by page as it is read.

        Args:
            project: Whose.
            task: Only the entries of the task with this id.
        """
        query = {"task": task, "limit": 1000, "after": None}
        return self._pages(views.QuotaEntryView, f"{_path(project)}/history", query)

    def _pages(self, view: type[View], path: str, query: dict[str, Any]) -> Iterator[View]:
        while True:
            page = self._view(views.Page[Any], self._transport.call("GET", path, query=query))
            yield from (self._view(view, item) for item in page.data)
            if not page.has_more or page.next is None:
                return
            query["after"] = page.next

    def _view(self, view: type[View], raw: Mapping[str, Any]) -> View:
        try:
            return view.model_validate(raw)
        except ValidationError as error:
            raise not_understood(self._transport.url) from error


def _path(project: str) -> str:
    if project in {"", ".", ".."} or "/" in project:  # these would lead to another endpoint
        raise InvalidInput("A project's name is needed.", hint="`tunesmith quota list` shows those with one.")
    return f"/v1/quota/{quote(project, safe='')}"
