"""Webhooks and the delivery log over HTTP. For administrators: whoever adds a webhook learns what every task does."""

from typing import Annotated, Protocol

from fastapi import APIRouter, Depends, Path, Query, status

from tunesmith import views
from tunesmith.notifications import AddedWebhook, DeliveryView, NewWebhook, WebhookView
from tunesmith_platform import examples
from tunesmith_platform.http import AdminScopeDep, After, AfterNumber, Limit, answers, services_of
from tunesmith_platform.notifications.service import NotificationService
from tunesmith_platform.routing import ApiRoute, worded

router = APIRouter(tags=["notifications"], route_class=ApiRoute)


class Services(Protocol):
    """The parts that these endpoints ask."""

    notifications: NotificationService


ServicesDep = Annotated[Services, Depends(services_of)]

WebhookId = Annotated[
    str, Path(description="The webhook's id.", min_length=3, max_length=40, pattern=r"^hook-[0-9a-z]+$")
]
Receiver = Annotated[
    str,
    Path(description="A webhook's id, or `email`.", max_length=40, pattern=r"^(hook-[0-9a-z]+|email)$"),
]


@router.get(
    "/webhooks",
    response_model=views.Page[WebhookView],
    responses=answers(examples.WEBHOOKS, 401, 403, 422),
)
def list_webhooks(
    services: ServicesDep,
    scope: AdminScopeDep,
    after: After = None,
    limit: Limit = 50,
) -> views.Page[WebhookView]:
    """List the webhooks, oldest first. For administrators."""
    return services.notifications.page(scope, after, limit)


@router.post(
    "/webhooks",
    response_model=AddedWebhook,
    status_code=status.HTTP_201_CREATED,
    responses=answers(examples.ADDED_WEBHOOK, 401, 403, 422, 429, status=201),
)
def add_webhook(
    new: Annotated[NewWebhook, examples.new_webhook_body()], services: ServicesDep, scope: AdminScopeDep
) -> AddedWebhook:
    """Add a webhook: what happens to tasks is posted to its URL, signed. For administrators.

    The answer has the secret that checks the signature; it is shown here alone.
    """
    return services.notifications.add(scope, new)


@router.delete(
    "/webhooks/{webhook_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=answers(None, 401, 403, 404, 422),
)
def remove_webhook(webhook_id: WebhookId, services: ServicesDep, scope: AdminScopeDep) -> None:
    """Remove a webhook with its delivery log. For administrators."""
    services.notifications.remove(scope, webhook_id)


@router.post(
    "/webhooks/{receiver}:test",
    response_model=DeliveryView,
    responses=answers(examples.DELIVERY, 401, 403, 404, 422),
)
@worded
def try_webhook(receiver: Receiver, services: ServicesDep, scope: AdminScopeDep) -> DeliveryView:
    """Send a test to a webhook, or by mail to those whom the settings name, and say how it went."""
    return services.notifications.test(scope, receiver)


@router.get(
    "/deliveries",
    response_model=views.Page[DeliveryView],
    responses=answers(examples.DELIVERIES, 401, 403, 404, 422),
)
@worded
def list_deliveries(
    services: ServicesDep,
    scope: AdminScopeDep,
    receiver: Annotated[
        str | None, Query(max_length=40, description="Only this webhook's; `email` for mails.")
    ] = None,
    after: AfterNumber = None,
    limit: Limit = 100,
) -> views.Page[DeliveryView]:
    """Read the delivery log, newest first. For administrators."""
    return services.notifications.deliveries(scope, receiver, after, limit)
