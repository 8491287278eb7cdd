"""The audit log over HTTP."""

from typing import Annotated, Protocol

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime

from tunesmith import views
from tunesmith.access import AuditEntry
from tunesmith_platform import examples
from tunesmith_platform.audit.repository import Wanted
from tunesmith_platform.audit.service import AuditService
from tunesmith_platform.http import AdminScopeDep, AfterNumber, Limit, answers, services_of
from tunesmith_platform.routing import ApiRoute

router = APIRouter(tags=["access"], route_class=ApiRoute)


class Services(Protocol):
    """The parts that these endpoints ask."""

    audit: AuditService


ServicesDep = Annotated[Services, Depends(services_of)]


def _wanted(
    who: Annotated[str | None, Query(max_length=80, description="Only what this name did.")] = None,
    action: Annotated[
        str | None, Query(max_length=80, description="Only this operation, such as `stop_task`.")
    ] = None,
    subject: Annotated[str | None, Query(max_length=300, description="Only what was done to this.")] = None,
    since: Annotated[
        AwareDatetime | None, Query(description="Only from this time on, with its zone.")
    ] = None,
    until: Annotated[AwareDatetime | None, Query(description="Only before this time, with its zone.")] = None,
) -> Wanted:
    return Wanted(who, action, subject, since, until)


@router.get("/audit", response_model=views.Page[AuditEntry], responses=answers(examples.AUDIT, 401, 403, 422))
def audit_log(
    services: ServicesDep,
    _scope: AdminScopeDep,
    wanted: Annotated[Wanted, Depends(_wanted)],
    after: AfterNumber = None,
    limit: Limit = 100,
) -> views.Page[AuditEntry]:
    """Read who did what to what, the newest first: each call that changed something. For administrators."""
    return services.audit.page(wanted, after, limit)
