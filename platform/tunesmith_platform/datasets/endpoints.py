"""Data sets over HTTP: the registry, resumable uploads, reports on files, and rows under the microscope."""

from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, Path, Query, Request, Response, status
from fastapi.concurrency import run_in_threadpool

from tunesmith import views
from tunesmith.dataset_views import DataPreview, DataReport, DatasetView, UploadView
from tunesmith.schema import form_schema
from tunesmith.spec.dataset import OPERATIONS
from tunesmith.spec.task import NewDataTask
from tunesmith_platform import examples
from tunesmith_platform.datasets.reports import DataQuestion, PreviewQuestion, ReportService
from tunesmith_platform.datasets.service import DatasetService, NewDataset
from tunesmith_platform.datasets.uploads import NewUpload, UploadService
from tunesmith_platform.http import After, Limit, ScopeDep, answers, made_or_found, say_made, services_of
from tunesmith_platform.idempotency import sent_as
from tunesmith_platform.routing import ApiRoute, large_body, worded
from tunesmith_platform.tasks.endpoints import IdempotencyKey
from tunesmith_platform.tasks.service import TaskService

router = APIRouter(tags=["datasets"], route_class=ApiRoute)


class Services(Protocol):
    """The parts that these endpoints ask."""

    tasks: TaskService
    datasets: DatasetService
    uploads: UploadService
    reports: ReportService


ServicesDep = Annotated[Services, Depends(services_of)]

Dataset = Annotated[
    str,
    Path(
        description="The data set's id or name, or `name@number` for one version.",
        min_length=1,
        max_length=120,
        pattern=r"^[^\x00-\x1f/:]+$",
    ),
]
UploadId = Annotated[
    str, Path(description="The upload's id.", min_length=3, max_length=40, pattern=r"^upload-[0-9a-z]+$")
]
_JSON = "application/json"
_FOUND = "Its newest version has these bytes already."


@router.get(
    "/datasets", response_model=views.Page[DatasetView], responses=answers(examples.DATASETS, 401, 422)
)
def list_datasets(
    services: ServicesDep,
    scope: ScopeDep,
    after: After = None,
    limit: Limit = 100,
) -> views.Page[DatasetView]:
    """List data sets by name, each with its newest version."""
    return services.datasets.page(scope, after, limit)


@router.post(
    "/datasets",
    response_model=DatasetView,
    status_code=status.HTTP_201_CREATED,
    responses=made_or_found(examples.DATASET, _FOUND, 401, 422),
)
def register_dataset(
    new: Annotated[NewDataset, examples.new_dataset_body()],
    response: Response,
    services: ServicesDep,
    scope: ScopeDep,
) -> DatasetView:
    """Register a file by its path or URI, as a new data set or the next version of one.

    A path stays where it is, and is refused when its bytes have changed; what a URI names is copied into the storage.
    """
    dataset, made = services.datasets.register(scope, new)
    return _entered(dataset, made, response)


# Before `/datasets/{dataset}`: a colon is no part of a name.
@router.post(
    "/datasets:run",
    response_model=views.TaskView,
    status_code=status.HTTP_201_CREATED,
    responses=made_or_found(
        examples.DATA_TASK, "The task that this `Idempotency-Key` made before.", 401, 404, 409, 422
    ),
)
@large_body
@worded
def run_operation(
    new: Annotated[NewDataTask, examples.new_data_task_body()],
    response: Response,
    services: ServicesDep,
    scope: ScopeDep,
    idempotency_key: IdempotencyKey = None,
) -> views.TaskView:
    """Run an operation on data sets as a task: load (files, a folder, a bucket, the Hub), filter, map, split, ...

    Its rows become the next version of a data set, which says what it was made of. The task is listed, followed,
    stopped and done again (`:continue`) like any other. Nothing that comes with a data set is ever run.
    """
    task, is_new = services.tasks.create(scope, new.as_task(), idempotency_key, body=sent_as("data", new))
    say_made(response, is_new, f"/v1/tasks/{task.id}")
    return task


@router.get(
    "/schema/datasets",
    responses=answers({"filter": {"title": "FilterSpec", "type": "object", "properties": {}}}, 401),
)
def schema_datasets(scope: ScopeDep) -> dict[str, dict[str, Any]]:
    """JSON Schema of each operation's parameters, with labels, groups, folds and visibility rules."""
    return {name: form_schema(spec) for name, spec in OPERATIONS.items()}


@router.post(
    "/datasets:validate",
    response_model=DataReport,
    responses=answers(examples.DATA_REPORT, 401, 404, 422),
)
@worded
def validate_data(
    question: Annotated[DataQuestion, examples.data_question_body()], services: ServicesDep, scope: ScopeDep
) -> Response:
    """Read a file, and say what it holds and what is wrong with it: each bad row with its place, reason and beginning.

    Takes 20 seconds at most; what was not read by then is said to be missing. `tunesmith data validate` reads a file of
    any size on its own machine.
    """
    return Response(services.reports.validate(scope, question), media_type=_JSON)


@router.post(
    "/datasets:preview",
    response_model=DataPreview,
    responses=answers(examples.DATA_PREVIEW, 401, 404, 422),
)
@worded
def preview_data(
    question: Annotated[PreviewQuestion, examples.preview_question_body()],
    services: ServicesDep,
    scope: ScopeDep,
) -> Response:
    """Show rows as they would be trained: what the chat template writes, and what becomes of each token."""
    return Response(services.reports.preview(scope, question), media_type=_JSON)


@router.get(
    "/datasets/{dataset}", response_model=DatasetView, responses=answers(examples.DATASET, 401, 404, 422)
)
def show_dataset(dataset: Dataset, services: ServicesDep, scope: ScopeDep) -> DatasetView:
    """Show a data set with its versions."""
    return services.datasets.get(scope, dataset)


@router.delete(
    "/datasets/{dataset}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=answers(None, 401, 404, 409, 422),
)
def remove_dataset(dataset: Dataset, services: ServicesDep, scope: ScopeDep) -> None:
    """Remove a data set, or one version. Bytes that were uploaded go with the last version that has them."""
    services.datasets.remove(scope, dataset)


@router.get("/uploads", response_model=views.Page[UploadView], responses=answers(examples.UPLOADS, 401))
def list_uploads(services: ServicesDep, scope: ScopeDep) -> views.Page[UploadView]:
    """List your own uploads that are under way, oldest first."""
    return views.Page(data=services.uploads.open(scope), has_more=False, next=None)


@router.post(
    "/uploads",
    response_model=UploadView,
    status_code=status.HTTP_201_CREATED,
    responses=answers(examples.UPLOAD, 401, 422, 429, status=201),
)
def begin_upload(
    new: Annotated[NewUpload, examples.new_upload_body()], services: ServicesDep, scope: ScopeDep
) -> UploadView:
    """Begin to send a file. Its pieces follow with `PUT`, and `:finish` makes it a version of a data set."""
    return services.uploads.begin(scope, new)


@router.get("/uploads/{upload}", response_model=UploadView, responses=answers(examples.UPLOAD, 401, 404, 422))
def show_upload(upload: UploadId, services: ServicesDep, scope: ScopeDep) -> UploadView:
    """How much of an upload has arrived: it goes on there after a broken line."""
    return services.uploads.get(scope, upload)


@router.put(
    "/uploads/{upload}",
    response_model=UploadView,
    responses=answers(examples.UPLOAD, 401, 404, 409, 422),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {
                    "schema": {"type": "string", "format": "binary"},
                    "examples": {"piece": {"summary": "A piece of the file", "value": "..."}},
                }
            },
        }
    },
)
@large_body
async def send_piece(
    upload: UploadId,
    request: Request,
    services: ServicesDep,
    scope: ScopeDep,
    offset: Annotated[int, Query(ge=0, le=2**53, description="Where in the file the piece begins.")],
) -> UploadView:
    """Send a piece of a file, of 32 MB at most. The same piece again changes nothing."""
    data = await request.body()
    return await run_in_threadpool(services.uploads.put, scope, upload, offset, data)


@router.post(
    "/uploads/{upload}:finish",
    response_model=DatasetView,
    status_code=status.HTTP_201_CREATED,
    responses=made_or_found(examples.DATASET, _FOUND, 401, 404, 409, 422),
)
def finish_upload(
    upload: UploadId, response: Response, services: ServicesDep, scope: ScopeDep
) -> DatasetView:
    """Make a file that has arrived whole a version of its data set. Asked again, it answers the same."""
    dataset, made = services.uploads.finish(scope, upload)
    return _entered(dataset, made, response)


@router.delete(
    "/uploads/{upload}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=answers(None, 401, 404, 422),
)
def give_up_upload(upload: UploadId, services: ServicesDep, scope: ScopeDep) -> None:
    """Give an upload up; what has arrived of it is removed."""
    services.uploads.give_up(scope, upload)


def _entered(dataset: DatasetView, made: bool, response: Response) -> DatasetView:
    say_made(response, made, f"/v1/datasets/{dataset.id}", is_keyed=False)
    return dataset
