"""Pipelines over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, status

from tunesmith import views
from tunesmith.pipelines import NewPipeline, PipelineView
from tunesmith_platform import examples
from tunesmith_platform.http import ServicesDep, UserDep, answers

router = APIRouter(tags=["pipelines"])

PipelineId = Annotated[str, Path(min_length=1, max_length=40, description="The pipeline's id.")]


@router.post(
    "/pipelines",
    response_model=PipelineView,
    status_code=status.HTTP_201_CREATED,
    responses=answers(examples.PIPELINE, 401, 413, 422, 503, status=201),
)
def run_pipeline(
    new: Annotated[NewPipeline, examples.new_pipeline_body()], services: ServicesDep, user: UserDep
) -> PipelineView:
    """Run a pipeline: components and workflows as model-compose writes them.

    Everything that can be known before it runs is checked first. Jobs that do not need each other run side by side,
    and what an identical earlier step made is taken instead of being made again.
    """
    return services.pipelines.create(new, user)


@router.get(
    "/pipelines",
    response_model=views.Page[PipelineView],
    responses=answers(examples.PIPELINES, 401, 422),
)
def list_pipelines(
    services: ServicesDep,
    _user: UserDep,
    after: Annotated[str | None, Query(max_length=40, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> views.Page[PipelineView]:
    """List pipelines, the newest first."""
    return services.pipelines.page(after, limit)


@router.get(
    "/pipelines/{pipeline_id}",
    response_model=PipelineView,
    responses=answers(examples.PIPELINE, 401, 404, 422),
)
def show_pipeline(pipeline_id: PipelineId, services: ServicesDep, _user: UserDep) -> PipelineView:
    """Show a pipeline and its steps as they stand."""
    return services.pipelines.get(pipeline_id)


@router.post(
    "/pipelines/{pipeline_id}:stop",
    response_model=PipelineView,
    responses=answers(examples.PIPELINE, 401, 404, 422, 503),
)
def stop_pipeline(pipeline_id: PipelineId, services: ServicesDep, _user: UserDep) -> PipelineView:
    """Stop a pipeline: what runs is stopped, and nothing further starts."""
    return services.pipelines.stop(pipeline_id)


@router.post(
    "/pipelines/{pipeline_id}:continue",
    response_model=PipelineView,
    responses=answers(examples.PIPELINE, 401, 404, 409, 422, 503),
)
def continue_pipeline(pipeline_id: PipelineId, services: ServicesDep, _user: UserDep) -> PipelineView:
    """Continue a pipeline from the step that failed or was stopped; what is done stays done."""
    return services.pipelines.carry_on(pipeline_id)


@router.delete(
    "/pipelines/{pipeline_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=answers(None, 401, 404, 409, 422, 503),
)
def delete_pipeline(
    pipeline_id: PipelineId,
    services: ServicesDep,
    _user: UserDep,
    with_files: Annotated[bool, Query(description="Delete the rows that it made too.")] = False,
) -> None:
    """Delete a pipeline that is over. The tasks that it made stay."""
    services.pipelines.delete(pipeline_id, with_files)
