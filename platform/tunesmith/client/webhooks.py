"""Webhooks and the delivery log, from Python: `client.webhooks`. Knows their endpoints and views; knows no HTTP."""

from collections.abc import Iterator, Sequence
from typing import Any

from tunesmith import views
from tunesmith.client.calls import Calls, path_of
from tunesmith.language import Language
from tunesmith.notifications import AddedWebhook, DeliveryView, NoticeEvent, WebhookView


class Webhooks(Calls):
    """`client.webhooks`: every call on webhooks and deliveries. All need an administrator's key."""

    def add(
        self,
        url: str,
        *,
        project: str | None = None,
        events: Sequence[NoticeEvent | str] | None = None,
        language: Language | str = Language.EN,
    ) -> AddedWebhook:
        """Add a webhook.

        Args:
            url: Where to post to.
            project: Only this project's tasks.
            events: What to notify of; everything if not given.
            language: Of its texts: `en` or `zh`.

        Returns:
            The webhook with the secret that checks its signatures (`tunesmith.notifications.verify`): it is shown
            here alone.

        Raises:
            InvalidInput: The URL is none that may be posted to.
        """
        body: dict[str, Any] = {"url": url, "project": project, "language": str(language)}
        if events is not None:
            body["events"] = [str(event) for event in events]
        return self._view(
            AddedWebhook, self._transport.call("POST", "/v1/webhooks", body=body, repeats=False)
        )

    def list(self) -> Iterator[WebhookView]:
        """Every webhook, oldest first."""
        return self._pages(WebhookView, "/v1/webhooks", 100)

    def remove(self, webhook_id: str) -> None:
        """Remove a webhook with its delivery log.

        Raises:
            NotFound: There is none with this id.
        """
        self._delete(_path(webhook_id))

    def deliveries(self, receiver: str | None = None) -> Iterator[DeliveryView]:
        """The delivery log, newest first, page by page as it is read.

        Args:
            receiver: Only this webhook's; `email` for mails.
        """
        return self._pages(DeliveryView, "/v1/deliveries", 500, {"receiver": receiver})

    def deliveries_page(
        self, receiver: str | None = None, limit: int = 100, after: str | None = None
    ) -> views.Page[DeliveryView]:
        """One page of the delivery log, newest first; go on with `after=<next>`."""
        query = {"receiver": receiver, "limit": limit, "after": after}
        return self._get(views.Page[DeliveryView], "/v1/deliveries", query)

    def test(self, receiver: str) -> DeliveryView:
        """Send a test to a webhook, or by mail (`email`), and say how it went."""
        return self._view(
            DeliveryView, self._transport.call("POST", f"{_path(receiver)}:test", repeats=False)
        )


def _path(webhook_id: str) -> str:
    return path_of("/v1/webhooks", webhook_id, what="A webhook's id", shown_by="tunesmith webhooks list")
