"""Notifications: the shapes of webhooks and deliveries, and the signature that a webhook's receiver checks.

Every delivery carries `X-Tunesmith-Signature: t=<unix seconds>,v1=<hex>`, where `v1` is the HMAC-SHA256, under the
webhook's secret, of `<t>.<body>`. A receiver calls `verify`, and answers a `2xx` within ten seconds. A delivery may
come twice: `X-Tunesmith-Delivery` is the same then.
"""

import datetime as dt
import hashlib
import hmac
import time
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.language import Language
from tunesmith.spec.given import Given

SIGNATURE_HEADER = "X-Tunesmith-Signature"
DELIVERY_HEADER = "X-Tunesmith-Delivery"
EVENT_HEADER = "X-Tunesmith-Event"
EMAIL = "email"
"""The receiver of deliveries that are mails."""


class NoticeEvent(StrEnum):
    """What is notified of."""

    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    QUOTA_LOW = "quota_low"
    WARNING = "warning"
    TEST = "test"


WARNINGS = ("loss_spike", "overfitting", "stall", "restart", "numeric", "zero_gradient", "smaller_batches")
"""The codes of the warnings that are notified of. Mails leave them out: they say how tasks end."""
EVERYTHING: tuple[NoticeEvent, ...] = tuple(event for event in NoticeEvent if event != "test")
"""What a webhook hears of unless it asks for less."""


class DeliveryState(StrEnum):
    """How far a delivery is."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class NewWebhook(Given):
    """A webhook to add."""

    url: str = Field(
        min_length=8,
        max_length=2000,
        description="Where to post to: http or https. A part of it that is a secret is named: `${env.NAME}`.",
    )
    project: str | None = Field(None, min_length=1, max_length=120, description="Only this project's tasks.")
    events: list[NoticeEvent] = Field(
        default_factory=lambda: [*EVERYTHING],
        min_length=1,
        description="What to notify of.",
    )
    language: Language = Field(Language.EN, description="The language of its texts: `en` or `zh`.")


class _View(BaseModel):
    model_config = ConfigDict(extra="ignore")


class WebhookView(_View):
    """A webhook. Its secret shows once, when it is added."""

    id: str
    url: str
    project: str | None = Field(None, description="Only this project's tasks; null for all.")
    events: list[NoticeEvent]
    language: Language = Language.EN
    by: str = Field(description="Whose key added it.")
    created_at: dt.datetime


class AddedWebhook(WebhookView):
    """A webhook that was just added, with its secret: it is shown here and nowhere else."""

    secret: str = Field(description="Checks the signature of what is posted.")


class DeliveryView(_View):
    """One notification on its way to one receiver."""

    id: int
    receiver: str = Field(description="A webhook's id, or `email`.")
    event: NoticeEvent
    task_id: str | None = None
    state: DeliveryState
    tries: int
    status: int | None = Field(None, description="The HTTP status of the last try.")
    message: str = Field("", description="Why the last try failed.")
    sent_to: str = Field(
        "",
        description="Where the last try went: the address and port that it was posted to, or a mail's receivers.",
    )
    payload: dict[str, Any]
    created_at: dt.datetime
    next_at: dt.datetime | None = Field(None, description="When it is tried again.")
    ended_at: dt.datetime | None = None


def sign(secret: str, body: bytes, moment: int | None = None) -> str:
    """The signature of a body.

    Args:
        secret: The webhook's.
        body: As it travels.
        moment: Unix seconds; now if not given.
    """
    stamp = int(time.time()) if moment is None else moment
    digest = hmac.new(secret.encode(), b"%d." % stamp + body, hashlib.sha256).hexdigest()
    return f"t={stamp},v1={digest}"


def verify(secret: str, body: bytes, signature: str, *, tolerance_seconds: float = 300) -> bool:
    """Whether a body comes from the platform, and lately.

    Args:
        secret: The webhook's.
        body: As it arrived.
        signature: The header `X-Tunesmith-Signature`.
        tolerance_seconds: How old it may be; an older one may be a recording.
    """
    parts = dict(part.strip().partition("=")[::2] for part in signature.split(","))
    stamp = parts.get("t", "")
    if not (stamp.isascii() and stamp.isdecimal() and len(stamp) < 15):
        return False
    is_fresh = abs(time.time() - int(stamp)) <= tolerance_seconds
    expected = sign(secret, body, int(stamp)).partition("v1=")[2]
    return hmac.compare_digest(expected.encode(), parts.get("v1", "").encode()) and is_fresh
