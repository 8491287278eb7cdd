"""Conversations that are kept, over HTTP. Answers have OpenAI's form as a stream, and our own as a whole."""

import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response, status
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

from tunesmith.chat.conversations import (
    MAX_NUMBER,
    ConversationChange,
    ConversationDetail,
    ConversationView,
    Exported,
    NewConversation,
    NewRatedDataset,
    NewTurn,
    RatedAnswer,
    RatedDataset,
    RatedRows,
    Rating,
    TurnView,
)
from tunesmith.errors import TunesmithError
from tunesmith.views import Page
from tunesmith_platform import examples
from tunesmith_platform.clock import new_id
from tunesmith_platform.conversations.answers import KeptAnswer
from tunesmith_platform.conversations.ratings import RatingService, as_lines
from tunesmith_platform.conversations.service import ConversationService
from tunesmith_platform.conversations.talking import Talking
from tunesmith_platform.db.engine import AWAY
from tunesmith_platform.http import After, Limit, ScopeDep, answers, made_or_found, say_made, services_of
from tunesmith_platform.openai.errors import log_fault
from tunesmith_platform.openai.sending import streamed, whole
from tunesmith_platform.routing import ApiRoute, worded
from tunesmith_platform.sse import Streams


class QuietRoute(ApiRoute):
    """A route whose faults are logged without their words: they may repeat what somebody said."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See `ApiRoute.get_route_handler`."""
        handle = super().get_route_handler()

        async def quiet(request: Request) -> Response:
            try:
                return await handle(request)
            except (TunesmithError, HTTPException, RequestValidationError, *AWAY):
                raise
            except Exception as error:
                log_fault(f"{request.method} {self.path}", error)
                name = type(error).__name__
            raise RuntimeError(f"{name}; its place was logged, its words are not")

        return quiet


router = APIRouter(tags=["conversations"], route_class=QuietRoute)


class Services(Protocol):
    """The parts that these endpoints ask."""

    conversations: ConversationService
    talking: Talking
    ratings: RatingService
    streams: Streams


ServicesDep = Annotated[Services, Depends(services_of)]
ConversationId = Annotated[
    str,
    Path(
        description="The conversation's id.", min_length=3, max_length=40, pattern=r"^conversation-[0-9a-z]+$"
    ),
]
TurnNumber = Annotated[int, Path(ge=1, le=MAX_NUMBER, description="The turn's number.")]
Place = Annotated[int, Path(ge=0, le=15, description="The answer's place in its turn, from 0.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        description="The same key and body again write nothing twice: what is whole is answered again, and what was "
        "cut is asked anew in its place.",
    ),
]
Every = Annotated[bool, Query(description="Whether turns of other branches are shown too.")]
Search = Annotated[str, Query(max_length=200, description="Words that the title is to hold.")]
Expiring = Annotated[
    float | None,
    Query(ge=0, le=36500, description="Those alone that are deleted within so many days unless they go on."),
]
_LINES = "application/x-ndjson"
_FOUND = "Its newest version has these rows already."


def _lines_or(example: Any, *errors: int) -> dict[int | str, dict[str, Any]]:
    found = answers(example, *errors)
    found[200]["content"][_LINES] = {"example": examples.CONVERSATION_LINE}
    return found


@router.get(
    "/conversations",
    response_model=Page[ConversationView],
    responses=answers(examples.CONVERSATIONS, 401, 422),
)
def list_conversations(
    services: ServicesDep,
    scope: ScopeDep,
    after: After = None,
    limit: Limit = 100,
    search: Search = "",
    expiring_days: Expiring = None,
) -> Page[ConversationView]:
    """List your conversations, the one that was written to last first. Nobody else sees them."""
    return services.conversations.page(scope, after, limit, search, expiring_days)


@router.post(
    "/conversations",
    response_model=ConversationDetail,
    status_code=status.HTTP_201_CREATED,
    responses=made_or_found(
        examples.CONVERSATION, "The conversation that this `Idempotency-Key` made before.", 401, 409, 422
    ),
)
@worded
def begin_conversation(
    new: Annotated[NewConversation, examples.new_conversation_body()],
    response: Response,
    services: ServicesDep,
    scope: ScopeDep,
    idempotency_key: IdempotencyKey = None,
) -> ConversationDetail:
    """Begin a conversation that is kept, perhaps with what was said elsewhere. Asks nobody anything."""
    made, is_new = services.conversations.create(scope, new, idempotency_key)
    say_made(response, is_new, f"/v1/conversations/{made.id}")
    return made


# Before `/conversations/{conversation}`: a colon is no part of an id.
@router.get(
    "/conversations:export",
    response_class=Response,
    responses=_lines_or([examples.CONVERSATION_EXPORT], 401, 422),
)
def export_conversations(
    services: ServicesDep, scope: ScopeDep, form: Annotated[Literal["json", "jsonl"], Query()] = "jsonl"
) -> Response:
    """Export all of your conversations: in full, one JSON object a line; or each as a row that training reads.

    `jsonl` answers rows (`messages`), `json` everything that is kept of each.
    """

    def each() -> Iterator[str]:
        for one in services.conversations.each_exported(scope):
            if form == "json":
                yield one.model_dump_json() + "\n"
            elif one.messages:
                yield as_lines_of(one)

    return StreamingResponse(each(), media_type=_LINES)


@router.get(
    "/conversations:ratings",
    response_model=Page[RatedAnswer],
    responses=answers(examples.RATED_ANSWERS, 401, 422),
)
def list_ratings(
    services: ServicesDep, scope: ScopeDep, after: After = None, limit: Limit = 100
) -> Page[RatedAnswer]:
    """List the answers that you rated, those of the newest conversations first."""
    return services.ratings.page(scope, after, limit)


@router.get("/conversations:rows", response_class=Response, responses=_lines_or(examples.RATED_ROW, 401, 422))
def rated_rows(
    services: ServicesDep,
    scope: ScopeDep,
    rows: Annotated[RatedRows, Query(description="Good answers, or pairs.")] = "answers",
    model: Annotated[str | None, Query(max_length=300, description="Answers of this model alone.")] = None,
) -> Response:
    """Write your ratings out as rows, one JSON object a line.

    `answers` end in a good or a corrected answer, which alone is trained; `pairs` hold `prompt`, `chosen`, `rejected`.
    """
    return Response(as_lines(services.ratings.rows(scope, rows, model)), media_type=_LINES)


@router.post(
    "/conversations:dataset",
    response_model=RatedDataset,
    status_code=status.HTTP_201_CREATED,
    responses=made_or_found(examples.RATED_DATASET, _FOUND, 401, 409, 422),
)
def make_rated_dataset(
    new: Annotated[NewRatedDataset, examples.new_rated_dataset_body()],
    response: Response,
    services: ServicesDep,
    scope: ScopeDep,
) -> RatedDataset:
    """Make your ratings the next version of a data set, which says from which conversations its rows come."""
    made, is_new = services.ratings.make(scope, new)
    say_made(response, is_new, f"/v1/datasets/{made.dataset.id}", is_keyed=False)
    return made


@router.get(
    "/conversations/{conversation}",
    response_model=ConversationDetail,
    responses=answers(examples.CONVERSATION, 401, 404, 422),
)
@worded
def show_conversation(
    conversation: ConversationId, services: ServicesDep, scope: ScopeDep, every: Every = False
) -> ConversationDetail:
    """Show a conversation with what is said in it."""
    return services.conversations.get(scope, conversation, every=every)


@router.patch(
    "/conversations/{conversation}",
    response_model=ConversationDetail,
    responses=answers(examples.CONVERSATION, 401, 404, 422),
)
@worded
def change_conversation(
    conversation: ConversationId,
    change: Annotated[ConversationChange, examples.conversation_change_body()],
    services: ServicesDep,
    scope: ScopeDep,
) -> ConversationDetail:
    """Rename a conversation, change who is asked or how, or go back to another branch (`head`)."""
    return services.conversations.change(scope, conversation, change)


@router.delete(
    "/conversations/{conversation}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=answers(None, 401, 404, 422),
)
def delete_conversation(conversation: ConversationId, services: ServicesDep, scope: ScopeDep) -> None:
    """Delete a conversation with all that was said and rated in it. Data sets that were made of it stay."""
    services.conversations.delete(scope, conversation)


@router.get(
    "/conversations/{conversation}/export",
    response_class=Response,
    responses=_lines_or(examples.CONVERSATION_EXPORT, 401, 404, 422),
)
def export_conversation(
    conversation: ConversationId,
    services: ServicesDep,
    scope: ScopeDep,
    form: Annotated[Literal["json", "jsonl"], Query()] = "json",
) -> Response:
    """Export a conversation: all that is kept of it (`json`), or what is said as a row that training reads (`jsonl`).

    In a row an answer that was cut has `weight` 0: it is read and not learned.
    """
    found = services.conversations.export(scope, conversation)
    if form == "json":
        return JSONResponse(found.model_dump(mode="json"))
    return Response(as_lines_of(found), media_type=_LINES)


@router.post(
    "/conversations/{conversation}/messages",
    response_model=TurnView,
    responses=answers(examples.TURN, 401, 404, 409, 422, 429, 503),
)
@worded
async def ask_in_conversation(
    conversation: ConversationId,
    new: Annotated[NewTurn, examples.new_turn_body()],
    request: Request,
    services: ServicesDep,
    scope: ScopeDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Ask within a conversation: question and answers are kept, each with its model, settings, seed and usage.

    Without `content` the last question is asked again; with `instead_of` a question takes a turn's place. Both make a
    branch beside what was there, which stays. `models` has two to four answer side by side with one seed. With `stream`
    the answer comes as `POST /openai/v1/chat/completions` streams it. What was said until a client leaves is kept.
    """
    talk = await services.talking.begin(scope, conversation, new, idempotency_key)
    lines = services.talking.lines(talk)
    kept = {"conversation": talk.conversation_id, "turn": talk.begun.turn}
    answer = KeptAnswer(new_id("chatcmpl"), talk.names, kept)
    name = talk.names[0][0].encode("ascii", "backslashreplace").decode()
    headers = {"x-tunesmith-model": name, "x-tunesmith-turn": str(talk.begun.turn)}
    if not talk.begun.is_new:
        headers["Idempotent-Replayed"] = "true"
    if new.stream:
        return await streamed(request, lines, answer, services.streams, headers)
    response = await whole(request, lines, answer)
    if response.status_code == status.HTTP_200_OK:
        turn = await run_in_threadpool(services.conversations.turn, scope, conversation, talk.begun.turn)
        response = JSONResponse(turn.model_dump(mode="json"), headers=headers)
    return response


@router.get(
    "/conversations/{conversation}/turns/{turn}",
    response_model=TurnView,
    responses=answers(examples.TURN, 401, 404, 422),
)
@worded
def show_turn(
    conversation: ConversationId, turn: TurnNumber, services: ServicesDep, scope: ScopeDep
) -> TurnView:
    """Show one turn of a conversation, of whichever branch."""
    return services.conversations.turn(scope, conversation, turn)


@router.put(
    "/conversations/{conversation}/turns/{turn}/answers/{place}/rating",
    response_model=TurnView,
    responses=answers(examples.TURN, 401, 404, 409, 422),
)
@worded
def rate_answer(
    conversation: ConversationId,
    turn: TurnNumber,
    place: Place,
    rating: Annotated[Rating, examples.rating_body()],
    services: ServicesDep,
    scope: ScopeDep,
) -> TurnView:
    """Rate an answer: better, worse, or what it should have been. Of several, the better one is gone on with."""
    return services.conversations.rate(scope, conversation, turn, place, rating)


def as_lines_of(found: Exported) -> str:
    """A conversation as a line that training reads; empty where nothing was said."""
    return json.dumps({"messages": found.messages}, ensure_ascii=False) + "\n" if found.messages else ""
