"""Browsers that come in."""

import datetime as dt
from typing import Any

from fastapi import Body

from tunesmith import views
from tunesmith.access import (
    CODE_SECONDS,
    AuditEntry,
    KeyView,
    MadeKey,
    MemberView,
    ProjectView,
    SessionView,
    SignInLink,
    SignInOptions,
    SignInProvider,
)
from tunesmith_platform.examples.common import TIME

SIGN_IN_LINK = SignInLink(
    url="http://127.0.0.1:8265/studio/#/enter/tsc-1nBv...",
    studio_url="http://127.0.0.1:8265/studio/",
    valid_seconds=CODE_SECONDS,
)
SIGN_IN_OPTIONS = SignInOptions(
    providers=[SignInProvider(name="Example", path="/v1/sign-in/oidc", sign_out="/v1/sign-in/oidc/sign-out")]
)
SESSION = SessionView(name="local", role="admin", expires_at=dt.datetime(2026, 12, 7, 9, tzinfo=dt.UTC))
KEYS = views.Page[KeyView](
    data=[
        KeyView(
            id="key-01kb9v6q2m8d4r7t1w",
            name="ann",
            role="member",
            projects=["search"],
            created_by="local",
            created_at=TIME,
            expires_at=TIME + dt.timedelta(days=90),
        )
    ],
    has_more=False,
)
MADE_KEY = MadeKey(key=KEYS.data[0], secret="ts-3nBv...")  # noqa: S106
AUDIT = views.Page[AuditEntry](
    data=[
        AuditEntry(
            id=41,
            time=TIME,
            who="ann",
            role="member",
            key_id=KEYS.data[0].id,
            action="stop_task",
            subject="task-01kb9v6q2m8d4r7t1w",
            request_id="req_5f1c2d3e4b5a69788796a5b4",
            address="10.0.0.7",
        )
    ],
    has_more=False,
)
PROJECTS = views.Page[ProjectView](
    data=[
        ProjectView(
            name="search",
            description="Ranking of answers",
            created_by="local",
            created_at=TIME,
            members=[MemberView(name="ann", role="member")],
        )
    ],
    has_more=False,
)


def new_key_body() -> Any:
    """The body of a new key."""
    return Body(
        openapi_examples={
            "member": {
                "summary": "Somebody who works in one project",
                "value": {"name": "ann", "role": "member", "projects": ["default"]},
            },
            "own": {"summary": "One of one's own that only reads", "value": {"role": "viewer"}},
        }
    )


def new_project_body() -> Any:
    """The body of a new project."""
    return Body(
        openapi_examples={
            "new": {"summary": "A project", "value": {"name": "search", "description": "Ranking of answers"}}
        }
    )
