"""Checkpoints over HTTP."""

from typing import Annotated, Protocol

from fastapi import APIRouter, Depends, Path, Query, status

from tunesmith import views
from tunesmith.limits import MAX_COUNT
from tunesmith_platform import examples
from tunesmith_platform.checkpoints.service import CheckpointService
from tunesmith_platform.http import Limit, ScopeDep, TaskId, answers, services_of
from tunesmith_platform.routing import ApiRoute

router = APIRouter(tags=["checkpoints"], route_class=ApiRoute)


class Services(Protocol):
    """The parts that these endpoints ask."""

    checkpoints: CheckpointService


ServicesDep = Annotated[Services, Depends(services_of)]
Step = Annotated[int, Path(ge=0, le=MAX_COUNT, description="The checkpoint's step.")]


@router.get(
    "/tasks/{task_id}/checkpoints",
    response_model=views.Page[views.CheckpointView],
    responses=answers(examples.CHECKPOINTS, 401, 404, 422),
)
def checkpoints(
    task_id: TaskId,
    services: ServicesDep,
    scope: ScopeDep,
    after: Annotated[
        int | None, Query(ge=0, le=MAX_COUNT, description="Only checkpoints before this step.")
    ] = None,
    limit: Limit = 100,
) -> views.Page[views.CheckpointView]:
    """List a task's checkpoints, newest first. Listed means complete and verified."""
    return services.checkpoints.page(scope, task_id, after, limit)


@router.post(
    "/tasks/{task_id}/checkpoints:save",
    response_model=views.SaveRequestView,
    status_code=status.HTTP_202_ACCEPTED,
    responses=answers(examples.SAVE_REQUEST, 401, 404, 409, 422, status=202),
)
def save_checkpoint(task_id: TaskId, services: ServicesDep, scope: ScopeDep) -> views.SaveRequestView:
    """Ask a running task for a checkpoint after its next step. Asking twice before it answers makes one."""
    return services.checkpoints.save(scope, task_id)


@router.post(
    "/tasks/{task_id}/checkpoints/{step}:pin",
    response_model=views.CheckpointView,
    responses=answers(examples.CHECKPOINT, 401, 404, 422),
)
def pin_checkpoint(
    task_id: TaskId, step: Step, services: ServicesDep, scope: ScopeDep
) -> views.CheckpointView:
    """Pin a checkpoint: `save_total_limit` never removes it. Pinning twice changes nothing."""
    return services.checkpoints.pin(scope, task_id, step, True)


@router.post(
    "/tasks/{task_id}/checkpoints/{step}:unpin",
    response_model=views.CheckpointView,
    responses=answers(examples.CHECKPOINT, 401, 404, 422),
)
def unpin_checkpoint(
    task_id: TaskId, step: Step, services: ServicesDep, scope: ScopeDep
) -> views.CheckpointView:
    """Let a pinned checkpoint go: the task may remove it again."""
    return services.checkpoints.pin(scope, task_id, step, False)
