"""Templates over HTTP."""

from typing import Annotated, Protocol

from fastapi import APIRouter, Body, Depends, Path, Response, status

from tunesmith import views
from tunesmith.templates import (
    MAX_YAML_CHARACTERS,
    NewTemplate,
    TemplateChange,
    TemplateView,
    to_yaml,
)
from tunesmith_platform import examples
from tunesmith_platform.http import After, Limit, ScopeDep, answers, services_of
from tunesmith_platform.routing import ApiRoute, worded
from tunesmith_platform.sandbox import checks
from tunesmith_platform.templates.service import TemplateService

router = APIRouter(tags=["templates"], route_class=ApiRoute)


class Services(Protocol):
    """The parts that these endpoints ask."""

    templates: TemplateService


ServicesDep = Annotated[Services, Depends(services_of)]

TemplateName = Annotated[
    str,
    Path(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f/\\]+$", description="The template's name."),
]
_YAML = "application/yaml"


@router.get(
    "/templates",
    response_model=views.Page[TemplateView],
    responses=answers(examples.TEMPLATES, 401, 422),
)
@worded
def list_templates(
    services: ServicesDep,
    scope: ScopeDep,
    after: After = None,
    limit: Limit = 100,
) -> views.Page[TemplateView]:
    """List templates: those that came with the platform, then the users' by name."""
    return services.templates.page(scope, after, limit)


@router.post(
    "/templates",
    response_model=TemplateView,
    status_code=status.HTTP_201_CREATED,
    responses=answers(examples.TEMPLATE, 401, 404, 409, 422, status=201),
)
@worded
def save_template(
    new: Annotated[NewTemplate, examples.new_template_body()], services: ServicesDep, scope: ScopeDep
) -> TemplateView:
    """Save parameters, or those of a task (`from_task`), as a template."""
    return services.templates.save(scope, new)


@router.post(
    "/templates:import",
    response_model=TemplateView,
    status_code=status.HTTP_201_CREATED,
    responses=answers(examples.TEMPLATE, 401, 409, 422, status=201),
)
@worded
def import_template(
    text: Annotated[str, Body(media_type=_YAML, max_length=MAX_YAML_CHARACTERS)],
    services: ServicesDep,
    scope: ScopeDep,
) -> TemplateView:
    """Save a template from YAML, as `GET /v1/templates/{name}/yaml` shows it."""
    return services.templates.save(scope, NewTemplate(**checks.template(text).model_dump()))


@router.get(
    "/templates/{name}", response_model=TemplateView, responses=answers(examples.TEMPLATE, 401, 404, 422)
)
@worded
def show_template(name: TemplateName, services: ServicesDep, scope: ScopeDep) -> TemplateView:
    """Show a template."""
    return services.templates.get(scope, name)


@router.get(
    "/templates/{name}/yaml",
    response_class=Response,
    responses=answers(None, 401, 404, 422)
    | {
        200: {
            "description": "The template as YAML.",
            "content": {_YAML: {"example": to_yaml(examples.TEMPLATE)}},
        }
    },
)
def export_template(name: TemplateName, services: ServicesDep, scope: ScopeDep) -> Response:
    """Show a template as YAML, to keep in a file and import elsewhere."""
    return Response(to_yaml(services.templates.get(scope, name)), media_type=_YAML)


@router.patch(
    "/templates/{name}",
    response_model=TemplateView,
    responses=answers(examples.TEMPLATE, 401, 404, 409, 422),
)
@worded
def change_template(
    name: TemplateName,
    change: Annotated[TemplateChange, examples.template_change_body()],
    services: ServicesDep,
    scope: ScopeDep,
) -> TemplateView:
    """Rename a template, or change what it holds. Tasks made from it keep their own parameters."""
    return services.templates.change(scope, name, change)


@router.delete(
    "/templates/{name}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=answers(None, 401, 404, 409, 422),
)
def delete_template(name: TemplateName, services: ServicesDep, scope: ScopeDep) -> None:
    """Delete a template. Tasks made from it keep their own parameters; built-in ones stay."""
    services.templates.delete(scope, name)
