"""Evaluations over HTTP."""

from typing import Annotated, Literal, Protocol

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import HTMLResponse, PlainTextResponse

from tunesmith import views
from tunesmith.evaluation.results import EvaluationResult
from tunesmith.evaluation.scores.info import INFO
from tunesmith.evaluation_views import (
    EvaluationForecast,
    EvaluationSummary,
    EvaluationView,
    Recompute,
    ScoreView,
)
from tunesmith.spec.task import TaskRequest
from tunesmith_platform import examples
from tunesmith_platform.evaluations.forecast import Forecasts
from tunesmith_platform.evaluations.service import EvaluationService, Table
from tunesmith_platform.http import After, Limit, ReadingScopeDep, ScopeDep, TaskId, answers, services_of
from tunesmith_platform.routing import ApiRoute
from tunesmith_platform.tasks.derive import Templates

router = APIRouter(tags=["evaluations"], route_class=ApiRoute)
_JSON = "application/json"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; sandbox"
"""A report holds what models said: nothing in it runs, loads or sends."""


class Services(Protocol):
    """The parts that these endpoints ask."""

    evaluations: EvaluationService
    forecasts: Forecasts
    templates: Templates


ServicesDep = Annotated[Services, Depends(services_of)]


@router.get(
    "/evaluations",
    response_model=views.Page[EvaluationSummary],
    responses=answers(examples.EVALUATIONS, 401, 422),
)
def evaluations(
    services: ServicesDep,
    scope: ScopeDep,
    task: Annotated[
        str | None, Query(max_length=40, description="Only those of this task's checkpoints.")
    ] = None,
    after: After = None,
    limit: Limit = 100,
) -> views.Page[EvaluationSummary]:
    """List what evaluations found, newest first."""
    return services.evaluations.page(scope, task, after, limit)


@router.get(
    "/evaluations/scores", response_model=views.Page[ScoreView], responses=answers(examples.SCORES, 401)
)
def scores(scope: ScopeDep) -> views.Page[ScoreView]:
    """Say what each score is: its names, its range, which way is better."""
    return views.Page(data=[ScoreView.of(name, info) for name, info in INFO.items()], has_more=False)


@router.post(
    "/evaluations:forecast",
    response_model=EvaluationForecast,
    responses=answers(examples.EVALUATION_FORECAST, 401, 404, 409, 422),
)
def forecast(
    new: Annotated[TaskRequest, examples.new_task_body()], services: ServicesDep, scope: ScopeDep
) -> EvaluationForecast:
    """Say what an evaluation will take: generations, memory, time. Starts no task.

    Takes the same body as a submit.
    """
    return services.forecasts.forecast(scope, services.templates.complete(scope, new))


@router.get(
    "/tasks/{task_id}/evaluation",
    response_model=EvaluationView,
    responses=answers(examples.EVALUATION, 401, 404, 409, 422),
)
def evaluation(task_id: TaskId, services: ServicesDep, scope: ScopeDep) -> EvaluationView:
    """Show an evaluation: how far each candidate is, how it does so far, and what may be said in the end."""
    return services.evaluations.view(scope, task_id)


@router.get(
    "/tasks/{task_id}/evaluation/result",
    response_model=EvaluationResult,
    responses=answers(examples.EVALUATION_RESULT, 401, 404, 422, 503),
)
def evaluation_result(task_id: TaskId, services: ServicesDep, scope: ScopeDep) -> Response:
    """Give all that an evaluation found: samples, answers, scores, comparison."""
    return Response(services.evaluations.result(scope, task_id), media_type=_JSON)


@router.post(
    "/tasks/{task_id}/evaluation:recompute",
    response_model=EvaluationResult,
    responses=answers(examples.EVALUATION_RESULT, 401, 404, 422, 503),
)
def recompute_evaluation(
    task_id: TaskId, how: Recompute, services: ServicesDep, scope: ReadingScopeDep
) -> Response:
    """Compute an evaluation's figures once more, with other weights or of another score. Nothing is stored."""
    return Response(services.evaluations.recomputed(scope, task_id, how), media_type=_JSON)


@router.get(
    "/tasks/{task_id}/evaluation/report",
    response_class=Response,  # errors are JSON
    responses=answers(None, 401, 404, 422, 503)
    | {
        200: {
            "description": "A page of HTML without a script, which loads nothing.",
            "content": {"text/html": {"example": "<!doctype html>..."}},
        }
    },
)
def evaluation_report(
    task_id: TaskId,
    services: ServicesDep,
    scope: ScopeDep,
    language: Annotated[Literal["en", "zh"], Query(description="The report's language.")] = "en",
) -> HTMLResponse:
    """Give the report: one page that stands by itself, with plots, tables and answers."""
    page = services.evaluations.report(scope, task_id, language)
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


@router.get(
    "/tasks/{task_id}/evaluation/{which}.csv",
    response_class=Response,  # errors are JSON
    responses=answers(None, 401, 404, 422, 503)
    | {
        200: {
            "description": "The table.",
            "content": {"text/csv": {"example": "candidate,label,step\nbase,SmolLM2 (base),0\n"}},
        }
    },
)
def evaluation_table(
    task_id: TaskId, which: Table, services: ServicesDep, scope: ScopeDep
) -> PlainTextResponse:
    """Give a table: a row an answer, or a row a candidate."""
    return PlainTextResponse(services.evaluations.table(scope, task_id, which), media_type="text/csv")
