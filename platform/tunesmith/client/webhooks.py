"""Webhooks and the delivery log, from Python: `client.webhooks`. Knows their endpoints and views; knows no HTTP."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from tunesmith import views
from tunesmith.client.transport import Transport, not_understood
from tunesmith.errors import InvalidInput, NotFound, TunesmithError
from tunesmith.notifications import AddedWebhook, DeliveryView, NoticeEvent, WebhookView

View = TypeVar("View", bound=BaseModel)
_Errors = list[TunesmithError]  # inside the class, `list` is its own method


class Webhooks:
    """`client.webhooks`: every call on webhooks and deliveries. All need an administrator's key."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def add(
        self,
        url: str,
        *,
        project: str | None = None,
        events: Sequence[NoticeEvent | str] | None = None,
    ) -> AddedWebhook:
        """Add a webhook.

        Args:
            url: Where to post to.
            project: Only this project's tasks.
            events: What to notify of; everything if not given.

        Returns:
            The webhook with the secret that checks its signatures (`tunesmith.notifications.verify`): it is shown
            here alone.

        Raises:
            InvalidInput: The URL is none that may be posted to.
        """
        body: dict[str, Any] = {"url": url, "project": project}
        if events is not None:
            body["events"] = [str(event) for event in events]
        return self._view(
            AddedWebhook, self._transport.call("POST", "/v1/webhooks", body=body, repeats=False)
        )

    def list(self) -> Iterator[WebhookView]:
        """Every webhook, oldest first."""
        return self._pages(WebhookView, "/v1/webhooks", {"limit": 100, "after": None})

    def remove(self, webhook_id: str) -> None:
        """Remove a webhook with its delivery log.

        Raises:
            NotFound: There is none with this id.
        """
        repeats: _Errors = []
        try:
            self._transport.call("DELETE", _path(webhook_id), on_retry=repeats.append)
        except NotFound:
            if not repeats:  # else the first try removed it, and only its answer was lost
                raise

    def deliveries(self, receiver: str | None = None) -> Iterator[DeliveryView]:
        """The delivery log, newest first, page by page as it is read.

        Args:
            receiver: Only this webhook's; `email` for mails.
        """
        return self._pages(
            DeliveryView, "/v1/deliveries", {"receiver": receiver, "limit": 500, "after": None}
        )

    def deliveries_page(
        self, receiver: str | None = None, limit: int = 100, after: str | None = None
    ) -> views.Page[DeliveryView]:
        """One page of the delivery log, newest first; go on with `after=<next>`."""
        query = {"receiver": receiver, "limit": limit, "after": after}
        return self._view(
            views.Page[DeliveryView], self._transport.call("GET", "/v1/deliveries", query=query)
        )

    def test(self, receiver: str) -> DeliveryView:
        """Send a test to a webhook, or by mail (`email`), and say how it went."""
        return self._view(
            DeliveryView, self._transport.call("POST", f"{_path(receiver)}:test", repeats=False)
        )

    def _pages(self, view: type[View], path: str, query: dict[str, Any]) -> Iterator[View]:
        while True:
            page = self._view(views.Page[Any], self._transport.call("GET", path, query=query))
            yield from (self._view(view, item) for item in page.data)
            if not page.has_more or page.next is None:
                return
            query["after"] = page.next

    def _view(self, view: type[View], raw: Any) -> View:
        try:
            return view.model_validate(raw)
        except ValidationError as error:
            raise not_understood(self._transport.url) from error


def _path(webhook_id: str) -> str:
    if webhook_id in {"", ".", ".."}:  # these would lead to another endpoint
        raise InvalidInput("A webhook's id is needed.", hint="`tunesmith webhooks list` shows them.")
    return f"/v1/webhooks/{quote(webhook_id, safe='')}"
