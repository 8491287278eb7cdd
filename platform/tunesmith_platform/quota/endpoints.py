"""Quotas over HTTP."""

from typing import Annotated, Protocol

from fastapi import APIRouter, Depends, Header, Path, Query, Response, status

from tunesmith import views
from tunesmith_platform import examples
from tunesmith_platform.http import (
    AdminScopeDep,
    After,
    AfterNumber,
    Limit,
    ScopeDep,
    answers,
    made_or_found,
    say_made,
    services_of,
)
from tunesmith_platform.quota.service import NewGrant, QuotaChange, QuotaService
from tunesmith_platform.routing import ApiRoute

router = APIRouter(tags=["quota"], route_class=ApiRoute)


class Services(Protocol):
    """The parts that these endpoints ask."""

    quota: QuotaService


ServicesDep = Annotated[Services, Depends(services_of)]

Project = Annotated[
    str, Path(description="The project's name.", min_length=1, max_length=120, pattern=r"^[^\x00-\x1f/\\]+$")
]


@router.get(
    "/quota", response_model=views.Page[views.QuotaView], responses=answers(examples.QUOTAS, 401, 422)
)
def list_quotas(
    services: ServicesDep,
    scope: ScopeDep,
    after: After = None,
    limit: Limit = 50,
) -> views.Page[views.QuotaView]:
    """List the projects that have a training quota, by name."""
    return services.quota.page(scope, after, limit)


@router.get("/quota/{project}", response_model=views.QuotaView, responses=answers(examples.QUOTA, 401, 422))
def show_quota(project: Project, services: ServicesDep, scope: ScopeDep) -> views.QuotaView:
    """Show a project's training quota: granted, charged, held for tasks, and available."""
    return services.quota.get(scope, project)


@router.put(
    "/quota/{project}",
    response_model=views.QuotaView,
    responses=answers(examples.QUOTA, 401, 403, 422),
)
def change_quota(
    project: Project,
    change: Annotated[QuotaChange, examples.quota_change_body()],
    services: ServicesDep,
    scope: AdminScopeDep,
) -> views.QuotaView:
    """Switch a project's quota on or off, or set the level it warns at. For administrators.

    On, it holds for the tasks that are submitted from then on.
    """
    return services.quota.change(scope, project, change)


@router.get(
    "/quota/{project}/history",
    response_model=views.Page[views.QuotaEntryView],
    responses=answers(examples.QUOTA_ENTRIES, 401, 422),
)
def quota_history(
    project: Project,
    services: ServicesDep,
    scope: ScopeDep,
    task: Annotated[str | None, Query(max_length=40, description="Only this task's entries.")] = None,
    after: AfterNumber = None,
    limit: Limit = 100,
) -> views.Page[views.QuotaEntryView]:
    """Read a project's quota ledger, newest first."""
    return services.quota.history(scope, project, task, after, limit)


@router.post(
    "/quota/{project}/grants",
    response_model=views.QuotaEntryView,
    status_code=status.HTTP_201_CREATED,
    responses=made_or_found(
        examples.QUOTA_ENTRIES.data[0],
        "The grant that this `Idempotency-Key` made before.",
        401,
        403,
        409,
        422,
    ),
)
def grant_quota(
    project: Project,
    new: Annotated[NewGrant, examples.grant_body()],
    response: Response,
    services: ServicesDep,
    scope: AdminScopeDep,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1, max_length=200, description="The same key and body again answer the same grant."
        ),
    ] = None,
) -> views.QuotaEntryView:
    """Grant a project so many checkpoints; a negative amount takes away. For administrators.

    Taking away stops no task at once: a task that is no longer covered saves, then stops, at its next checkpoint.
    """
    entry, made = services.quota.grant(scope, project, new, idempotency_key)
    say_made(response, made)
    return entry
