"""Estimates over HTTP."""

from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, Path, Query, Response, status

from tunesmith.estimate import EstimateView, MeasurementState
from tunesmith.spec.task import TaskRequest
from tunesmith_platform import examples
from tunesmith_platform.estimates.service import EstimateService
from tunesmith_platform.http import ScopeDep, answers, services_of
from tunesmith_platform.routing import ApiRoute, worded
from tunesmith_platform.tasks.derive import Templates
from tunesmith_platform.tasks.kinds.registry import Kinds

router = APIRouter(tags=["estimates"], route_class=ApiRoute)


class Services(Protocol):
    """The parts that these endpoints ask."""

    kinds: Kinds
    templates: Templates
    estimates: EstimateService


ServicesDep = Annotated[Services, Depends(services_of)]

_MEASURING: dict[int | str, dict[str, Any]] = {
    202: {
        "model": EstimateView,
        "description": "A measurement is under way; ask for it at `Location`.",
        "content": {"application/json": {"example": examples.MEASURING.model_dump(mode="json")}},
    }
}


@router.post(
    "/tasks:estimate",
    response_model=EstimateView,
    responses=answers(examples.ESTIMATE, 401, 404, 409, 422) | _MEASURING,
)
@worded
def estimate_task(
    new: Annotated[TaskRequest, examples.new_task_body()],
    response: Response,
    services: ServicesDep,
    scope: ScopeDep,
    measure: Annotated[
        bool, Query(description="Take two real steps on the longest batch; answers 202 until they are taken.")
    ] = False,
) -> EstimateView:
    """Say what a task will take: steps, tokens, disk, memory, time, and what would need less. Starts no task.

    Takes the same body as a submit.
    """
    training = services.kinds.of(new.kind).as_training(services.templates.complete(scope, new))
    return _answer(services.estimates.estimate(scope, training, measure), response)


@router.get(
    "/estimates/{estimate_id}",
    response_model=EstimateView,
    responses=answers(examples.ESTIMATE, 401, 404, 422) | _MEASURING,
)
@worded
def show_estimate(
    estimate_id: Annotated[
        str, Path(description="The measurement's id.", max_length=40, pattern=r"^measure-[0-9a-z]+$")
    ],
    response: Response,
    services: ServicesDep,
    scope: ScopeDep,
) -> EstimateView:
    """Show an estimate that is measured, as far as it is."""
    return _answer(services.estimates.measured(scope, estimate_id), response)


def _answer(view: EstimateView, response: Response) -> EstimateView:
    if view.measurement is not None:
        response.headers["Location"] = f"/v1/estimates/{view.measurement.id}"
        if view.measurement.state is MeasurementState.MEASURING:
            response.status_code = status.HTTP_202_ACCEPTED
    return view
