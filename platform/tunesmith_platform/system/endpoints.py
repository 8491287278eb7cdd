"""The platform itself over HTTP."""

from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, Field

from tunesmith import views
from tunesmith.environment import Environment
from tunesmith.errors import DatabaseBusy, NotFound, NotWell
from tunesmith.limits import MAX_COUNT
from tunesmith.schema import form_schema
from tunesmith.spec.kinds import kinds
from tunesmith_platform import examples
from tunesmith_platform.http import AdminScopeDep, ScopeDep, answers, services_of
from tunesmith_platform.routing import ApiRoute, worded
from tunesmith_platform.system.environment import EnvironmentService
from tunesmith_platform.system.folders import FolderView, LoraFileView
from tunesmith_platform.system.service import SystemService
from tunesmith_platform.tasks.service import TaskService

router = APIRouter(tags=["system"], route_class=ApiRoute)


class Services(Protocol):
    """The parts that these endpoints ask."""

    tasks: TaskService
    environment: EnvironmentService
    system: SystemService


ServicesDep = Annotated[Services, Depends(services_of)]
health = APIRouter(tags=["system"], route_class=ApiRoute)
_READY_SECONDS = 2.0


class Alive(BaseModel):
    """The answer of a server that is up."""

    status: Literal["ok"] = "ok"
    notice: str | None = Field(
        None, description="What to do before long: the database was migrated by another version meanwhile."
    )


@health.get("/healthz", response_model=Alive, response_model_exclude_none=True, responses=answers(Alive()))
async def healthz(request: Request) -> Alive:
    """Say that the server is up and its background loops do their work. Needs no key, and asks nobody.

    A server whose database a newer version has migrated goes on, and says so in `notice`. 503 names each loop that has
    ended or stands still, in `details.loops`; it is being started again.
    """
    # A coroutine: threads may all be waiting for the database.
    unwell: dict[str, str] = request.app.state.loops.unwell()
    if unwell:
        words = "; ".join(f"`{name}` {trouble}" for name, trouble in unwell.items())
        raise NotWell(
            f"A background loop does not do its work: {words}.",
            hint="It is started again by itself; `tunesmith logs api` says why it ended.",
            details={"loops": unwell},
        )
    services: Services = request.app.state.services
    return Alive(notice=services.system.schema_notice or None)


@health.get("/livez", response_model=Alive, response_model_exclude_none=True, responses=answers(Alive()))
async def livez() -> Alive:
    """Say that the process answers. Needs no key, and asks nobody: who gets no answer may end it and start another.

    A database that is away, or a loop that is being started again, is no reason to: `/readyz` and `/healthz` say so.
    """
    return Alive()


@health.get("/readyz", response_model=Alive, response_model_exclude_none=True, responses=answers(Alive()))
async def readyz(request: Request) -> Alive:
    """Say whether calls may be sent here. Needs no key; 503 while the database does not answer within two seconds."""
    services: Services = request.app.state.services
    if await request.app.state.database_look.answers(_READY_SECONDS):
        return Alive(notice=services.system.schema_notice or None)
    raise DatabaseBusy(
        "The database does not answer.",
        hint="This server takes calls again as soon as it does; nothing was stored.",
    )


@router.get("/system", response_model=views.SystemView, responses=answers(examples.SYSTEM, 401))
@worded
def system(services: ServicesDep, scope: ScopeDep) -> views.SystemView:
    """Show the platform's parts, limits and counts."""
    return services.system.view(scope)


@router.post(
    "/system/mlflow-link",
    response_model=views.MlflowLink,
    responses=answers(examples.MLFLOW_LINK, 401, 403, 404, 422),
)
def mlflow_link(
    services: ServicesDep,
    scope: AdminScopeDep,
    task_id: Annotated[
        str | None,
        Query(
            min_length=3,
            max_length=40,
            pattern=r"^[a-z]+-[0-9a-z]+$",
            description="The task whose run it shows.",
        ),
    ] = None,
) -> views.MlflowLink:
    """Make a link that lets one browser into MLflow, once, within a minute. For administrators.

    MLflow knows no projects: who is in it sees, and may delete, everybody's runs.
    """
    return services.system.mlflow_link(services.tasks.get(scope, task_id) if task_id else None)


@router.get(
    "/system/environment",
    response_model=Environment,
    responses=answers(examples.ENVIRONMENT, 401, 422),
)
@worded
def environment(
    services: ServicesDep,
    scope: ScopeDep,
    device: Annotated[
        Literal["auto", "cpu", "gpu"], Query(description="What the task would train on.")
    ] = "auto",
    disk_bytes: Annotated[
        int | None, Query(ge=0, le=MAX_COUNT, description="What the task would write, as its estimate says.")
    ] = None,
) -> Environment:
    """Check what a task needs before it starts. A part that does not answer in time is said to, and holds up none."""
    return services.environment.examine(device, disk_bytes)


@router.get(
    "/system/folder", response_model=FolderView, responses=answers(examples.FOLDER, 401, 404, 409, 422)
)
def folder(
    services: ServicesDep,
    scope: ScopeDep,
    path: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=4096,
            description="Its absolute path; the allowed roots when none is given.",
        ),
    ] = None,
) -> FolderView:
    """List one of the folders that tasks may use: names and sizes of what a parameter may name."""
    return services.system.folder(path)


@router.get(
    "/system/lora-file", response_model=LoraFileView, responses=answers(examples.LORA_FILE, 401, 404, 422)
)
def lora_file(
    services: ServicesDep,
    scope: ScopeDep,
    path: Annotated[str, Query(min_length=1, max_length=4096, description="Its absolute path.")],
) -> LoraFileView:
    """Read a LoRA's file as a task would: a `LoraConfig` of peft as JSON or YAML, for `peft_config_path`."""
    return services.system.lora_file(path)


@router.get(
    "/schema/{kind}",
    responses=answers({"title": "TrainSpec", "type": "object", "properties": {}}, 401, 404, 422),
)
def schema_of_kind(
    kind: Annotated[str, Path(min_length=1, max_length=40, description="A kind of task.")], scope: ScopeDep
) -> dict[str, Any]:
    """JSON Schema of the parameters of a kind of task, with labels, groups, folds and visibility rules."""
    found = kinds().get(kind)
    if found is None:
        listed = ", ".join(f"`{name}`" for name in kinds())
        raise NotFound(f"There is no kind of task `{kind}`.", hint=f"There are {listed}.")
    return form_schema(found.spec)
