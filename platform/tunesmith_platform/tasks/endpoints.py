"""Tasks over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response, status

from tunesmith import views
from tunesmith.lifecycle import State
from tunesmith.spec.task import NewTask
from tunesmith_platform import examples
from tunesmith_platform.http import ServicesDep, TaskId, UserDep, answers
from tunesmith_platform.tasks.repository import Filter
from tunesmith_platform.tasks.service import TaskChange

router = APIRouter(tags=["tasks"])


@router.post(
    "/tasks",
    response_model=views.TaskView,
    status_code=status.HTTP_201_CREATED,
    responses=answers(examples.TASK, 401, 404, 409, 413, 422, 503, status=201)
    | {
        200: {
            "model": views.TaskView,
            "description": "The task that this `Idempotency-Key` made before.",
            "content": {"application/json": {"example": examples.TASK.model_dump(mode="json")}},
        }
    },
)
def create_task(
    new: Annotated[NewTask, examples.new_task_body()],
    response: Response,
    services: ServicesDep,
    user: UserDep,
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=200, description="The same key and body again answer the same task."),
    ] = None,
) -> views.TaskView:
    """Submit a task. What it is given is looked at first; what cannot be trained on is refused with place and cure."""
    task, made = services.tasks.create(new, user, idempotency_key)
    if not made:
        response.status_code = status.HTTP_200_OK
        response.headers["Idempotent-Replayed"] = "true"
    response.headers["Location"] = f"/v1/tasks/{task.id}"
    return task


@router.get(
    "/tasks",
    response_model=views.Page[views.TaskView],
    responses=answers(examples.TASKS, 401, 422),
)
def list_tasks(
    services: ServicesDep,
    _user: UserDep,
    state: Annotated[list[State] | None, Query(description="Only these states.")] = None,
    kind: Annotated[str | None, Query(max_length=20)] = None,
    project: Annotated[str | None, Query(max_length=120)] = None,
    name: Annotated[str | None, Query(max_length=120, description="A part of the name.")] = None,
    tag: Annotated[str | None, Query(max_length=60)] = None,
    after: Annotated[str | None, Query(max_length=40, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> views.Page[views.TaskView]:
    """List tasks, newest first."""
    return services.tasks.page(
        Filter(states=state or (), kind=kind, project=project, name=name, tag=tag, after=after, limit=limit)
    )


@router.get(
    "/tasks/{task_id}", response_model=views.TaskView, responses=answers(examples.TASK, 401, 404, 422)
)
def show_task(task_id: TaskId, services: ServicesDep, _user: UserDep) -> views.TaskView:
    """Show a task as it stands."""
    return services.tasks.get(task_id)


@router.patch(
    "/tasks/{task_id}",
    response_model=views.TaskView,
    responses=answers(examples.TASK, 401, 404, 413, 422, 503),
)
def change_task(
    task_id: TaskId,
    change: Annotated[TaskChange, examples.task_change_body()],
    services: ServicesDep,
    _user: UserDep,
) -> views.TaskView:
    """Change a task's name, notes, tags or priority. Its parameters are frozen."""
    return services.tasks.change(task_id, change)


@router.post(
    "/tasks/{task_id}:stop",
    response_model=views.TaskView,
    status_code=status.HTTP_202_ACCEPTED,
    responses=answers(examples.TASK, 401, 404, 422, 503, status=202),
)
def stop_task(task_id: TaskId, services: ServicesDep, _user: UserDep) -> views.TaskView:
    """Stop a task. A running one saves a checkpoint first. Stopping twice, or one that has ended, changes nothing."""
    return services.tasks.stop(task_id)


@router.delete(
    "/tasks/{task_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=answers(None, 401, 404, 409, 422, 503),
)
def delete_task(
    task_id: TaskId,
    services: ServicesDep,
    _user: UserDep,
    files: Annotated[bool, Query(description="Delete its checkpoints and final model too.")] = False,
) -> None:
    """Delete a task that is over. The base model is never touched."""
    services.tasks.delete(task_id, files)
