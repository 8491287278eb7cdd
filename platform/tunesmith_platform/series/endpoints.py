"""Curves, comparisons and exports over HTTP."""

from typing import Annotated, Protocol

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from tunesmith import curves as shapes
from tunesmith import views
from tunesmith.curves import MAX_POINTS, MAX_TASKS, Axis, ExportFormat, Mode
from tunesmith_platform import examples
from tunesmith_platform.http import ScopeDep, TaskId, answers, services_of
from tunesmith_platform.routing import ApiRoute, worded
from tunesmith_platform.series.query import MAX_STEP, Span, Wish
from tunesmith_platform.series.service import SeriesService

router = APIRouter(tags=["curves"], route_class=ApiRoute)


class Services(Protocol):
    """The parts that these endpoints ask."""

    series: SeriesService


ServicesDep = Annotated[Services, Depends(services_of)]

Names = Annotated[
    list[str] | None,
    Query(
        description="Only these metrics; `system/` for all that the machines measured, which come to who asks for them."
    ),
]
Points = Annotated[
    int,
    Query(
        ge=10,
        le=MAX_POINTS,
        description="Points of one metric at the most; the lowest and the highest of every stretch are kept.",
    ),
]
From = Annotated[int, Query(alias="from", ge=0, le=MAX_STEP, description="The window's first step.")]
To = Annotated[int, Query(ge=0, le=MAX_STEP, description="The window's last step.")]
X = Annotated[Axis, Query(description="Steps, trained tokens, or seconds since the task started.")]
Ema = Annotated[
    float | None,
    Query(gt=0, le=1, description="Smooth by an exponential moving average in which each point weighs this."),
]
Average = Annotated[
    int | None, Query(ge=1, le=100_000, description="Smooth by the mean of so many points, the last ones.")
]
_FILES = {ExportFormat.CSV: "text/csv; charset=utf-8", ExportFormat.PARQUET: "application/vnd.apache.parquet"}


@router.get(
    "/tasks/{task_id}/metrics",
    response_model=views.Metrics,
    responses=answers(examples.METRICS, 401, 404, 422),
)
def metrics(
    task_id: TaskId,
    services: ServicesDep,
    scope: ScopeDep,
    name: Names = None,
    points: Points = MAX_POINTS,
) -> views.Metrics:
    """Read a task's curves, one point a step: where a step was done again, the newest counts.

    A long curve is reduced; `metrics:export` has every point.
    """
    return services.series.metrics(scope, task_id, name, points)


@router.get(
    "/tasks/{task_id}/curves",
    response_model=shapes.Curves,
    responses=answers(examples.CURVES, 401, 404, 422),
)
def curves(
    task_id: TaskId,
    services: ServicesDep,
    scope: ScopeDep,
    name: Names = None,
    points: Points = 1000,
    from_step: From = 0,
    to: To = MAX_STEP,
    x: X = Axis.STEP,
    mode: Annotated[Mode, Query(description="How attempts are put together.")] = Mode.MERGED,
    ema: Ema = None,
    average: Average = None,
) -> shapes.Curves:
    """Read a task's curves for a chart: reduced with their extremes kept, zoomed, smoothed, over any axis.

    The same question about the same measurements has the same answer. Smoothing sees every measurement before the
    window too, so zooming moves no curve.
    """
    wish = Wish(Span(from_step, to), points, x, mode, ema, average)
    return services.series.curves(scope, task_id, name, wish)


@router.get(
    "/metrics:compare",
    response_model=shapes.Comparison,
    responses=answers(examples.COMPARISON, 401, 404, 422),
)
@worded
def compare_metrics(
    services: ServicesDep,
    scope: ScopeDep,
    task: Annotated[
        list[str], Query(min_length=1, max_length=MAX_TASKS, description="The tasks, by their ids.")
    ],
    name: Annotated[list[str] | None, Query(description="These curves; `loss` if not given.")] = None,
    points: Points = 1000,
    from_step: From = 0,
    to: To = MAX_STEP,
    x: X = Axis.STEP,
    ema: Ema = None,
    average: Average = None,
) -> shapes.Comparison:
    """Lay the curves of several tasks over each other, with what each of them reached."""
    wish = Wish(Span(from_step, to), points, x, Mode.MERGED, ema, average)
    return services.series.compare(scope, task, name or ["loss"], wish)


@router.get(
    "/tasks/{task_id}/metrics:export",
    response_class=StreamingResponse,
    responses=answers(None, 401, 404, 422)
    | {
        200: {
            "description": "The file: `name,attempt,segment,step,value,time`, every measurement, redone steps too.",
            "content": {
                "text/csv": {"example": examples.METRICS_CSV},
                "application/vnd.apache.parquet": {"example": "PAR1..."},
            },
        }
    },
)
def export_metrics(
    task_id: TaskId,
    services: ServicesDep,
    scope: ScopeDep,
    file_format: Annotated[ExportFormat, Query(alias="format")] = ExportFormat.CSV,
    name: Names = None,
) -> StreamingResponse:
    """Download everything a task measured, as CSV or Parquet."""
    parts = services.series.export(scope, task_id, file_format, name)
    attachment = f'attachment; filename="{task_id}-metrics.{file_format.value}"'
    return StreamingResponse(
        parts, media_type=_FILES[file_format], headers={"Content-Disposition": attachment}
    )
