"""Served models over HTTP. Questions to them have OpenAI's form: `openai.endpoints`."""

from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends

from tunesmith import views
from tunesmith.chat.views import ModelVerb, NamedModel, ServedView
from tunesmith.schema import form_schema
from tunesmith.spec.chat import ChatSettings
from tunesmith_platform import examples
from tunesmith_platform.chats.asking import Asking
from tunesmith_platform.http import ScopeDep, answers, services_of
from tunesmith_platform.routing import ApiRoute, worded

router = APIRouter(tags=["chats"], route_class=ApiRoute)


class Services(Protocol):
    """The parts that these endpoints ask."""

    asking: Asking


ServicesDep = Annotated[Services, Depends(services_of)]
WantedModel = Annotated[ModelVerb, examples.model_verb_body()]


@router.get("/chats", response_model=views.Page[ServedView], responses=answers(examples.CHATS, 401))
@worded
async def chats(services: ServicesDep, scope: ScopeDep) -> views.Page[ServedView]:
    """List the base models that are served or were, each with what is loaded. Stop one by stopping its task."""
    return views.Page(data=await services.asking.list(scope), has_more=False)


@router.get(
    "/chats/settings",
    responses=answers({"title": "ChatSettings", "type": "object", "properties": {}}, 401),
)
async def chat_settings(scope: ScopeDep) -> dict[str, Any]:
    """JSON Schema of how answers are drawn in the form and in the terminal, with labels, help and defaults."""
    return form_schema(ChatSettings)


@router.post(
    "/chats:name",
    response_model=NamedModel,
    responses=answers(examples.NAMED_MODEL, 401, 404, 422),
)
@worded
async def name_chat(wanted: WantedModel, services: ServicesDep, scope: ScopeDep) -> NamedModel:
    """Say which weights a name stands for now, and why. Starts nothing."""
    return await services.asking.described(scope, wanted.model)


@router.post(
    "/chats:load",
    response_model=NamedModel,
    responses=answers(examples.NAMED_MODEL, 401, 404, 422, 429, 503),
)
@worded
async def load_chat(wanted: WantedModel, services: ServicesDep, scope: ScopeDep) -> NamedModel:
    """Have a model loaded, so that the first question need not wait. Answers once it is."""
    return await services.asking.load(scope, wanted.model)


@router.post(
    "/chats:unload",
    response_model=NamedModel,
    responses=answers(examples.NAMED_MODEL, 401, 404, 422, 503),
)
@worded
async def unload_chat(wanted: WantedModel, services: ServicesDep, scope: ScopeDep) -> NamedModel:
    """Let an adapter leave the memory; refused while it answers."""
    return await services.asking.unload(scope, wanted.model)


@router.post(
    "/chats:prove",
    response_model=NamedModel,
    responses=answers(examples.NAMED_MODEL, 401, 404, 409, 422),
)
@worded
async def prove_chat(wanted: WantedModel, services: ServicesDep, scope: ScopeDep) -> NamedModel:
    """Have it looked at anew whether what answers is the model. A withdrawn name stays so until it is proven."""
    return await services.asking.prove(scope, wanted.model)


@router.post(
    "/chats:pin",
    response_model=NamedModel,
    responses=answers(examples.NAMED_MODEL, 401, 404, 422, 503),
)
@worded
async def pin_chat(wanted: WantedModel, services: ServicesDep, scope: ScopeDep) -> NamedModel:
    """Keep an adapter loaded, whatever else is asked for; it is loaded again when its base is started again."""
    return await services.asking.pin(scope, wanted.model, pinned=True)


@router.post(
    "/chats:unpin",
    response_model=NamedModel,
    responses=answers(examples.NAMED_MODEL, 401, 404, 422, 503),
)
@worded
async def unpin_chat(wanted: WantedModel, services: ServicesDep, scope: ScopeDep) -> NamedModel:
    """Let an adapter go again, when others are asked for."""
    return await services.asking.pin(scope, wanted.model, pinned=False)
