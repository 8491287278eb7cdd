"""Tasks over HTTP."""

from typing import Annotated, Protocol

from fastapi import APIRouter, Depends, Header, Query, Response, status
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from tunesmith import views
from tunesmith.lifecycle import State
from tunesmith.spec.kinds import KindName
from tunesmith.spec.own_tasks import OWN_TAGS
from tunesmith.spec.task import MoreSteps, NewStage, TaskCopy, TaskRequest
from tunesmith_platform import examples
from tunesmith_platform.http import ScopeDep, TaskId, answers, made_or_found, say_made, services_of
from tunesmith_platform.routing import ApiRoute, worded
from tunesmith_platform.tasks.derive import TaskVerbs
from tunesmith_platform.tasks.repository import Filter
from tunesmith_platform.tasks.rows import RowService
from tunesmith_platform.tasks.service import TaskChange, TaskService

router = APIRouter(tags=["tasks"], route_class=ApiRoute)


class Services(Protocol):
    """The parts that these endpoints ask."""

    tasks: TaskService
    verbs: TaskVerbs
    rows: RowService


_OWN = " and ".join(f"`{tag}`" for tag in OWN_TAGS)
ServicesDep = Annotated[Services, Depends(services_of)]

IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=200, description="The same key and body again answer the same task."),
]
_CREATED = made_or_found(
    examples.TASK, "The task that this `Idempotency-Key` made before.", 401, 404, 409, 422
)


def _made(task: views.TaskView, is_new: bool, response: Response) -> views.TaskView:
    """Answer a task: made now, or by the same call before."""
    say_made(response, is_new, f"/v1/tasks/{task.id}")
    return task


@router.post(
    "/tasks",
    response_model=views.TaskView,
    status_code=status.HTTP_201_CREATED,
    responses=_CREATED,
)
@worded
async def create_task(
    new: Annotated[TaskRequest, examples.new_task_body()],
    response: Response,
    services: ServicesDep,
    scope: ScopeDep,
    idempotency_key: IdempotencyKey = None,
) -> views.TaskView:
    """Submit a task. What it is given is looked at first; what cannot be trained on is refused with place and cure.

    With `template`, its parameters lie under those of `spec`; the task keeps a copy of its own.
    """
    # A coroutine with one hop to a thread: FastAPI makes a second one for the answer of a plain function.
    return _made(*await run_in_threadpool(services.verbs.submit, scope, new, idempotency_key), response)


@router.post(
    "/tasks:check", response_model=views.TaskCheck, responses=answers(examples.TASK_CHECK, 401, 404, 409, 422)
)
@worded
def check_task(
    new: Annotated[TaskRequest, examples.new_task_body()], services: ServicesDep, scope: ScopeDep
) -> views.TaskCheck:
    """Look at a task as a submit would, and make none: every parameter, and what is wrong with it.

    Takes the same body as a submit.
    """
    return services.verbs.check(scope, new)


@router.get(
    "/tasks",
    response_model=views.Page[views.TaskView],
    responses=answers(examples.TASKS, 401, 422),
)
@worded
def list_tasks(
    services: ServicesDep,
    scope: ScopeDep,
    state: Annotated[list[State] | None, Query(description="Only these states.")] = None,
    kind: Annotated[KindName | None, Query(description="Only this kind.")] = None,
    project: Annotated[str | None, Query(max_length=120)] = None,
    name: Annotated[str | None, Query(max_length=120, description="A part of the name.")] = None,
    tag: Annotated[str | None, Query(max_length=60)] = None,
    without_tag: Annotated[
        list[Annotated[str, Field(max_length=60)]] | None,
        Query(max_length=20, description=f"None with these tags; {_OWN}: none that were made by themselves."),
    ] = None,
    after: Annotated[str | None, Query(max_length=40, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> views.Page[views.TaskView]:
    """List tasks, newest first."""
    wanted = Filter(
        states=state or (),
        kind=kind,
        project=project,
        name=name,
        tag=tag,
        without_tags=without_tag or (),
        after=after,
        limit=limit,
    )
    return services.tasks.page(scope, wanted)


@router.get(
    "/tasks:diff", response_model=views.TaskDiff, responses=answers(examples.DIFF, 401, 404, 409, 422)
)
@worded
def diff_tasks(
    services: ServicesDep,
    scope: ScopeDep,
    a: Annotated[str, Query(max_length=40, description="The first task's id.")],
    b: Annotated[str, Query(max_length=40, description="The second task's id.")],
) -> views.TaskDiff:
    """Show in which parameters two tasks differ."""
    return services.verbs.diff(scope, a, b)


@router.get(
    "/tasks/{task_id}", response_model=views.TaskView, responses=answers(examples.TASK, 401, 404, 422)
)
@worded
def show_task(task_id: TaskId, services: ServicesDep, scope: ScopeDep) -> views.TaskView:
    """Show a task as it stands."""
    return services.tasks.get(scope, task_id)


@router.patch(
    "/tasks/{task_id}",
    response_model=views.TaskView,
    responses=answers(examples.TASK, 401, 404, 409, 422),
)
@worded
def change_task(
    task_id: TaskId,
    change: Annotated[TaskChange, examples.task_change_body()],
    services: ServicesDep,
    scope: ScopeDep,
) -> views.TaskView:
    """Change a task's name, notes or tags, and its priority while it is pending. Its parameters are frozen."""
    return services.tasks.change(scope, task_id, change)


@router.post(
    "/tasks/{task_id}:stop",
    response_model=views.TaskView,
    status_code=status.HTTP_202_ACCEPTED,
    responses=answers(examples.TASK, 401, 404, 422, status=202),
)
@worded
def stop_task(task_id: TaskId, services: ServicesDep, scope: ScopeDep) -> views.TaskView:
    """Stop a task. A running one saves a checkpoint first. Stopping twice, or one that has ended, changes nothing."""
    return services.tasks.stop(scope, task_id)


@router.post(
    "/tasks/{task_id}:clone",
    response_model=views.TaskView,
    status_code=status.HTTP_201_CREATED,
    responses=_CREATED,
)
@worded
def clone_task(
    task_id: TaskId,
    response: Response,
    services: ServicesDep,
    scope: ScopeDep,
    changes: Annotated[TaskCopy | None, examples.copy_body()] = None,
    idempotency_key: IdempotencyKey = None,
) -> views.TaskView:
    """Submit a new task with the parameters of this one; those in `spec` are changed."""
    made = services.verbs.clone(scope, task_id, changes or TaskCopy(), idempotency_key)
    return _made(*made, response)


@router.post(
    "/tasks/{task_id}:new-stage",
    response_model=views.TaskView,
    status_code=status.HTTP_201_CREATED,
    responses=_CREATED,
)
@worded
def new_stage(
    task_id: TaskId,
    response: Response,
    services: ServicesDep,
    scope: ScopeDep,
    stage: Annotated[NewStage | None, examples.stage_body()] = None,
    idempotency_key: IdempotencyKey = None,
) -> views.TaskView:
    """Submit a new task that starts from the weights of a checkpoint of this one.

    It has this task's parameters and data but for what `spec` changes, and counts its steps from 0.
    """
    made = services.verbs.new_stage(scope, task_id, stage or NewStage(), idempotency_key)
    return _made(*made, response)


@router.post(
    "/tasks/{task_id}:continue",
    response_model=views.TaskView,
    status_code=status.HTTP_202_ACCEPTED,
    responses=answers(examples.TASK, 401, 404, 409, 422, status=202),
)
@worded
def continue_task(
    task_id: TaskId,
    services: ServicesDep,
    scope: ScopeDep,
    more: Annotated[MoreSteps | None, examples.more_steps_body()] = None,
) -> views.TaskView:
    """Let this task go on at its newest checkpoint: the same task, the step count goes on.

    For tasks that are over. Nothing may change but the number of steps or epochs, and that upwards; a completed
    task needs more.
    """
    return services.verbs.carry_on(scope, task_id, more or MoreSteps())


@router.get(
    "/tasks/{task_id}/rows",
    response_model=views.StepRows,
    responses=answers(examples.STEP_ROWS, 401, 404, 422),
)
def rows_of_step(
    task_id: TaskId,
    services: ServicesDep,
    scope: ScopeDep,
    step: Annotated[int, Query(ge=1, le=2**53, description="The optimizer step, from 1.")],
) -> views.StepRows:
    """Which rows of the training file an optimizer step took, or will take: a spike leads to its rows."""
    return services.rows.of_step(scope, task_id, step)


@router.delete(
    "/tasks/{task_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=answers(None, 401, 404, 409, 422),
)
def delete_task(
    task_id: TaskId,
    services: ServicesDep,
    scope: ScopeDep,
    files: Annotated[bool, Query(description="Delete its checkpoints and final model too.")] = False,
) -> None:
    """Delete a task that is over. The base model is never touched."""
    services.tasks.delete(scope, task_id, files)
