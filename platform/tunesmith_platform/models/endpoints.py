"""Base models over HTTP."""

from typing import Annotated, Protocol

from fastapi import APIRouter, Depends, Path, Response, status

from tunesmith import views
from tunesmith.model_views import ModelView
from tunesmith_platform import examples
from tunesmith_platform.http import ScopeDep, answers, made_or_found, say_made, services_of
from tunesmith_platform.models.service import ModelChange, ModelService, NewModel
from tunesmith_platform.routing import ApiRoute, worded

router = APIRouter(tags=["models"], route_class=ApiRoute)


class Services(Protocol):
    """The parts that these endpoints ask."""

    models: ModelService


ServicesDep = Annotated[Services, Depends(services_of)]

Model = Annotated[
    str,
    Path(description="The model's id or name.", min_length=1, max_length=120, pattern=r"^[^\x00-\x1f/]+$"),
]


@router.get("/models", response_model=views.Page[ModelView], responses=answers(examples.MODELS, 401))
@worded
def list_models(services: ServicesDep, scope: ScopeDep) -> views.Page[ModelView]:
    """List base models by name: those in the models folder, found by themselves, and those that were registered."""
    return services.models.page(scope)


@router.post(
    "/models",
    response_model=ModelView,
    status_code=status.HTTP_201_CREATED,
    responses=made_or_found(examples.MODEL, "It was registered before.", 401, 409, 422),
)
@worded
def register_model(
    new: Annotated[NewModel, examples.new_model_body()],
    response: Response,
    services: ServicesDep,
    scope: ScopeDep,
) -> ModelView:
    """Register a folder, or a pulled model by its hub id. What cannot be trained is refused, with the way out."""
    model, made = services.models.register(scope, new)
    say_made(response, made, f"/v1/models/{model.id}", is_keyed=False)
    return model


@router.get("/models/{model}", response_model=ModelView, responses=answers(examples.MODEL, 401, 404, 422))
@worded
def show_model(model: Model, services: ServicesDep, scope: ScopeDep) -> ModelView:
    """Show what a model's files say, its license, and the tasks that start from it."""
    return services.models.get(scope, model)


@router.post(
    "/models/{model}:check", response_model=ModelView, responses=answers(examples.MODEL, 401, 404, 422)
)
@worded
def check_model(model: Model, services: ServicesDep, scope: ScopeDep) -> ModelView:
    """Read all files of a model again. A changed size or time of change is noticed without this."""
    return services.models.check(scope, model)


@router.patch(
    "/models/{model}",
    response_model=ModelView,
    responses=answers(examples.MODEL, 401, 404, 409, 422),
)
@worded
def change_model(
    model: Model,
    change: Annotated[ModelChange, examples.model_change_body()],
    services: ServicesDep,
    scope: ScopeDep,
) -> ModelView:
    """Rename a model. Tasks keep the folder they were given."""
    return services.models.rename(scope, model, change)


@router.delete(
    "/models/{model}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=answers(None, 401, 404, 409, 422),
)
def forget_model(model: Model, services: ServicesDep, scope: ScopeDep) -> None:
    """Take a model from the registry. No file is deleted, ever."""
    services.models.forget(scope, model)
