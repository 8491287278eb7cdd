"""Examples of conversations, for the API's description."""

import datetime as dt
from typing import Any

from fastapi import Body

from tunesmith import views
from tunesmith.chat.conversations import (
    AnswerView,
    ConversationDetail,
    ConversationView,
    Exported,
    RatedAnswer,
    RatedDataset,
    TurnView,
)
from tunesmith.spec.chat import ChatSettings
from tunesmith_platform.examples.datasets import DATASET

_ID = "conversation-01k9y0c1d2e3f4g5h6"
_MODEL = "sft_20261121_093000:40"
_MOMENT = dt.datetime(2026, 11, 21, 9, 40, tzinfo=dt.UTC)
_QUESTION, _ANSWER = "What is the capital of France?", "The capital of France is Paris."
_SETTINGS = ChatSettings().model_dump(mode="json")
_MESSAGES = [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _ANSWER}]

TURN = TurnView(
    number=1,
    content=_QUESTION,
    settings=_SETTINGS,
    answers=[
        AnswerView(
            place=0,
            model=_MODEL,
            weights="5f2a9c1e7b3d4f60a1b2c3d4e5f60718293a4b5c6d7e8f901a2b3c4d5e6f7081",
            text=_ANSWER,
            state="whole",
            finish_reason="stop",
            prompt_tokens=31,
            completion_tokens=8,
            rating="better",
            created_at=_MOMENT,
        )
    ],
    created_at=_MOMENT,
)
_VIEW = ConversationView(
    id=_ID,
    title=_QUESTION,
    model=_MODEL,
    settings=_SETTINGS,
    head=1,
    turns=1,
    created_at=_MOMENT,
    updated_at=_MOMENT,
    expires_at=_MOMENT + dt.timedelta(days=90),
)
CONVERSATIONS = views.Page[ConversationView](data=[_VIEW], has_more=False)
CONVERSATION = ConversationDetail(**_VIEW.model_dump(), said=[TURN])
CONVERSATION_EXPORT = Exported(**CONVERSATION.model_dump(), messages=_MESSAGES).model_dump(mode="json")
CONVERSATION_LINE = (
    '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}\n'
)
RATED_ROW = {"messages": _MESSAGES}
RATED_ANSWERS = views.Page[RatedAnswer](
    data=[
        RatedAnswer(
            conversation=_ID,
            title=_QUESTION,
            turn=1,
            place=0,
            model=_MODEL,
            question=_QUESTION,
            text=_ANSWER,
            rating="better",
            rated_at=_MOMENT,
        )
    ],
    has_more=False,
)
RATED_DATASET = RatedDataset(dataset=DATASET, version=f"{DATASET.name}@{DATASET.latest}", rows=12)


def new_conversation_body() -> Any:
    """The body of a new conversation."""
    return Body(
        openapi_examples={
            "plain": {"summary": "With a model", "value": {"model": _MODEL}},
            "kept": {
                "summary": "What was said elsewhere",
                "value": {"messages": _MESSAGES, "title": "Capitals"},
            },
        }
    )


def conversation_change_body() -> Any:
    """The body of a change."""
    return Body(
        openapi_examples={
            "title": {"summary": "Rename it", "value": {"title": "Capitals"}},
            "head": {"summary": "Go back to another branch", "value": {"head": 3}},
        }
    )


def new_turn_body() -> Any:
    """The body of a question."""
    return Body(
        openapi_examples={
            "plain": {"summary": "Ask", "value": {"content": _QUESTION}},
            "stream": {
                "summary": "As a stream, with another temperature",
                "value": {"content": _QUESTION, "stream": True, "settings": {"temperature": 0}},
            },
            "again": {"summary": "The last question once more", "value": {"settings": {"seed": 7}}},
            "edit": {"summary": "In place of a turn", "value": {"content": "And of Spain?", "instead_of": 2}},
            "compare": {
                "summary": "Side by side",
                "value": {"content": _QUESTION, "models": [_MODEL, "SmolLM2-135M-Instruct"]},
            },
        }
    )


def rating_body() -> Any:
    """The body of a rating."""
    return Body(
        openapi_examples={
            "better": {"summary": "It is good", "value": {"rating": "better"}},
            "corrected": {"summary": "What it should have been", "value": {"corrected": "Paris."}},
            "none": {"summary": "Take it back", "value": {}},
        }
    )


def new_rated_dataset_body() -> Any:
    """The body of a data set of ratings."""
    return Body(
        openapi_examples={
            "answers": {"summary": "Good and corrected answers", "value": {"name": "good-answers"}},
            "pairs": {"summary": "Pairs", "value": {"name": "pairs", "rows": "pairs"}},
        }
    )
