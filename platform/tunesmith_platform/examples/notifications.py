"""Webhooks and deliveries."""

from typing import Any

from fastapi import Body

from tunesmith import views
from tunesmith.notifications import AddedWebhook, DeliveryState, DeliveryView, NoticeEvent, WebhookView
from tunesmith_platform.examples.common import TASK_ID, TIME

ADDED_WEBHOOK = AddedWebhook(
    id="hook-01k9xq7c2m5d8e4f9g",
    url="https://hooks.example.com/tunesmith",
    events=[NoticeEvent.FINISHED, NoticeEvent.FAILED],
    by="local",
    created_at=TIME,
    secret="whsec_" + "9f2b" * 16,
)
WEBHOOKS = views.Page[WebhookView](
    data=[WebhookView.model_validate(ADDED_WEBHOOK.model_dump())], has_more=False
)
DELIVERY = DeliveryView(
    id=7,
    receiver=ADDED_WEBHOOK.id,
    event=NoticeEvent.FAILED,
    task_id=TASK_ID,
    state=DeliveryState.DELIVERED,
    tries=1,
    status=200,
    payload={"event": "failed", "text": "Task ember has failed.", "task": {"id": TASK_ID, "name": "ember"}},
    created_at=TIME,
    ended_at=TIME,
)
DELIVERIES = views.Page[DeliveryView](data=[DELIVERY], has_more=False)


def new_webhook_body() -> Any:
    """The body of a new webhook."""
    return Body(
        openapi_examples={
            "all": {"summary": "Everything", "value": {"url": "https://hooks.example.com/tunesmith"}},
            "failures": {
                "summary": "Failures of one project",
                "value": {"url": "https://hooks.example.com/t", "project": "default", "events": ["failed"]},
            },
        }
    )
