"""Samples of evaluations over HTTP: ours, a look at a file, and edits of a data set of samples."""

from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Depends, Query, Response, status

from tunesmith.evaluation.results import Split
from tunesmith.evaluation.sample_views import SampleCheck, SamplesEdited
from tunesmith.evaluation.samples import Language
from tunesmith_platform import examples
from tunesmith_platform.evaluations.samples_service import SampleEdit, SampleQuestion, SampleService
from tunesmith_platform.http import ScopeDep, answers, made_or_found, say_made, services_of
from tunesmith_platform.routing import ApiRoute, large_body, worded

router = APIRouter(tags=["evaluations"], route_class=ApiRoute)


class Services(Protocol):
    """The parts that these endpoints ask."""

    samples: SampleService


ServicesDep = Annotated[Services, Depends(services_of)]


@router.get("/evaluations/samples", responses=answers(examples.SAMPLE_FILE, 401, 422))
def default_samples(
    services: ServicesDep,
    scope: ScopeDep,
    language: Annotated[
        Language | Literal["all"], Query(description="Their language, or `all` of them.")
    ] = "all",
) -> dict[Split, list[dict[str, Any]]]:
    """The samples that come with Tunesmith, in the form of a sample file: `{"train": [...], "validation": [...]}`.

    They are asked where an evaluation names no file.
    """
    return services.samples.default(language)


@router.post(
    "/evaluations/samples:check",
    response_model=SampleCheck,
    responses=answers(examples.SAMPLE_CHECK, 401, 404, 422),
)
@worded
def check_samples(
    question: Annotated[SampleQuestion, examples.sample_question_body()],
    services: ServicesDep,
    scope: ScopeDep,
) -> SampleCheck:
    """Read a sample file before it is used: how many samples it has, what is wrong with which, and the first ones.

    A file with a single bad sample is refused by an evaluation: none is left out in silence.
    """
    return services.samples.check(scope, question)


@router.post(
    "/evaluations/samples:edit",
    response_model=SamplesEdited,
    status_code=status.HTTP_201_CREATED,
    responses=made_or_found(examples.SAMPLES_EDITED, "Nothing was to change.", 401, 404, 409, 422),
)
@large_body
def edit_samples(
    edit: Annotated[SampleEdit, examples.sample_edit_body()],
    response: Response,
    services: ServicesDep,
    scope: ScopeDep,
) -> SamplesEdited:
    """Add samples to a data set, and take some out by their ids, in one step: its next version has the result.

    Makes the data set where there is none. Sent again, it changes nothing: what was removed is said to be missing.
    """
    edited, made = services.samples.edit(scope, edit)
    say_made(response, made, f"/v1/datasets/{edited.dataset.id}", is_keyed=False)
    return edited
