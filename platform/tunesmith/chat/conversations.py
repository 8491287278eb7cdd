"""Conversations that are kept: what is sent of them and what is shown.

A conversation is a tree of turns. A turn is a question with its answers, one of each model that was asked; its `parent`
is the turn before it. What is asked anew or in other words is a turn beside the old one, which stays. `head` is the
turn at which the conversation is; what is said in it is the way from the first turn to there.
"""

import datetime as dt
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tunesmith.chat.comparing import MOST
from tunesmith.dataset_views import DatasetView
from tunesmith.errors import Problem
from tunesmith.spec.dataset import DATASET_NAME
from tunesmith.spec.given import Given
from tunesmith.spec.problems import ruled_out

MAX_TITLE = 200
MAX_TURNS = 400
"""Turns of one conversation, all branches together."""
MAX_NUMBER = 10**6
"""The highest number of a turn."""
MAX_CONTENT = 1_000_000
"""Characters of a question, or of a corrected answer."""

ModelName = Annotated[str, Field(min_length=1, max_length=300, description="`NAME`, `TASK`, `TASK:40`.")]
Title = Annotated[str, Field(min_length=1, max_length=MAX_TITLE, pattern=r"\S")]
Number = Annotated[int, Field(ge=1, le=MAX_NUMBER)]
RatingWord = Literal["better", "worse"]
RatedRows = Literal["answers", "pairs"]
AnswerState = Literal["answering", "whole", "cut"]


class SaidMessage(Given):
    """A message of a conversation that was held elsewhere."""

    role: Literal["system", "user", "assistant"]
    content: str = Field(max_length=MAX_CONTENT)


class NewConversation(Given):
    """A conversation to begin, or one that was held elsewhere and is to be kept."""

    title: Title | None = Field(None, description="The beginning of the first question when left out.")
    model: ModelName | None = Field(None, description="Who is asked where a question names nobody.")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="How answers are drawn: see `GET /v1/chats/settings`."
    )
    messages: list[SaidMessage] = Field(
        default_factory=list,
        max_length=2 * MAX_TURNS + 1,
        description="What was said: a system prompt perhaps, then questions and answers in turn.",
    )


class ConversationChange(Given):
    """What of a conversation changes."""

    title: Title | None = None
    model: ModelName | None = None
    settings: dict[str, Any] | None = Field(None, description="Laid over those that it has.")
    head: Number | None = Field(None, description="The turn at which it goes on: back into another branch.")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ruled_out(
                [
                    Problem(
                        field="title", message="Nothing is to be changed.", hint="Give `title`, for example."
                    )
                ]
            )
        return self


class NewTurn(Given):
    """A question of a conversation, or the last one once more."""

    content: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_CONTENT,
        description="The question; left out, the last one is asked again.",
    )
    instead_of: Number | None = Field(
        None, description="A turn: this is asked in its place, as a branch beside it, which stays."
    )
    model: ModelName | None = Field(None, description="The conversation's when left out.")
    models: list[ModelName] | None = Field(
        None, max_length=MOST, description="Two to four models, which answer side by side with one seed."
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, description="Laid over the conversation's, which keeps them."
    )
    stream: bool = Field(False, description="Whether the answer comes as events, in OpenAI's form.")

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.model is not None and self.models is not None:
            raise ruled_out(
                [
                    Problem(
                        field="models",
                        message="One model is asked, or several are compared: here it is both.",
                        hint="Leave `model` out.",
                    )
                ]
            )
        return self


class AnswerView(BaseModel):
    """An answer, or as much of it as was said."""

    model_config = ConfigDict(extra="ignore")
    place: int = Field(description="Its number among the turn's answers, from 0.")
    model: str = Field(description="The whole name of the weights that answered.")
    weights: str = Field("", description="What tells them from all others.")
    text: str
    reasoning_content: str = Field("", description="What the model thought before it answered.")
    state: AnswerState = Field(
        description="`cut`: what was said until its client, its model or its server was gone."
    )
    why: str = Field("", description="Why it was cut.")
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    dropped_turns: int = Field(0, description="How many of the oldest turns were left out to fit.")
    rating: RatingWord | None = None
    corrected: str | None = Field(None, description="What it should have been, where somebody said so.")
    created_at: dt.datetime


class TurnView(BaseModel):
    """A question with its answers."""

    model_config = ConfigDict(extra="ignore")
    number: int
    parent: int | None = Field(None, description="The turn before it.")
    content: str
    settings: dict[str, Any] = Field(
        description="How its answers were drawn, system prompt and seed among it."
    )
    answers: list[AnswerView]
    chosen: int = Field(0, description="The place of the answer with which the conversation goes on.")
    created_at: dt.datetime


class ConversationView(BaseModel):
    """A conversation, as lists show it."""

    model_config = ConfigDict(extra="ignore")
    id: str
    title: str = Field(description="Empty until something was asked.")
    model: str | None = Field(None, description="Who is asked where a question names nobody.")
    settings: dict[str, Any] = Field(default_factory=dict)
    head: int | None = Field(None, description="The turn at which it is; none before the first.")
    turns: int = Field(0, description="How many turns it has, all branches together.")
    created_at: dt.datetime
    updated_at: dt.datetime
    expires_at: dt.datetime | None = Field(
        None, description="When it is deleted unless it goes on; null: never."
    )


class ConversationDetail(ConversationView):
    """A conversation with what is said in it."""

    said: list[TurnView] = Field(
        description="The turns from the first to `head`; all of them where asked for."
    )


class Exported(ConversationDetail):
    """A conversation in full: every turn of every branch, and the messages that training reads."""

    messages: list[dict[str, Any]] = Field(description="What is said up to `head`, as a training row.")


class Rating(Given):
    """What somebody thinks of an answer. All empty takes a rating back."""

    rating: RatingWord | None = None
    corrected: str | None = Field(
        None, min_length=1, max_length=MAX_CONTENT, description="What the answer should have been."
    )


class RatedAnswer(BaseModel):
    """An answer that was rated."""

    model_config = ConfigDict(extra="ignore")
    conversation: str
    title: str
    turn: int
    place: int
    model: str
    question: str
    text: str
    rating: RatingWord | None = None
    corrected: str | None = None
    rated_at: dt.datetime


class NewRatedDataset(Given):
    """A data set to be made of ratings."""

    name: str = Field(
        pattern=DATASET_NAME, description="Its next version is made; itself where there is none."
    )
    rows: RatedRows = Field(
        "answers",
        description="`answers`: conversations that end in a good or a corrected answer, which alone is trained. "
        "`pairs`: a chosen and a rejected answer each.",
    )
    model: ModelName | None = Field(None, description="Answers of this model alone, by its whole name.")


class RatedDataset(BaseModel):
    """The version that was made."""

    model_config = ConfigDict(extra="ignore")
    dataset: DatasetView
    version: str = Field(description="`name@number`.")
    rows: int
    left_out: int = Field(
        0,
        description="Answers that were rated good and are not whole: training on them would teach to stop midway.",
    )
