"""OpenAI's chats and completions over HTTP. Below its prefix errors have OpenAI's form (`openai.errors`)."""

from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from tunesmith.chat.proof import ProofView
from tunesmith_platform import examples
from tunesmith_platform.chats.asking import Asking
from tunesmith_platform.chats.names import MAX_NAME, Named
from tunesmith_platform.clock import new_id
from tunesmith_platform.http import ScopeDep, answers, services_of
from tunesmith_platform.openai.answers import Answer, ChatAnswer, TextAnswer
from tunesmith_platform.openai.errors import OpenAIRoute
from tunesmith_platform.openai.requests import ChatRequest, CompletionRequest
from tunesmith_platform.openai.sending import streamed, together, whole
from tunesmith_platform.scope import Scope
from tunesmith_platform.sse import Streams

router = APIRouter(tags=["openai"], route_class=OpenAIRoute)
_SERVED = "x-tunesmith-model"
"""The header that says which weights answer."""
_PROOF = "x-tunesmith-proof"
"""The header that says whether what answers is proven to be the model."""


class Services(Protocol):
    """The parts that these endpoints ask."""

    asking: Asking
    streams: Streams


ServicesDep = Annotated[Services, Depends(services_of)]
Conversation = Annotated[ChatRequest, examples.chat_body()]
Text = Annotated[CompletionRequest, examples.completion_body()]


def _also_streamed(example: Any) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint that answers whole or as a stream."""
    found = answers(example)
    found[200]["description"] = (
        "The answer; with `stream: true` as server-sent events, the last one `[DONE]`."
    )
    found[200]["content"]["text/event-stream"] = {"example": examples.CHAT_STREAM}
    return found


@router.get("/models", responses=answers(examples.OPENAI_MODELS))
async def chat_models(services: ServicesDep, scope: ScopeDep) -> dict[str, Any]:
    """List every name that can be asked: base models, and each training with its checkpoints."""
    proofs = await services.asking.proofs(scope)
    listed = await services.asking.names(scope)
    return {"object": "list", "data": [_model(one, proofs.get(one.weights or one.name)) for one in listed]}


@router.get("/models/{model:path}", responses=answers(examples.OPENAI_MODEL))
async def chat_model(
    model: Annotated[str, Path(max_length=MAX_NAME, description="A name; it may hold `/` and `:`.")],
    services: ServicesDep,
    scope: ScopeDep,
) -> dict[str, Any]:
    """Show what a name stands for now."""
    found = await services.asking.described(scope, model)
    listed = next(
        (one for one in await services.asking.names(scope) if one.name in (model, found.model)), None
    )
    if listed is None:
        listed = Named(model, 0, "tunesmith", found.task_id, found.step)
    return _model(listed._replace(name=model)) | {"tunesmith": found.model_dump(mode="json")}


@router.post(
    "/chat/completions",
    response_class=Response,  # one of two kinds
    responses=_also_streamed(examples.CHAT_COMPLETION),
)
async def chat_completions(
    asked: Annotated[ChatRequest, examples.chat_body()],
    request: Request,
    services: ServicesDep,
    scope: ScopeDep,
) -> Response:
    """Answer a conversation.

    `model` is a base model's name, a training's (`TASK`: its recommended checkpoint, else its best, its final model,
    its newest checkpoint) or `TASK:40`, `TASK:final`, `TASK:latest`. The first question to a base starts it; whoever
    waits too long gets 503 with `Retry-After`. Further parameters: `top_k`, `min_p`, `repetition_penalty`,
    `chat_template_kwargs`, `enable_thinking`; what a model thinks before it answers is `reasoning_content`. `tools` are
    called in the model's own form, `response_format` holds the answer to JSON or to a JSON schema. What cannot be done
    (pictures, audio, schemas with what no answer can be held to) is refused by its field's name.
    """
    return await _answer(asked, request, services, scope, ChatAnswer)


@router.post(
    "/completions",
    response_class=Response,
    responses=_also_streamed(examples.TEXT_COMPLETION),
)
async def completions(
    asked: Annotated[CompletionRequest, examples.completion_body()],
    request: Request,
    services: ServicesDep,
    scope: ScopeDep,
) -> Response:
    """Continue a text as it stands; no chat template is used."""
    return await _answer(asked, request, services, scope, TextAnswer)


async def _answer(
    asked: ChatRequest | CompletionRequest,
    request: Request,
    services: Services,
    scope: Scope,
    form: type[Answer],
) -> Response:
    model = await services.asking.model(scope, asked.model)
    number = new_id("chatcmpl" if form is ChatAnswer else "cmpl")
    questions = asked.questions(number, model.served)
    lines = together([services.asking.answer(scope, question) for question in questions])
    answer = form(
        number,
        model.weights.name,
        model.weights.weights,
        includes_usage=asked.includes_usage,
        count=len(questions),
        each=asked.answers,
    )
    answer.proof = model.proof.state
    headers = {_SERVED: model.weights.name.encode("ascii", "backslashreplace").decode(), _PROOF: answer.proof}
    if asked.stream:
        return await streamed(request, lines, answer, services.streams, headers)
    response = await whole(request, lines, answer)
    response.headers.update(headers)
    return response


def _model(one: Named, proof: ProofView | None = None) -> dict[str, Any]:
    more = {"task_id": one.task_id, "step": one.step, "proof": (proof or ProofView()).state.value}
    return {
        "id": one.name,
        "object": "model",
        "created": one.created,
        "owned_by": one.owner,
        "tunesmith": more,
    }
