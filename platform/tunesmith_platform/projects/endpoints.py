"""Projects over HTTP."""

from typing import Annotated, Protocol

from fastapi import APIRouter, Depends, Path, status

from tunesmith import views
from tunesmith.access import NewProject, ProjectView
from tunesmith_platform import examples
from tunesmith_platform.http import AdminScopeDep, After, Limit, ScopeDep, answers, services_of
from tunesmith_platform.projects.service import ProjectService
from tunesmith_platform.routing import ApiRoute

router = APIRouter(tags=["access"], route_class=ApiRoute)


class Services(Protocol):
    """The parts that these endpoints ask."""

    projects: ProjectService


ServicesDep = Annotated[Services, Depends(services_of)]
_PATTERN = r"^[^\x00-\x1f/\\]+$"
Project = Annotated[
    str, Path(description="The project's name.", min_length=1, max_length=120, pattern=_PATTERN)
]
Member = Annotated[
    str,
    Path(description="Whose keys: the name that they have.", min_length=1, max_length=80, pattern=_PATTERN),
]


@router.get(
    "/projects", response_model=views.Page[ProjectView], responses=answers(examples.PROJECTS, 401, 422)
)
def list_projects(
    services: ServicesDep, scope: ScopeDep, after: After = None, limit: Limit = 100
) -> views.Page[ProjectView]:
    """List the projects that one works in, by name, with who else does."""
    return services.projects.page(scope, after, limit)


@router.post(
    "/projects",
    response_model=ProjectView,
    status_code=status.HTTP_201_CREATED,
    responses=answers(examples.PROJECTS.data[0], 401, 403, 409, 422, status=201),
)
def make_project(
    new: Annotated[NewProject, examples.new_project_body()], services: ServicesDep, scope: AdminScopeDep
) -> ProjectView:
    """Make a project. For administrators."""
    return services.projects.make(scope, new)


@router.get(
    "/projects/{project}",
    response_model=ProjectView,
    responses=answers(examples.PROJECTS.data[0], 401, 404, 422),
)
def show_project(project: Project, services: ServicesDep, scope: ScopeDep) -> ProjectView:
    """Show a project and who works in it."""
    return services.projects.get(scope, project)


@router.put(
    "/projects/{project}/members/{name}",
    response_model=ProjectView,
    responses=answers(examples.PROJECTS.data[0], 401, 403, 404, 422),
)
def add_member(project: Project, name: Member, services: ServicesDep, scope: AdminScopeDep) -> ProjectView:
    """Let a person's keys work in a project too. For administrators."""
    return services.projects.add(scope, project, name)


@router.delete(
    "/projects/{project}/members/{name}",
    response_model=ProjectView,
    responses=answers(examples.PROJECTS.data[0], 401, 403, 404, 422),
)
def remove_member(project: Project, name: Member, services: ServicesDep, scope: AdminScopeDep) -> ProjectView:
    """Let a person's keys work in a project no more; what they made there stays. For administrators."""
    return services.projects.remove(scope, project, name)
