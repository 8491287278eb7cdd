"""Packages over HTTP."""

from typing import Annotated, Protocol

from fastapi import APIRouter, Depends, Query
from fastapi import Path as InPath
from fastapi.responses import FileResponse

from tunesmith.limits import MAX_COUNT
from tunesmith.package_views import PackageView, WhichView
from tunesmith_platform import examples
from tunesmith_platform.http import ScopeDep, TaskId, answers, services_of
from tunesmith_platform.packaging.choosing import ChoosingService
from tunesmith_platform.packaging.service import PackagingService
from tunesmith_platform.routing import ApiRoute

router = APIRouter(tags=["packages"], route_class=ApiRoute)
FileName = Annotated[str, InPath(min_length=1, max_length=255, description="One of the package's files.")]


class Services(Protocol):
    """The parts that these endpoints ask."""

    packaging: PackagingService
    choosing: ChoosingService


ServicesDep = Annotated[Services, Depends(services_of)]


@router.get(
    "/tasks/{task_id}/package",
    response_model=PackageView,
    responses=answers(examples.PACKAGE, 401, 404, 422),
)
def package(task_id: TaskId, services: ServicesDep, scope: ScopeDep) -> PackageView:
    """Show the GGUF files that a task made: sizes, sums, and what was proven of each."""
    return services.packaging.view(scope, task_id)


@router.get(
    "/tasks/{task_id}/package/which",
    response_model=WhichView,
    responses=answers(examples.WHICH, 401, 404, 422),
)
def which_file(
    task_id: TaskId,
    services: ServicesDep,
    scope: ScopeDep,
    checkpoint: Annotated[int | None, Query(ge=0, le=MAX_COUNT, description="Files of this step.")] = None,
    limit: Annotated[
        int | None, Query(ge=1, le=MAX_COUNT, description="Of memory to run it, in bytes.")
    ] = None,
    context: Annotated[int, Query(ge=1, le=10**7, description="Tokens that it is to run at.")] = 4096,
) -> WhichView:
    """Show the files of a task's model beside each other, and which is the one for a machine.

    Of types that were not made, what a file would take. Recommended is the proven file closest to the model that fits.
    """
    return services.choosing.which(scope, task_id, checkpoint=checkpoint, limit=limit, context=context)


@router.get(
    "/tasks/{task_id}/package/files/{name}",
    response_class=FileResponse,
    responses=answers(None, 401, 404, 409, 422, 503)
    | {
        200: {
            "description": "The file; a part of it where `Range` asks for one, so that a download can be resumed.",
            "content": {"application/octet-stream": {"example": "GGUF..."}},
        }
    },
)
def package_file(task_id: TaskId, name: FileName, services: ServicesDep, scope: ScopeDep) -> FileResponse:
    """Download a file of a package: a GGUF file, its proof, a Modelfile, the card."""
    place = services.packaging.file(scope, task_id, name)
    return FileResponse(place, media_type="application/octet-stream", filename=name)
