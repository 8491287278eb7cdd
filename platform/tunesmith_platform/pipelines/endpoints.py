"""Pipelines over HTTP."""

from typing import Annotated, Protocol

from fastapi import APIRouter, Depends, Header, Path, Query, Response, status

from tunesmith import views
from tunesmith.pipelines import NewPipeline, PipelineView
from tunesmith_platform import examples
from tunesmith_platform.http import After, Limit, ScopeDep, answers, made_or_found, say_made, services_of
from tunesmith_platform.pipelines.service import PipelineService
from tunesmith_platform.routing import ApiRoute, worded

router = APIRouter(tags=["pipelines"], route_class=ApiRoute)


class Services(Protocol):
    """The parts that these endpoints ask."""

    pipelines: PipelineService


ServicesDep = Annotated[Services, Depends(services_of)]

PipelineId = Annotated[str, Path(min_length=1, max_length=40, description="The pipeline's id.")]


@router.post(
    "/pipelines",
    response_model=PipelineView,
    status_code=status.HTTP_201_CREATED,
    responses=made_or_found(
        examples.PIPELINE, "The pipeline that this `Idempotency-Key` began before.", 401, 409, 422
    ),
)
@worded
def run_pipeline(
    new: Annotated[NewPipeline, examples.new_pipeline_body()],
    response: Response,
    services: ServicesDep,
    scope: ScopeDep,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=200,
            description="The same key and body again answer the same pipeline.",
        ),
    ] = None,
) -> PipelineView:
    """Run a pipeline: components and workflows as model-compose writes them.

    Everything that can be known before it runs is checked first. Jobs that do not need each other run side by side,
    and what an identical earlier step made is taken instead of being made again.
    """
    pipeline, is_new = services.pipelines.create(scope, new, idempotency_key)
    say_made(response, is_new, f"/v1/pipelines/{pipeline.id}")
    return pipeline


@router.get(
    "/pipelines",
    response_model=views.Page[PipelineView],
    responses=answers(examples.PIPELINES, 401, 422),
)
@worded
def list_pipelines(
    services: ServicesDep,
    scope: ScopeDep,
    after: After = None,
    limit: Limit = 50,
) -> views.Page[PipelineView]:
    """List pipelines, the newest first."""
    return services.pipelines.page(scope, after, limit)


@router.get(
    "/pipelines/{pipeline_id}",
    response_model=PipelineView,
    responses=answers(examples.PIPELINE, 401, 404, 422),
)
@worded
def show_pipeline(pipeline_id: PipelineId, services: ServicesDep, scope: ScopeDep) -> PipelineView:
    """Show a pipeline and its steps as they stand."""
    return services.pipelines.get(scope, pipeline_id)


@router.post(
    "/pipelines/{pipeline_id}:stop",
    response_model=PipelineView,
    responses=answers(examples.PIPELINE, 401, 404, 422),
)
@worded
def stop_pipeline(pipeline_id: PipelineId, services: ServicesDep, scope: ScopeDep) -> PipelineView:
    """Stop a pipeline: what runs is stopped, and nothing further starts."""
    return services.pipelines.stop(scope, pipeline_id)


@router.post(
    "/pipelines/{pipeline_id}:continue",
    response_model=PipelineView,
    responses=answers(examples.PIPELINE, 401, 404, 409, 422),
)
@worded
def continue_pipeline(pipeline_id: PipelineId, services: ServicesDep, scope: ScopeDep) -> PipelineView:
    """Continue a pipeline from the step that failed or was stopped; what is done stays done."""
    return services.pipelines.carry_on(scope, pipeline_id)


@router.delete(
    "/pipelines/{pipeline_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=answers(None, 401, 404, 409, 422),
)
def delete_pipeline(
    pipeline_id: PipelineId,
    services: ServicesDep,
    scope: ScopeDep,
    with_files: Annotated[bool, Query(description="Delete the rows that it made too.")] = False,
) -> None:
    """Delete a pipeline that is over. The tasks that it made stay."""
    services.pipelines.delete(scope, pipeline_id, with_files)
