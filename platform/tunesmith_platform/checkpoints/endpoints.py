"""Checkpoints over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query

from tunesmith import views
from tunesmith_platform import examples
from tunesmith_platform.http import ServicesDep, TaskId, UserDep, answers

router = APIRouter(tags=["checkpoints"])


@router.get(
    "/tasks/{task_id}/checkpoints",
    response_model=views.Page[views.CheckpointView],
    responses=answers(examples.CHECKPOINTS, 401, 404, 422),
)
def checkpoints(
    task_id: TaskId,
    services: ServicesDep,
    _user: UserDep,
    after: Annotated[int | None, Query(ge=0, description="Only checkpoints before this step.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> views.Page[views.CheckpointView]:
    """List a task's checkpoints, newest first. Listed means complete and verified."""
    return services.checkpoints.page(task_id, after, limit)
