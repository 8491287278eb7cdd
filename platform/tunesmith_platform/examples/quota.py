"""Training quotas."""

from typing import Any

from fastapi import Body

from tunesmith import views
from tunesmith_platform.examples.common import TIME

QUOTA = views.QuotaView(
    project="default", enabled=True, low_threshold=5, granted=100, charged=12, reserved=6, available=82
)
QUOTAS = views.Page[views.QuotaView](data=[QUOTA], has_more=False)
QUOTA_ENTRIES = views.Page[views.QuotaEntryView](
    data=[
        views.QuotaEntryView(
            id=41,
            project="default",
            time=TIME,
            kind=views.QuotaKind.GRANT,
            amount=100,
            reserved=0,
            available=100,
            note="November",
            by="local",
        )
    ],
    has_more=False,
)


def quota_change_body() -> Any:
    """The body of a change of a quota."""
    return Body(
        openapi_examples={
            "enable": {"summary": "Switch it on", "value": {"enabled": True, "low_threshold": 5}}
        }
    )


def grant_body() -> Any:
    """The body of a grant."""
    return Body(
        openapi_examples={
            "grant": {"summary": "Grant 100", "value": {"amount": 100, "note": "November"}},
            "take": {"summary": "Take 10 away", "value": {"amount": -10}},
        }
    )
