"""Packages over HTTP."""

import datetime as dt
from typing import Annotated, Any, Protocol
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response, status
from fastapi import Path as InPath

from tunesmith.limits import MAX_COUNT
from tunesmith.package_views import PackageLinkView, PackageSummary, PackageView, PruneView, WhichView
from tunesmith.views import Page
from tunesmith_platform import examples
from tunesmith_platform.auth import Identity, Shown
from tunesmith_platform.clock import now
from tunesmith_platform.http import (
    SHOWN,
    After,
    Limit,
    ScopeDep,
    TaskId,
    answers,
    counting_wrong,
    identity_of,
    services_of,
)
from tunesmith_platform.packaging.choosing import ChoosingService
from tunesmith_platform.packaging.kept import KeptPackages
from tunesmith_platform.packaging.links import Links, NewLink
from tunesmith_platform.packaging.ranges import IfRange, Range, answer
from tunesmith_platform.packaging.retention import PruneWish, Rule
from tunesmith_platform.packaging.service import PackagingService
from tunesmith_platform.routing import ApiRoute, worded
from tunesmith_platform.settings import Settings

router = APIRouter(tags=["packages"], route_class=ApiRoute)
FileName = Annotated[str, InPath(min_length=1, max_length=255, description="One of the package's files.")]
_BYTES = {"application/octet-stream": {"example": "GGUF..."}}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file; `ETag` is its sha256.", "content": _BYTES},
    206: {"description": "The part that `Range` asks for, so that a download goes on.", "content": _BYTES},
    416: {
        "description": "The range begins behind the file's end.",
        "content": {"application/octet-stream": {"example": ""}},
    },
}


class Services(Protocol):
    """The parts that these endpoints ask."""

    packaging: PackagingService
    choosing: ChoosingService
    kept_packages: KeptPackages
    links: Links
    settings: Settings


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
    response_class=Response,
    responses=answers(None, 401, 404, 422, 503) | _FILE,
)
def package_file(
    task_id: TaskId,
    name: FileName,
    services: ServicesDep,
    scope: ScopeDep,
    range: Range = None,  # noqa: A002  (the header's name)
    if_range: IfRange = None,
) -> Response:
    """Download a file of a package: a GGUF file, its proof, a Modelfile, the card."""
    return answer(services.packaging.file(scope, task_id, name), range, if_range)


@router.post(
    "/tasks/{task_id}/package/links",
    response_model=PackageLinkView,
    status_code=status.HTTP_201_CREATED,
    responses=answers(examples.PACKAGE_LINK, 401, 404, 422, 503, status=201),
)
def link_package_file(
    task_id: TaskId,
    new: Annotated[NewLink, examples.package_link_body()],
    services: ServicesDep,
    scope: ScopeDep,
    identity: Annotated[Identity, Depends(identity_of)],
) -> PackageLinkView:
    """Make an address that hands one file to whoever has it, without a key, until it runs out.

    It counts no more once the API key that made it is gone.
    """
    file = services.packaging.file(scope, task_id, new.file)
    until = (now() + dt.timedelta(seconds=new.seconds)).replace(microsecond=0)
    token = services.links.token(identity, task_id, file.name, file.sha256, until)
    base = services.settings.public_url.rstrip("/")
    return PackageLinkView(
        url=f"{base}/v1/package-links/{token}/{quote(file.name, safe='')}",
        name=file.name,
        bytes=file.size,
        sha256=file.sha256,
        expires_at=until,
    )


@router.get(
    "/packages",
    response_model=Page[PackageSummary],
    responses=answers(examples.PACKAGES, 401, 422),
)
def list_packages(
    services: ServicesDep,
    scope: ScopeDep,
    of_task: Annotated[str | None, Query(max_length=40, description="Only those of this training.")] = None,
    after: After = None,
    limit: Limit = 50,
) -> Page[PackageSummary]:
    """List packages, the newest first: what each takes, whether it is pinned, when its files were removed."""
    return services.kept_packages.page(scope, of_task, after, limit)


@router.post(
    "/tasks/{task_id}/package:pin",
    response_model=PackageSummary,
    responses=answers(examples.PACKAGES.data[0], 401, 404, 422),
)
def pin_package(task_id: TaskId, services: ServicesDep, scope: ScopeDep) -> PackageSummary:
    """Let a package stay, whatever its age."""
    return services.kept_packages.pin(scope, task_id, is_pinned=True)


@router.post(
    "/tasks/{task_id}/package:unpin",
    response_model=PackageSummary,
    responses=answers(examples.PACKAGES.data[0], 401, 404, 422),
)
def unpin_package(task_id: TaskId, services: ServicesDep, scope: ScopeDep) -> PackageSummary:
    """Let a package go when the settings keep it no longer."""
    return services.kept_packages.pin(scope, task_id, is_pinned=False)


@router.post(
    "/packages:prune",
    response_model=PruneView,
    responses=answers(examples.PRUNED, 401, 422),
)
@worded
def prune_packages(
    wish: Annotated[PruneWish, examples.prune_body()], services: ServicesDep, scope: ScopeDep
) -> PruneView:
    """Remove packages that are kept no longer, or only say which these are. Pinned ones and those in use stay."""
    rule = services.kept_packages.rule()
    if wish.keep_last is not None or wish.keep_days is not None:
        rule = Rule(wish.keep_last or 0, wish.keep_days or 0)
    return services.kept_packages.prune(scope, rule, is_dry=wish.dry_run)


@router.get(
    "/package-links/{token}/{name}",
    response_class=Response,
    responses=answers(None, 401, 403, 404, 422, 503) | _FILE,
)
def linked_package_file(
    request: Request,
    token: Annotated[str, InPath(min_length=1, max_length=2000, description="What the address carries.")],
    name: FileName,
    services: ServicesDep,
    range: Range = None,  # noqa: A002  (the header's name)
    if_range: IfRange = None,
) -> Response:
    """Download the file that an address was made of. It needs no key: the address is signed."""
    with counting_wrong(request, "link", is_costly=True):  # each is held against every key
        named, identity = services.links.read(token, name)
    request.scope[SHOWN] = Shown(identity)
    file = services.packaging.file(identity.scope(), named.t, named.f, named.s)
    found = answer(file, range, if_range)
    found.headers["Referrer-Policy"] = "no-referrer"
    return found
