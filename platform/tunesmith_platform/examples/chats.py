"""Examples of chats, for the API's description."""

import datetime as dt
from typing import Any

from fastapi import Body

from tunesmith import views
from tunesmith.chat.proof import ProofState, ProofView
from tunesmith.chat.views import NamedModel, ServedView
from tunesmith.chat.wire import LoadedModel, ReplicaStatus

_TASK, _CHAT = "task-01k9xkq3v8m2c4d5e6", "task-01k9y0a1b2c3d4e5f6"
_BASE = "/srv/tunesmith/models/SmolLM2-135M-Instruct"
_MODEL = "sft_20261121_093000:40"
_WEIGHTS = "5f2a9c1e7b3d4f60a1b2c3d4e5f60718293a4b5c6d7e8f901a2b3c4d5e6f7081"

CHATS = views.Page[ServedView](
    data=[
        ServedView(
            task_id=_CHAT,
            base=_BASE,
            name="SmolLM2-135M-Instruct",
            state="ready",
            loaded={_MODEL: 9_800_000},
            asked_at=dt.datetime(2026, 11, 21, 9, 30, tzinfo=dt.UTC),
            status=ReplicaStatus(
                engine="llama_cpp",
                loaded=[LoadedModel(name=_MODEL, weights=_WEIGHTS, bytes=9_800_000)],
                answered=12,
                tokens_per_second=41.5,
                first_token_seconds=0.11,
            ),
        )
    ],
    has_more=False,
)
NAMED_MODEL = NamedModel(
    model=_MODEL,
    weights=_WEIGHTS,
    content=_WEIGHTS[::-1],
    task_id=_TASK,
    step=40,
    why="recommended",
    base=_BASE,
    served_by=_CHAT,
    proof=ProofView(
        state=ProofState.PROVEN,
        engine="llama_cpp 2026.10.1",
        file_type="F16",
        words={
            "en": "In llama.cpp `sft_20261121_093000:40` computes what the model does: over 1423 tokens its next token "
            "differs by 3.1e-06 nats (KL) on average, and the likeliest is the same in 100.0%.",
        },
        kl_mean=3.1e-6,
        top1=1.0,
        tokens=1423,
        task_id="task-01k9y0b1c2d3e4f5g8",
    ),
)
OPENAI_MODEL = {
    "id": "sft_20261121_093000",
    "object": "model",
    "created": 1_795_254_600,
    "owned_by": "local",
    "tunesmith": NAMED_MODEL.model_dump(mode="json"),
}
OPENAI_MODELS = {
    "object": "list",
    "data": [
        {
            "id": "SmolLM2-135M-Instruct",
            "object": "model",
            "created": 1_795_250_000,
            "owned_by": "tunesmith",
            "tunesmith": {"task_id": None, "step": None, "proof": "pending"},
        },
        {
            "id": _MODEL,
            "object": "model",
            "created": 1_795_254_600,
            "owned_by": "local",
            "tunesmith": {"task_id": _TASK, "step": 40, "proof": "proven"},
        },
    ],
}
_USAGE = {
    "prompt_tokens": 31,
    "completion_tokens": 8,
    "total_tokens": 39,
    "prompt_tokens_details": {"cached_tokens": 0},
}
_HEAD = {"created": 1_795_254_600, "model": _MODEL, "system_fingerprint": "fp_5f2a9c1e7b3d4f60"}
CHAT_COMPLETION = {
    "id": "chatcmpl-01k9y0b1c2d3e4f5g6",
    "object": "chat.completion",
    **_HEAD,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "The capital of France is Paris.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": _USAGE,
    "tunesmith": {"proof": "proven"},
}
CHAT_STREAM = (
    'data: {"id":"chatcmpl-01k9y0b1c2d3e4f5g6","object":"chat.completion.chunk","created":1795254600,'
    '"model":"sft_20261121_093000:40","choices":[{"index":0,"delta":{"content":"Paris"},"logprobs":null,'
    '"finish_reason":null}]}\n\ndata: [DONE]\n\n'
)
TEXT_COMPLETION = {
    "id": "cmpl-01k9y0b1c2d3e4f5g6",
    "object": "text_completion",
    **_HEAD,
    "choices": [{"index": 0, "text": " Paris.", "logprobs": None, "finish_reason": "stop"}],
    "usage": _USAGE,
    "tunesmith": {"proof": "proven"},
}


def chat_body() -> Any:
    """The body of a conversation."""
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    return Body(
        openapi_examples={
            "plain": {"summary": "One answer", "value": {"model": _MODEL, "messages": messages}},
            "stream": {
                "summary": "As a stream, drawn as in the form",
                "value": {
                    "model": _MODEL,
                    "messages": messages,
                    "stream": True,
                    "stream_options": {"include_usage": True},
                    "temperature": 0.7,
                    "top_p": 0.9,
                    "top_k": 50,
                    "seed": 42,
                },
            },
        }
    )


def completion_body() -> Any:
    """The body of a text that is to go on."""
    value = {"model": "SmolLM2-135M-Instruct", "prompt": "The capital of France is", "max_tokens": 8}
    return Body(openapi_examples={"plain": {"summary": "A text", "value": value}})


def model_verb_body() -> Any:
    """The body of a verb on a model."""
    return Body(openapi_examples={"checkpoint": {"summary": "A checkpoint", "value": {"model": _MODEL}}})
